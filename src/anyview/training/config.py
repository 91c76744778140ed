"""The options of a training run, each with where its value comes from.

[paper] is the paper's; [inferred] fills in where the paper is silent (training spec 3.3 and 11); [ours] was found or
chosen here for small budgets (docs/training.md). No torch here: the command line's help derives from these classes.
"""

import json
import types
from dataclasses import asdict, dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from anyview.model.config import PATCH, GaussianConfig, NetworkConfig

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
    this and the next five only with `gaussians` [paper: novel views]."""
    color_weight: float = 1.0
    """Of the squared error of colours [paper: MSE]."""
    perception: Literal["edges", "lpips"] = "edges"
    """What is compared beside: LPIPS [paper], or, without its weights, differences between neighbours [ours]."""
    perception_weight: float = 0.05
    """[inferred: MVSplat's of LPIPS]"""
    shape_weight: float = 0.1
    """Of the Gaussians' depth in the views that are shown [inferred: 0.1 to 1]."""
    opacity_weight: float = 0.02
    """Of the light that the Gaussians let through in the views that are held out [ours]."""

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


_ABOVE_ZERO = (
    "steps",
    "tokens_per_step",
    "clip",
    "peak_rate",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "validate_every",
    "validation_scenes",
)
_NOT_NEGATIVE = (
    "depth_weight",
    "ray_weight",
    "point_weight",
    "camera_weight",
    "gradient_weight",
    "match_weight",
    "hint_weight",
    "confidence_weight",
    "color_weight",
    "perception_weight",
    "shape_weight",
    "opacity_weight",
    "warm_up_steps",
    "final_rate",
    "backbone_rate",
    "weight_decay",
    "ahead",
)


def check_type(name: str, value: object, hint: Any) -> None:
    """Refuse a value that is not of an option's type; a whole number is a float, too.

    Raises:
        ValueError: naming the option, what is expected and what it is.
    """
    if _fits(value, hint):
        return
    if get_origin(hint) is Literal:
        raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(hint)))}, got {value!r}")
    expected = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    raise ValueError(f"{name} must be {expected}, got {value!r}")


def _fits(value: object, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in parts
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(_fits(entry, parts[0]) for entry in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)


def check_options(options: TrainOptions) -> None:
    """Refuse options that no run can have.

    Raises:
        ValueError: naming the option, what is expected and what it is.
    """
    for name, hint in get_type_hints(TrainOptions).items():
        check_type(name, getattr(options, name), hint)
    for name in _ABOVE_ZERO:
        if not getattr(options, name) > 0:
            raise ValueError(f"{name} must be above 0, got {getattr(options, name)}")
    for name in _NOT_NEGATIVE:
        if not getattr(options, name) >= 0:
            raise ValueError(f"{name} must be 0 or above, got {getattr(options, name)}")
    if options.match_weight > 0 and options.sharding == "fsdp":
        raise ValueError("match_weight needs whole blocks: expected sharding='ddp', or match_weight=0")
    if options.sharding == "fsdp" and any(stage.dense_every > 1 for stage in options.stages):
        raise ValueError("split weights are all trained in every step: expected sharding='ddp', or dense_every=1")
    for name in ("known_cameras", "known_in_part", "jitter", "mirror", "validation_spread"):
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {getattr(options, name)}")
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
    if not options.validation_views or min(options.validation_views) < 1:
        raise ValueError(f"validation_views must be numbers of views from 1 on, got {options.validation_views}")
    for stage in options.stages:
        if not stage.sizes:
            raise ValueError("expected at least one size of pictures in every stage, got none")
        if not 0 <= stage.spread[0] <= stage.spread[1] <= 1:
            raise ValueError(f"spread of a stage must lie between 0 and 1, the least first, got {stage.spread}")
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
    if options.jitter > 0:
        raise ValueError(f"views of changed colours do not show one scene: expected jitter=0, got {options.jitter}")
    if options.known_in_part > 0:
        raise ValueError(
            f"a Gaussian head sees all cameras or none: expected known_in_part=0, got {options.known_in_part}"
        )
    for name, usual in (("told_matches", 0.0), ("dense_every", 1)):
        found = [getattr(stage, name) for stage in options.stages if getattr(stage, name) != usual]
        if found:
            raise ValueError(f"a Gaussian head has no use for {name}: expected {usual} in every stage, got {found[0]}")
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
