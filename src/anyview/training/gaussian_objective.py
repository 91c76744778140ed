"""What a Gaussian head is taught: some views of a scene are shown, and what others see of the Gaussians is compared.

Gaussians stand in front of the true cameras. Where the network is told these, depth takes the unit that predictions
then have, by the network's own poses beside the true ones, so that the head learns to correct it; where it is not,
depth takes the factor that fits the true one best, for there is no other.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from anyview.geometry.alignment import align_trajectories, fit_scale_l1
from anyview.images.preprocess import normalize
from anyview.model.gaussians import gaussians_from_raw, pixel_depth
from anyview.model.network import Network
from anyview.render.holes import fill_behind
from anyview.render.lpips import open_lpips
from anyview.render.psnr import psnr
from anyview.render.rasterize import rasterize
from anyview.render.splats import NEAR, NEAR_PART
from anyview.training.augment import mirror_scenes
from anyview.training.config import TrainOptions
from anyview.training.gaussian_head import GaussianReader, GaussianReading
from anyview.training.gaussian_losses import color_loss, edge_loss, shape_loss
from anyview.training.samples import Sample, Source
from anyview.training.step import Terms
from anyview.training.validation import Evaluator, Validation, to_device
from anyview.types import Cameras, Gaussians, TrueViews, map_tensors

LARGEST_UNIT_ERROR = 1.5
"""In training, units from poses are kept this near to the true one: a scene that is placed nowhere teaches nothing."""


class Roles(NamedTuple):
    """The views of a scene by what they are for."""

    shown: list[int]
    held_out: list[int]


class GaussianObjective:
    """Pictures of held-out views, and depth of those shown (`training.objective.Objective`)."""

    def __init__(self, options: TrainOptions) -> None:
        assert options.gaussians is not None
        self.options, self.config = options, options.gaussians
        if options.perception == "lpips":
            open_lpips()  # refused before anything is trained

    def reader(self, network: Network, *, averaged: bool) -> GaussianReader:
        """Prepare a network to be run; the averaged one in whole precision."""
        return GaussianReader(network, torch.float32 if averaged else getattr(torch, self.options.head_precision))

    def terms(self, reader: nn.Module, truth: TrueViews, sample: Sample) -> Terms:
        """Run the network on the views that are shown, and compare what the others see."""
        truth = mirror_scenes(truth, sample.indices, self.options.mirror, self.options.seed)
        roles = draw_roles(sample.views, self.options.held_out, self.options.seed, sample.step)
        known = torch.tensor(sample.known_cameras, device=truth.depth.device)
        return self._compare(reader, truth, roles, known, bounded=True)[0]

    def weigh(self, terms: Terms) -> Float[Tensor, " batch"]:
        """Sum a scene's loss terms with the recipe's weights."""
        options = self.options
        return (
            options.color_weight * terms["color"]
            + options.perception_weight * terms["perception"]
            + options.shape_weight * terms["shape"]
            + options.opacity_weight * terms["transparency"]
        )

    @torch.no_grad()
    def validate(
        self, reader: nn.Module, source: Source, evaluators: Sequence[Evaluator], device: torch.device
    ) -> Validation:
        """Score held-out views by PSNR, for each number of shown views; ``evaluators`` score what stays as it is."""
        options = self.options
        scores: dict[str, list[float]] = defaultdict(list)
        pictures = {}
        for views in options.validation_views:
            for index in range(options.validation_scenes):
                count = views + options.held_out
                truth = source.batch((index,), count, *options.validation_size, options.validation_spread)
                roles = draw_roles(count, options.held_out, options.seed, index)
                known = torch.ones(1, dtype=torch.bool, device=device)
                terms, rendered = self._compare(reader, to_device(truth, device), roles, known, bounded=False)
                for name, value in {"loss": self.weigh(terms), **terms}.items():
                    scores[f"{views}views/{name}"].append(value.item())
                pairs = zip(rendered[0].cpu(), truth.images[0, roles.held_out] / 255, strict=True)
                scores[f"{views}views/psnr"].append(float(np.mean([psnr(*pair) for pair in pairs])))
                if index == 0:
                    pictures[f"{views}views"] = draw_views(truth, roles, rendered)
        return Validation({name: float(np.mean(values)) for name, values in scores.items()}, pictures)

    def _compare(
        self, reader: nn.Module, truth: TrueViews, roles: Roles, known: Tensor, *, bounded: bool
    ) -> tuple[Terms, Float[Tensor, "batch held_out height width 3"]]:
        shown = take_views(truth, roles.shown)
        reading: GaussianReading = reader(normalize(shown.images), shown.cameras, known)
        valid = shown.depth.isfinite() & (shown.depth > 0)
        depth = reading.depth * units(reading, shown, valid, known, bounded=bounded)[:, None, None, None]
        colors = shown.images / 255
        gaussians = gaussians_from_raw(reading.raw, depth, shown.cameras, self.config, colors=colors)
        hidden = take_views(truth, roles.held_out)
        pictures, alphas = zip(*_render(gaussians, hidden), strict=True)
        rendered, expected = torch.stack(pictures), hidden.images / 255
        terms = {
            "color": color_loss(rendered, expected),
            "perception": self._perception(rendered, expected),
            "shape": shape_loss(pixel_depth(reading.raw, depth, self.config), shown.depth, valid),
            # What is put behind makes up for what Gaussians let through, and viewers put black there.
            "transparency": 1 - torch.stack(alphas).flatten(1).mean(1),
        }
        return terms, rendered

    def _perception(
        self, rendered: Float[Tensor, "batch views height width 3"], truth: Float[Tensor, "batch views height width 3"]
    ) -> Float[Tensor, " batch"]:
        if self.options.perception == "edges":
            return edge_loss(rendered, truth)
        one, other = (pictures.flatten(0, 1).movedim(-1, 1) for pictures in (rendered, truth))
        return open_lpips(rendered.device)(one, other).unflatten(0, rendered.shape[:2]).mean(1)


def units(
    reading: GaussianReading,
    shown: TrueViews,
    valid: Bool[Tensor, "batch views height width"],
    known: Bool[Tensor, " batch"],
    *,
    bounded: bool,
) -> Float[Tensor, " batch"]:
    """Return what brings each scene's depth to the unit of the truth; ``known`` are those with told cameras.

    ``bounded`` keeps it near to the true one, which no prediction can do.
    """
    scale = fit_scale_l1(reading.depth.flatten(1), shown.depth.flatten(1), valid.flatten(1).float()).nan_to_num(nan=1.0)
    for scene in known.nonzero()[:, 0].tolist():
        # As predictions with known cameras do it, `predictor.known_cameras`.
        found = align_trajectories(shown.cameras.world_to_camera[scene], reading.world_to_camera[scene])
        if found.scale_known:
            unit = 1 / found.similarity.scale
            if bounded:
                unit = unit.clamp(scale[scene] / LARGEST_UNIT_ERROR, scale[scene] * LARGEST_UNIT_ERROR)
            scale[scene] = unit
    return scale


def draw_roles(views: int, held_out: int, seed: int, number: int) -> Roles:
    """Draw which views are held out, by the number of the step or scene."""
    hidden = sorted(random.Random(f"held out {seed} {number}").sample(range(views), held_out))
    return Roles([view for view in range(views) if view not in hidden], hidden)


def take_views(truth: TrueViews, views: list[int]) -> TrueViews:
    """Keep some views of every scene of a batch."""
    poses, intrinsics = truth.cameras.world_to_camera[:, views], truth.cameras.intrinsics[:, views]
    return TrueViews(truth.images[:, views], truth.depth[:, views], Cameras(poses, intrinsics))


def _render(
    gaussians: Gaussians, views: TrueViews
) -> Iterator[tuple[Float[Tensor, "held_out height width 3"], Float[Tensor, "held_out height width"]]]:
    """Render each scene and its alpha; holes are filled from beside as in `benchmarks/gaussians.py`."""
    for scene in range(len(views.depth)):
        one = map_tensors(gaussians, itemgetter(scene))
        depth = views.depth[scene]
        near = NEAR_PART * float(depth[depth > 0].median().nan_to_num(nan=NEAR / NEAR_PART))
        seen = rasterize(one, views.cameras[scene], *depth.shape[-2:], near=near)
        full = [fill_behind(color, alpha) for color, alpha in zip(seen.color, seen.alpha, strict=True)]
        yield torch.stack(full), seen.alpha


def draw_views(
    truth: TrueViews, roles: Roles, rendered: Float[Tensor, "1 held_out height width 3"]
) -> UInt8[np.ndarray, "total_height total_width 3"]:
    """Draw a row for each held-out view: the picture, and what was rendered."""
    seen = (rendered[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
    pictures = truth.images[0, roles.held_out].cpu().numpy()
    return np.concatenate([np.concatenate(pair, axis=1) for pair in zip(pictures, seen, strict=True)])
