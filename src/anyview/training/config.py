"""Recipes of training: every number of a run, with where it comes from.

[paper] is the paper's; [inferred] fills in where the paper is silent (training spec 3.3 and 11); [ours] was found or
chosen here for small budgets (docs/training.md). No torch here: the command line's help derives from these classes.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

from anyview.model.config import (
    NANO_GAUSSIANS,
    PATCH,
    BackboneConfig,
    GaussianConfig,
    NetworkConfig,
    PyramidConfig,
    find_preset,
)
from anyview.options import nearest_names

Sharding = Literal["ddp", "fsdp"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run, with its own pictures."""

    until: float = 1.0
    """Share of the run's steps at whose end the stage ends."""
    sizes: tuple[tuple[int, int], ...]
    """Height and width of pictures in pixels, multiples of 14; each step draws one."""
    views: tuple[int, int]
    """Fewest and most views of a scene; each step draws a number, at most as many as the token budget holds."""
    spread: tuple[float, float] = (0.0, 1.0)
    """How far apart views are, from 0 (near) to 1 (as far as the source has them); each step draws a value."""
    told_matches: float = 0.0
    """Probability that a scene's matches are put into the hinted channels, where `match_weight` is above 0: what
    follows learns to read cameras from matches before the network finds them by itself [ours]."""
    dense_every: int = 1
    """Of so many steps one has depth and rays; the others train cameras and matches, in half the time [ours]."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """One training run."""

    recipe: str
    network: NetworkConfig | None = None
    """What is trained; None: what `start` holds."""
    name: str = "model"
    """Name of the network in the file that is written at the end."""
    start: str | None = None
    """Weights to start from: a model's name, folder or file; None: random ones."""

    gaussians: GaussianConfig | None = None
    """Train a Gaussian head on a network that stays as it is, and is given this one if it has none; None: train the
    network, and no Gaussian head."""

    stages: tuple[Stage, ...]
    steps: int = 200_000
    """[paper]"""
    tokens_per_step: int = 23_328
    """Views × tokens of a view × scenes, over all processes, stay just below [paper: about constant; 18 views of
    504 × 504 per GPU, inferred]."""
    known_cameras: float = 0.2
    """Probability that a scene's cameras are told to the network [paper], those of all its views [authors]."""
    known_in_part: float = 0.0
    """Probability that a step tells the cameras of some views only, the first one's among them, where it tells any
    [ours: a stream knows a window's first cameras]."""
    jitter: float = 0.5
    """Strength of colour augmentation, 0 to 1; 1 is VGGT's [inferred]."""
    mirror: float = 0.0
    """Probability that a scene is shown with left and right exchanged, its cameras too [ours]."""
    seed: int = 0

    depth_weight: float = 1.0
    """[paper]"""
    ray_weight: float = 1.0
    """[paper]"""
    point_weight: float = 1.0
    """[paper]"""
    camera_weight: float = 1.0
    """[paper: β]"""
    gradient_weight: float = 1.0
    """[paper: α]"""
    match_weight: float = 0.0
    """Of telling attention across views which patches show the same; needs depth of all views [ours]."""
    hint_weight: float = 0.0
    """Of telling some channels of tokens what to hold, where `match_weight` is above 0 [ours]."""
    confidence_weight: float = 0.2
    """λ_c of the confidence's logarithm, for depth and rays [inferred: DUSt3R, VGGT, MapAnything]."""

    held_out: int = 2
    """Of a scene's views, how many are kept from the network and compared with what Gaussians look like from there;
    this and the next four only with `gaussians` [paper: novel views]."""
    color_weight: float = 1.0
    """Of the squared error of colours [paper: MSE]."""
    perception: Literal["edges", "lpips"] = "edges"
    """What is compared beside: LPIPS [paper], or, without its weights, differences between neighbours [ours]."""
    perception_weight: float = 0.05
    """[inferred: MVSplat's of LPIPS]"""
    shape_weight: float = 0.1
    """Of the Gaussians' depth in the views that are shown [inferred: 0.1 to 1]."""

    peak_rate: float = 2e-4
    """Learning rate after warming up [paper]."""
    warm_up_steps: int = 8_000
    """[paper]"""
    final_rate: float = 1e-6
    """Learning rate at the end of the cosine [inferred]."""
    backbone_rate: float = 1.0
    """Factor of the backbone's learning rate [inferred: 1 from random weights, 0.1 from trained ones]."""
    weight_decay: float = 0.05
    """Of matrices and convolutions; biases, norms, scales and tokens have none [inferred]."""
    matrices: Literal["adamw", "muon"] = "adamw"
    """What moves the matrices of the backbone's blocks; all else is AdamW's [inferred: adamw]."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Of AdamW [inferred: DUSt3R, VGGT, Pi3, MapAnything]."""
    clip: float = 1.0
    """Largest norm of the gradient [inferred: VGGT, Pi3, MapAnything]."""
    average_decay: float = 0.999
    """Of the moving average of the weights, which is what is evaluated and written [inferred: MoGe]; it warms up."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the backbone; auto: bfloat16 where the device has it [inferred]."""
    head_precision: Literal["float32", "bfloat16"] = "float32"
    """Of the dense head's convolutions, but for the last of each branch [ours]."""
    recompute: bool = False
    """Trade time for memory: compute the inside of backbone blocks again on the way back [inferred: as VGGT]."""
    compile: bool = False
    """Compile the backbone's blocks."""
    sharding: Sharding = "ddp"
    """Several processes: a whole copy of the network in each (ddp), or a part (fsdp)."""
    ahead: int = 0
    """Batches that a thread prepares ahead of the step that needs them."""

    log_every: int = 10
    checkpoint_every: int = 500
    keep_checkpoints: int = 3
    validate_every: int = 2_000
    validation_scenes: int = 16
    """Scenes of the validation split, for each number of views."""
    validation_views: tuple[int, ...] = (1, 2, 4)
    validation_size: tuple[int, int] = (224, 224)
    validation_spread: float = 0.5
    tensorboard: bool = False
    """Also write TensorBoard's files (extra `train`)."""


MAY_CHANGE = frozenset(
    {
        "recompute",
        "compile",
        "sharding",
        "ahead",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "validate_every",
        "validation_scenes",
        "validation_views",
        "validation_size",
        "validation_spread",
        "tensorboard",
    }
)
"""Options that a resumed run may have otherwise than it began: they do not change what is learned."""

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
            Stage(until=0.4, sizes=((56, 56), (56, 70), (70, 56)), views=(3, 6), spread=(0.0, 0.8)),
            Stage(until=0.8, sizes=((84, 84), (70, 98), (98, 70)), views=(3, 6)),
            Stage(sizes=((112, 112), (98, 126), (126, 98)), views=(4, 6)),
        ),
        steps=2_000,
        tokens_per_step=444,  # 6 views of 112 × 112 with a little to spare
        held_out=1,
        known_cameras=0.5,
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
    known = [field.name for field in fields(TrainOptions) if field.name != "recipe"]
    for option in changes:
        if option not in known:
            raise ValueError(f"unknown option {option!r} of a recipe; {nearest_names(option, known)}")
    options = replace(RECIPES[name], **changes)  # type: ignore[arg-type]
    check_options(options)
    return options


def check_options(options: TrainOptions) -> None:
    """Refuse options that no run can have.

    Raises:
        ValueError: naming the option, what is expected and what it is.
    """
    for name in (
        "steps",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "validate_every",
        "clip",
        "peak_rate",
    ):
        if not getattr(options, name) > 0:
            raise ValueError(f"{name} must be above 0, got {getattr(options, name)}")
    if options.match_weight > 0 and options.sharding == "fsdp":
        raise ValueError("match_weight needs whole blocks: expected sharding='ddp', or match_weight=0")
    if options.sharding == "fsdp" and any(stage.dense_every > 1 for stage in options.stages):
        raise ValueError("split weights are all trained in every step: expected sharding='ddp', or dense_every=1")
    for name in ("known_cameras", "known_in_part", "jitter", "mirror"):
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {getattr(options, name)}")
    for name, values in (("matrices", ("adamw", "muon")), ("head_precision", ("float32", "bfloat16"))):
        if getattr(options, name) not in values:
            raise ValueError(f"{name} must be one of {', '.join(values)}, got {getattr(options, name)!r}")
    if options.matrices == "muon" and options.sharding == "fsdp":
        raise ValueError("Muon needs whole matrices: expected sharding='ddp' or matrices='adamw'")
    if options.gaussians is not None:
        _check_gaussians(options)
    if not 0 <= options.average_decay < 1:
        raise ValueError(f"average_decay must be at least 0 and below 1, got {options.average_decay}")
    if options.network is None and options.start is None:
        raise ValueError("expected a network to train, or start: weights to start from; got neither")
    if not options.stages:
        raise ValueError("expected at least one stage, got none")
    if [stage.until for stage in options.stages] != sorted({stage.until for stage in options.stages}):
        raise ValueError(f"stages must end one after the other, got {[stage.until for stage in options.stages]}")
    sizes = [size for stage in options.stages for size in stage.sizes]
    for height, width in (*sizes, options.validation_size):
        if height < PATCH or width < PATCH or height % PATCH or width % PATCH:
            raise ValueError(f"sizes of pictures must be multiples of {PATCH}, got {height}x{width}")
    for stage in options.stages:
        if not 0 <= stage.told_matches <= 1:
            raise ValueError(f"told_matches of a stage must lie between 0 and 1, got {stage.told_matches}")
        if stage.dense_every < 1:
            raise ValueError(f"dense_every of a stage must be at least 1, got {stage.dense_every}")
    for fewest, most in (stage.views for stage in options.stages):
        if not 1 <= fewest <= most:
            raise ValueError(f"views must be at least 1, the fewest first, got {(fewest, most)}")


def _check_gaussians(options: TrainOptions) -> None:
    fewest = min(stage.views[0] for stage in options.stages) if options.stages else 2
    if not 1 <= options.held_out < fewest:
        raise ValueError(f"held_out must be at least 1 and below the fewest views, {fewest}; got {options.held_out}")
    if options.perception not in ("edges", "lpips"):
        raise ValueError(f"perception must be one of edges, lpips, got {options.perception!r}")
    if options.jitter > 0:
        raise ValueError(f"views of changed colours do not show one scene: expected jitter=0, got {options.jitter}")
    if options.match_weight > 0:
        raise ValueError("a Gaussian head is trained on a network that stays as it is: expected match_weight=0")
    if options.sharding == "fsdp":
        raise ValueError("a Gaussian head is too small to be sharded: expected sharding='ddp'")


def options_to_json(options: TrainOptions) -> str:
    """Write options, for the run's folder and its checkpoints."""
    return json.dumps(asdict(options), indent=2, sort_keys=True)


def differences(options: TrainOptions, stored: str) -> list[str]:
    """Say which options that shape the result differ from those that `options_to_json` wrote."""
    now, then = json.loads(options_to_json(options)), json.loads(stored)
    return [
        f"{name} is {now.get(name)!r}, was {then.get(name)!r}"
        for name in sorted({*now, *then} - MAY_CHANGE)
        if now.get(name) != then.get(name)
    ]
