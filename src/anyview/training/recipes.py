"""Recipes of training: options chosen together, by name. `training.config` says where each value comes from."""

from dataclasses import replace
from typing import get_type_hints

from anyview.model.config import NANO_GAUSSIANS, BackboneConfig, NetworkConfig, PyramidConfig, find_preset
from anyview.options import nearest_names
from anyview.training.config import Stage, TrainOptions, check_options, check_type

_TINY = NetworkConfig(
    backbone=BackboneConfig(width=96, depth=6, heads=3, taps=(2, 3, 4, 5), cross_view_from=2),
    pyramid=PyramidConfig(features=32, channels=(24, 32, 48, 48)),
    camera_encoder_depth=1,
)

_SMALL = ((84, 84), (70, 98), (98, 70))
# Its Gaussian head has a recipe of its own.
_NANO: NetworkConfig = replace(find_preset("da3-nano").config, gaussians=None)  # type: ignore[arg-type, assignment]

RECIPES: dict[str, TrainOptions] = {
    "nano": TrainOptions(
        recipe="nano",
        network=_NANO,
        name="da3-nano",
        stages=(
            # Near views of little pictures first: matching is learned where it is easy, at many scenes a second.
            Stage(until=0.15, sizes=((56, 56), (56, 70), (70, 56)), views=(1, 4), spread=(0.0, 0.6), told_matches=1.0),
            Stage(until=0.40, sizes=_SMALL, views=(2, 4), spread=(0.0, 0.6), told_matches=1.0, dense_every=4),
            Stage(until=0.85, sizes=_SMALL, views=(1, 4), told_matches=0.5, dense_every=4),
            Stage(sizes=((112, 112), (98, 126), (126, 98), (84, 112), (112, 84)), views=(1, 5)),
        ),
        steps=10_000,
        tokens_per_step=1_600,
        known_in_part=0.5,
        mirror=0.5,
        ray_weight=2.0,  # cameras are what comes last
        camera_weight=3.0,
        match_weight=1.0,
        hint_weight=1.0,
        peak_rate=1e-3,  # small networks from random weights bear more than the paper's large one from DINOv2
        warm_up_steps=200,
        final_rate=1e-5,
        matrices="muon",
        average_decay=0.998,
        precision="bfloat16",
        head_precision="bfloat16",
        ahead=1,
        checkpoint_every=100,
        validate_every=1_000,
        validation_size=(112, 112),
    ),
    "nano-gpu": TrainOptions(
        recipe="nano-gpu",
        network=replace(_NANO, resolution=224),
        name="da3-nano",
        stages=(
            Stage(
                until=0.15,
                sizes=((112, 112), (112, 154), (154, 112)),
                views=(1, 3),
                spread=(0.0, 0.4),
                told_matches=1.0,
                dense_every=2,
            ),
            Stage(
                until=0.50,
                sizes=((154, 154), (126, 168), (168, 126)),
                views=(1, 6),
                spread=(0.0, 0.8),
                told_matches=0.5,
                dense_every=2,
            ),
            Stage(until=0.80, sizes=((224, 224), (168, 224), (224, 168)), views=(1, 8)),
            Stage(sizes=((224, 224), (168, 224), (224, 168), (252, 336), (336, 252)), views=(1, 8)),
        ),
        steps=16_000,
        tokens_per_step=32_896,  # 128 views of 224 × 224
        known_in_part=0.5,
        mirror=0.5,
        match_weight=1.0,
        hint_weight=1.0,
        peak_rate=1e-3,
        warm_up_steps=500,
        matrices="muon",
        average_decay=0.9995,
        compile=True,
        ahead=1,
    ),
    "student": TrainOptions(
        recipe="student",
        network=find_preset("da3-small").config,  # type: ignore[arg-type]
        name="da3-small",
        stages=(
            Stage(until=0.3, sizes=((224, 224), (168, 224), (224, 168)), views=(1, 6), spread=(0.0, 0.8)),
            Stage(until=0.9, sizes=((252, 336), (336, 252), (294, 294)), views=(1, 10)),
            Stage(sizes=((504, 504), (378, 504), (504, 378), (336, 504), (504, 336), (280, 504)), views=(2, 18)),
        ),
        steps=100_000,
        tokens_per_step=4 * 23_346,
        peak_rate=5e-4,
        warm_up_steps=2_000,
        average_decay=0.9995,
        recompute=True,
    ),
    "finetune": TrainOptions(
        recipe="finetune",
        start="da3-base",
        stages=(Stage(sizes=((504, 504), (378, 504), (504, 378), (336, 504), (504, 336)), views=(2, 8)),),
        steps=5_000,
        tokens_per_step=10_376,  # 8 views of 504 × 504
        peak_rate=5e-5,
        warm_up_steps=200,
        backbone_rate=0.1,
        recompute=True,
        ahead=2,
        validation_views=(2, 4),
        validation_size=(378, 504),
    ),
    "gaussians": TrainOptions(
        recipe="gaussians",
        name="da3-nano",
        start="da3-nano",
        gaussians=NANO_GAUSSIANS,
        stages=(
            Stage(until=0.15, sizes=((56, 56), (56, 70), (70, 56)), views=(4, 6), spread=(0.0, 0.8)),
            Stage(until=0.4, sizes=((84, 84), (70, 98), (98, 70)), views=(4, 6)),
            Stage(sizes=((112, 112), (98, 126), (126, 98)), views=(6, 6)),  # 4 of 6 shown, as in the evaluation
        ),
        steps=2_000,
        tokens_per_step=444,  # 6 views of 112 × 112 with a little to spare
        held_out=2,
        known_cameras=1.0,
        shape_weight=0.02,
        perception_weight=0.01,
        jitter=0.0,
        mirror=0.5,
        peak_rate=2e-3,
        warm_up_steps=100,
        final_rate=1e-5,
        average_decay=0.995,
        precision="bfloat16",
        head_precision="bfloat16",
        ahead=1,
        log_every=20,
        checkpoint_every=200,
        validate_every=500,
        validation_views=(2, 4),
        validation_size=(112, 112),
    ),
    "tiny": TrainOptions(
        recipe="tiny",
        network=_TINY,
        name="tiny",
        stages=(Stage(sizes=((56, 56),), views=(2, 2), spread=(0.5, 0.5)),),
        steps=400,
        tokens_per_step=34,  # one pair of views
        ray_weight=3.0,  # cameras from rays come in later than those of the head
        jitter=0.0,
        peak_rate=2e-3,
        warm_up_steps=20,
        average_decay=0.98,
        checkpoint_every=100,
        validate_every=200,
        validation_scenes=1,
        validation_views=(2,),
        validation_size=(56, 56),
    ),
}
"""Runs worth repeating: `nano` trains the bundled model on a processor and `nano-gpu` on a GPU, `student` a larger one,
`finetune` adapts a published one to one's own pictures, `gaussians` gives the bundled one a Gaussian head, `tiny` is
for tests."""


def find_recipe(name: str, **changes: object) -> TrainOptions:
    """Return the recipe called ``name``, with some of its options changed.

    Raises:
        ValueError: no recipe or option has that name (the nearest are offered), or a value makes no sense.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; {nearest_names(name, RECIPES)}")
    hints = {option: hint for option, hint in get_type_hints(TrainOptions).items() if option != "recipe"}
    values = {}
    for option, value in changes.items():
        if option not in hints:
            raise ValueError(f"unknown option {option!r} of a recipe; {nearest_names(option, hints)}")
        check_type(option, value, hints[option])
        values[option] = float(value) if hints[option] is float else value  # type: ignore[arg-type]
    options = replace(RECIPES[name], **values)  # type: ignore[arg-type]
    check_options(options)
    return options
