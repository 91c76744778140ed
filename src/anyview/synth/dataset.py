"""The stream of scenes: a pure function of options, split and index."""

from collections.abc import Sequence
from random import Random
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.options import nearest_names
from anyview.synth.augment import photograph
from anyview.synth.cameras import RIGS, place_cameras
from anyview.synth.hashing import seed_from
from anyview.synth.landscapes import landscape
from anyview.synth.options import Split, SynthOptions
from anyview.synth.renderer import render
from anyview.synth.rooms import room
from anyview.synth.still_lifes import still_life
from anyview.synth.streets import street
from anyview.synth.world import Layout, stack_layouts
from anyview.types import Cameras, TrueViews

_LAYOUTS = {"room": room, "street": street, "landscape": landscape, "still_life": still_life}
_DRAWS = 5
"""Times that a scene is drawn before cameras that overlap as much as asked are taken for impossible."""


def scene_at(options: SynthOptions, split: Split, index: int, device: torch.device | str = "cpu") -> TrueViews:
    """Make the scene of a split at an index from 0 on, in metres."""
    batch = batch_at(options, split, [index], device)
    assert batch.sky is not None
    assert batch.objects is not None
    assert batch.normals is not None
    return TrueViews(
        images=batch.images[0],
        depth=batch.depth[0],
        cameras=batch.cameras[0],
        sky=batch.sky[0],
        objects=batch.objects[0],
        normals=batch.normals[0],
        metric=True,
    )


def batch_at(
    options: SynthOptions, split: Split, indices: Sequence[int], device: torch.device | str = "cpu"
) -> TrueViews:
    """Make several scenes at once; each is the one that `scene_at` makes.

    Raises:
        ValueError: the split does not exist, an index is negative, there are none, or no cameras were found that
            overlap as much as asked.
    """
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}: {nearest_names(split, get_args(Split))}")
    if not indices or min(indices) < 0:
        raise ValueError(f"expected one index or more, none negative, got {list(indices)}")
    seeds = [scene_seed(options.seed, split, index) for index in indices]
    seeds, layouts, cameras = _lay_out(options, seeds, device)
    world, keys = stack_layouts(layouts, device), _keys(seeds, device)
    rendering = render(world, cameras, options.height, options.width, shadows=options.shadows)
    exposed = _exposed(rendering.color)
    images = photograph(exposed, keys) if options.augment else exposed
    return TrueViews(
        images=(images * 255).round_().byte(),
        depth=rendering.depth,
        cameras=cameras,
        sky=(rendering.depth == 0) & ~world.is_void[:, None, None, None],
        objects=rendering.objects,
        normals=rendering.normals,
        metric=True,
    )


def _lay_out(
    options: SynthOptions, seeds: list[int], device: torch.device | str
) -> tuple[list[int], list[Layout], Cameras]:
    """Lay scenes out and place their cameras; a scene without a place for them is drawn again, from another seed."""
    seeds = list(seeds)
    drawn = [_draw(options, seed) for seed in seeds]
    poses = torch.empty(len(seeds), options.views, 4, 4, device=device)
    intrinsics = torch.empty(len(seeds), options.views, 3, 3, device=device)
    waiting = list(range(len(seeds)))
    for _ in range(_DRAWS):
        cameras, placed = place_cameras(
            stack_layouts([drawn[scene][0] for scene in waiting], device),
            torch.tensor([drawn[scene][1] for scene in waiting], device=device),
            _keys([seeds[scene] for scene in waiting], device),
            views=options.views,
            height=options.height,
            width=options.width,
            least_overlap=options.least_overlap,
        )
        poses[waiting], intrinsics[waiting] = cameras.world_to_camera, cameras.intrinsics
        waiting = [scene for scene, found in zip(waiting, placed.tolist(), strict=True) if not found]
        if not waiting:
            return seeds, [layout for layout, _ in drawn], Cameras(poses, intrinsics)
        for scene in waiting:
            seeds[scene] = seed_from("anyview.synth again", seeds[scene])
            drawn[scene] = _draw(options, seeds[scene])
    overlap = options.least_overlap
    raise ValueError(f"expected cameras with an overlap of at least {overlap}, found none in {_DRAWS} draws of a scene")


def _draw(options: SynthOptions, seed: int) -> tuple[Layout, int]:
    """Draw a scene's layout, and the number of its camera rig."""
    rng = Random(seed)
    kind = rng.choices(options.kinds, options.kind_weights)[0]
    rig = RIGS.index(rng.choices(options.rigs, options.rig_weights)[0])
    return _LAYOUTS[kind](rng), rig


def _keys(seeds: Sequence[int], device: torch.device | str) -> Int[Tensor, " scenes"]:
    return torch.tensor([seed & 0x7FFFFFFF for seed in seeds], dtype=torch.int32, device=device)


def scene_seed(seed: int, split: Split, index: int) -> int:
    """Return the seed of a scene: splits share none."""
    return seed_from("anyview.synth", seed, split, index)


def _exposed(color: Float[Tensor, "scenes views height width 3"]) -> Float[Tensor, "scenes views height width 3"]:
    """Expose every scene for its mean brightness, and bend highlights and gamma as a camera does."""
    mean = color.clamp(max=4).mean((-4, -3, -2, -1), keepdim=True).clamp(min=1e-3)
    return (1 - torch.exp(-0.4 * color / mean)).clamp_(0, 1).pow(1 / 2.2)
