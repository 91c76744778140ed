"""Pictures in, geometry out: the facade over reading, resizing, the network, and known cameras."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.devices import Precision, available_memory, resolve_device, resolve_dtype
from anyview.geometry.pose import normalize_poses
from anyview.images.preprocess import normalize, prepare_views
from anyview.images.read import ListedPicture, PictureSource, list_pictures, read_listed, read_pictures
from anyview.model.checkpoint import load, locate
from anyview.model.config import PATCH, PRESETS, NestedConfig, NetworkConfig, find_preset
from anyview.model.footprint import estimate_bytes
from anyview.model.metric import to_metres
from anyview.model.network import NestedNetwork, Network, build, initialize
from anyview.options import PredictOptions
from anyview.predictor.known_cameras import Known, as_intrinsics, batch_known, gather_known, in_known_frame
from anyview.predictor.progress import watch
from anyview.predictor.result import at_input_resolution, take_scene
from anyview.types import Cameras, NetworkOutput, Picture, Prediction, Scene, Views

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is to do."""
Pictures = Scene | PictureSource | Sequence[PictureSource]

GIB = 2**30
_NO_METRIC_SCALE = "almost everything is sky, so that no metric scale could be found"


@dataclass(frozen=True)
class Abilities:
    """What a network can be asked for."""

    any_view: bool
    gaussians: bool
    canonical: bool
    """Depth in metres once a focal length is known."""
    nested: bool
    """Depth in metres by itself."""
    blocks: int

    @classmethod
    def of(cls, config: NetworkConfig | NestedConfig) -> "Abilities":
        """Read them from a network's configuration."""
        main = config.any_view if isinstance(config, NestedConfig) else config
        return cls(
            any_view=main.is_any_view,
            gaussians=main.gaussians is not None,
            canonical=main.canonical_depth,
            nested=isinstance(config, NestedConfig),
            blocks=main.backbone.depth,
        )


class DepthAnything3:
    """A network, ready to turn pictures into geometry.

    ``model.network`` is the trainable module.
    """

    def __init__(
        self,
        network: Network | NestedNetwork,
        name: str,
        *,
        device: str | torch.device = "auto",
        dtype: Precision | torch.dtype = "auto",
    ) -> None:
        self.name = name
        target = resolve_device(device)
        self.network = network.to(target).eval()
        precision = resolve_dtype(dtype, target)
        for part in network.modules():
            if isinstance(part, Network):
                part.backbone_dtype = precision

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: Precision | torch.dtype = "auto",
        revision: str | None = None,
        offline: bool = False,
        progress: Progress | None = None,
    ) -> "DepthAnything3":
        """Load a model by a preset's name, a hub repository, a published folder, or a file of ours.

        Args:
            name_or_path: For example "da3-small", "depth-anything/DA3-BASE", "folder/with/config.json".
            device: "auto", or what PyTorch calls it.
            dtype: Precision of the backbone; "auto" is what the device does well, float32 on CPUs.
            revision: Branch, tag or commit on the hub.
            offline: Take what is on this machine, or refuse.
            progress: Called as tensors are read.

        Raises:
            ValueError: There is no such model, its files cannot be had, or they are not what they should be.
        """
        target = resolve_device(device)  # before gigabytes are read
        path = locate(name_or_path, revision=revision, offline=offline)
        network, name = load(path, _stage(progress, "loading"))
        return cls(network, name, device=target, dtype=dtype)

    @classmethod
    def with_random_weights(
        cls,
        preset: str,
        *,
        seed: int = 0,
        device: str | torch.device = "auto",
        dtype: Precision | torch.dtype = "auto",
    ) -> "DepthAnything3":
        """Build a preset with random weights: to try what surrounds a model, or to train it."""
        network = build(find_preset(preset).config, "cpu")
        initialize(network, seed)
        return cls(network, f"{preset} (random weights)", device=device, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next(self.network.parameters()).device

    @property
    def abilities(self) -> Abilities:
        """What can be asked of this model."""
        return Abilities.of(self.network.config)

    def predict(
        self,
        images: Pictures,
        cameras: Cameras | None = None,
        *,
        intrinsics: Any = None,
        options: PredictOptions = PredictOptions(),
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict the geometry of one scene from all its pictures together.

        Args:
            images: Paths, patterns, folders, arrays, PIL images, bytes, one or a sequence of them; or a `Scene`, whose
                cameras are used unless ``cameras`` are given.
            cameras: Known cameras of all pictures, in pixels of the pictures as given. They condition the network, and
                results come back in their frame and scale.
            intrinsics: Known intrinsics (3 × 3, or one per picture) without poses. They condition nothing, but are
                returned, and give metres where these depend on a focal length.
            options: See `PredictOptions`.
            progress: Called as stages advance.

        Raises:
            ValueError: In one line, what is wrong with the pictures, the cameras, or what was asked of this model.
        """
        poses_given = cameras is not None or (isinstance(images, Scene) and images.cameras is not None)
        options = self._checked(options, poses_given=poses_given)
        if isinstance(images, Scene):
            pictures, cameras = images.pictures, cameras or images.cameras
        else:
            pictures = read_pictures(images, progress=_stage(progress, "reading"))
        views = _prepare(pictures, options)
        known = gather_known(pictures, views, cameras, intrinsics, options)
        self._check_memory(len(pictures), views, options)
        with watch(self.network, len(pictures), _stage(progress, "predicting")):
            output = self._run(views.images[None], batch_known(known), options)
        return self._prediction(output, 0, pictures, views, known, options)

    def predict_each(
        self,
        images: Pictures,
        *,
        intrinsics: Any = None,
        batch_size: int = 4,
        options: PredictOptions = PredictOptions(),
        progress: Progress | None = None,
    ) -> Iterator[Prediction]:
        """Predict pictures that have nothing to do with each other, one `Prediction` of one view each, in order.

        Pictures are read ``batch_size`` at a time, so that any number of them fits into memory. GPUs predict as many at
        once, and a picture's result does not depend on the others but for rounding; CPUs, which batches do not make
        faster, predict one by one, and it does not depend on them at all.

        Args:
            images: As in `predict`; of a `Scene`'s cameras only the intrinsics are used.
            intrinsics: As in `predict`.
            batch_size: Pictures at a time.
            options: As in `predict`.
            progress: Called as pictures are done.

        Raises:
            ValueError: As `predict` does; what concerns one picture when its turn comes.
        """
        if batch_size < 1:
            raise ValueError(f"expected a batch size of at least 1, got {batch_size}")
        options = self._checked(options, poses_given=False)
        if isinstance(images, Scene):
            if intrinsics is None and images.cameras is not None:
                intrinsics = images.cameras.intrinsics
            images = images.pictures
        pictures = list_pictures(images)
        return self._each(pictures, as_intrinsics(intrinsics, len(pictures)), batch_size, options, progress)

    def _each(
        self,
        listed: Sequence[ListedPicture],
        intrinsics: Float[Tensor, "views 3 3"] | None,
        batch_size: int,
        options: PredictOptions,
        progress: Progress | None,
    ) -> Iterator[Prediction]:
        at_once = 1 if self.device.type == "cpu" else batch_size
        for start in range(0, len(listed), batch_size):
            items = []
            for index, picture in enumerate(read_listed(listed[start : start + batch_size]), start=start):
                views = _prepare([picture], options)
                given = None if intrinsics is None else intrinsics[index]
                items.append((picture, views, gather_known([picture], views, None, given, options)))
            for _, group in groupby(items, key=lambda item: (item[1].images.shape, item[2].intrinsics is None)):
                same_size = list(group)
                for first in range(0, len(same_size), at_once):
                    yield from self._batch(same_size[first : first + at_once], options)
            if progress is not None:
                progress("predicting", min(start + batch_size, len(listed)), len(listed))

    def _batch(self, items: Sequence[tuple[Picture, Views, Known]], options: PredictOptions) -> Iterator[Prediction]:
        """Predict unrelated pictures of one size in one forward pass."""
        self._check_memory(len(items), items[0][1], options)
        images = torch.stack([views.images for _, views, _ in items])
        output = self._run(images, batch_known(*(known for _, _, known in items)), options)
        for index, (picture, views, known) in enumerate(items):
            yield self._prediction(output, index, [picture], views, known, options)

    def _checked(self, options: PredictOptions, *, poses_given: bool) -> PredictOptions:
        """Refuse what this model cannot do before anything is read; return the options at the model's resolution."""
        options.check()
        abilities = self.abilities
        if poses_given and not abilities.any_view:
            raise ValueError(
                f"{self.name} takes no camera poses: it sees one image at a time and has no camera encoder; "
                "give intrinsics alone, or choose an any-view model"
            )
        if options.gaussians and not abilities.gaussians:
            *some, last = (name for name, preset in PRESETS.items() if Abilities.of(preset.config).gaussians)
            raise ValueError(f"{self.name} has no Gaussian head; {', '.join(some)} and {last} have one")
        if (options.rays or options.camera_source == "rays") and not abilities.any_view:
            raise ValueError(f"{self.name} predicts depth and sky only, no rays")
        wrong = [block for block in options.features if not 0 <= block < abilities.blocks]
        if wrong:
            raise ValueError(f"{self.name} has blocks 0 to {abilities.blocks - 1}, features were asked of {wrong[0]}")
        return (
            options if options.resolution is not None else replace(options, resolution=self.network.config.resolution)
        )

    def _check_memory(self, count: int, views: Views, options: PredictOptions) -> None:
        """Refuse what would not fit, and say what would."""
        limit = available_memory(self.device) if options.memory_limit is None else int(options.memory_limit * GIB)
        height, width = views.images.shape[1:3]

        def needed(count: int, height: int = height, width: int = width) -> int:
            return estimate_bytes(
                self.network.config,
                count,
                height,
                width,
                rays=options.rays or options.camera_source == "rays",
                gaussians=options.gaussians,
            )

        if limit is None or needed(count) <= limit:
            return
        fitting = max((views for views in range(1, count) if needed(views) <= limit), default=None)
        assert options.resolution is not None
        lower = range(PATCH, options.resolution, PATCH)
        smaller = max((side for side in lower if needed(count, *_sides(views, side, options)) <= limit), default=PATCH)
        ways = [f"--resolution {smaller}"] + ([f"at most {fitting} views at once"] if fitting else [])
        raise ValueError(
            f"{count} view{'s' if count > 1 else ''} of {width}×{height} pixels with {self.name} need about "
            f"{needed(count) / GIB:.1f} GiB beside the weights, and {limit / GIB:.1f} GiB are available; "
            f"try {' or '.join(ways)}"
        )

    def _run(
        self, images: UInt8[Tensor, "batch views height width 3"], known: Known, options: PredictOptions
    ) -> NetworkOutput:
        device = self.device
        cameras, intrinsics = known.cameras, known.intrinsics
        arguments: dict[str, Any] = {}
        if self.abilities.any_view:
            arguments = {
                "reference_view": options.reference_view,
                "camera_source": options.camera_source,
                "rays": options.rays,
                "gaussians": options.gaussians,
                "generator": torch.Generator().manual_seed(options.seed),
            }
        if cameras is not None:
            poses = normalize_poses(cameras.world_to_camera)
            arguments["cameras"] = Cameras(poses.to(device), cameras.intrinsics.to(device))
            if options.gaussians and options.pose_frame != "network":
                placed = cameras.world_to_camera.to(device), cameras.intrinsics.to(device)
                arguments["gaussian_cameras"] = Cameras(*placed)
        if self.abilities.nested and intrinsics is not None:
            arguments["intrinsics"] = intrinsics.to(device)
        # Tensors made in inference mode could not be edited afterwards, nor serve as targets in training.
        with torch.no_grad():
            try:
                output = self.network(normalize(images.to(device)), features=options.features, **arguments)
            except torch.OutOfMemoryError as error:
                scenes, count, height, width, _ = images.shape
                raise MemoryError(
                    f"{scenes * count} views of {width}×{height} pixels with {self.name} did not fit into the memory "
                    f"of {device}, against the estimate; try a lower --resolution or fewer views at once"
                ) from error
        if options.camera_source == "rays" and output.cameras is not None:
            lost = (~output.cameras.world_to_camera.isfinite().flatten(2).all(-1)).nonzero().tolist()
            if lost:
                views = ", ".join(str(view) for _, view in lost)
                raise ValueError(f"the rays of view {views} determine no camera; take the cameras of the head")
        return output

    def _prediction(
        self,
        output: NetworkOutput,
        item: int,
        pictures: Sequence[Picture],
        views: Views,
        known: Known,
        options: PredictOptions,
    ) -> Prediction:
        """Assemble one batch item's result, in the frame, unit and resolution asked for."""
        prediction = take_scene(output, item, self.name, pictures, views)
        prediction = self._with_units(prediction, output, item, known)
        if known.cameras is not None:
            prediction = in_known_frame(prediction, known.cameras, options.pose_frame)
        elif known.intrinsics is not None and prediction.cameras is not None:
            prediction = replace(prediction, cameras=replace(prediction.cameras, intrinsics=known.intrinsics))
        prediction = replace(prediction, lacks=self._lacks(prediction, options))
        return at_input_resolution(prediction, views, pictures) if options.output_resolution == "input" else prediction

    def _with_units(self, prediction: Prediction, output: NetworkOutput, item: int, known: Known) -> Prediction:
        if output.metric_scale is not None:
            scale = output.metric_scale[item].item()
            if math.isfinite(scale):
                return replace(prediction, units="metres", metric_scale=scale)
            return replace(prediction, notes=(*prediction.notes, f"{_NO_METRIC_SCALE}: depth is in an arbitrary unit"))
        if self.abilities.any_view:
            return prediction
        intrinsics = known.intrinsics if known.intrinsics is not None else known.exif_intrinsics
        if intrinsics is not None and len(prediction) == 1:
            # One view is its own world, and can be lifted to points.
            prediction = replace(prediction, cameras=Cameras(torch.eye(4)[None], intrinsics))
        if not self.abilities.canonical:
            return prediction
        canonical = prediction.depth
        if intrinsics is None:
            return replace(prediction, units="canonical", canonical_depth=canonical)
        if known.intrinsics is None:
            prediction = replace(
                prediction, notes=(*prediction.notes, "metres rest on the focal length in the EXIF data")
            )
        metres = to_metres(canonical, intrinsics)
        return replace(prediction, depth=metres, units="metres", canonical_depth=canonical)

    def _lacks(self, prediction: Prediction, options: PredictOptions) -> dict[str, str]:
        """Say of each missing field why it is missing."""
        abilities = self.abilities
        depth_only = f"{self.name} predicts depth and sky of single images"
        lacks = {}
        if prediction.confidence is None:
            lacks["confidence"] = depth_only
        if prediction.cameras is None:
            several = "; predict the images one by one to get a point cloud of each" if len(prediction) > 1 else ""
            lacks["cameras"] = (
                f"{depth_only}{several}" if several else f"{depth_only}, and no focal length is known to lift it with"
            )
        if prediction.rays is None:
            lacks["rays"] = "not asked for (rays)" if abilities.any_view else depth_only
        if prediction.gaussians is None:
            lacks["gaussians"] = (
                "not asked for (gaussians)" if abilities.gaussians else f"{self.name} has no Gaussian head"
            )
        if prediction.sky is None:
            lacks["sky"] = f"{self.name} predicts no sky"
        if not prediction.features:
            lacks["features"] = "not asked for (features)"
        if prediction.units == "canonical":
            lacks["metres"] = "no focal length is known: give intrinsics, focal_length or field_of_view"
        elif prediction.units == "arbitrary":
            lacks["metres"] = _NO_METRIC_SCALE if abilities.nested else f"{self.name} predicts depth up to scale"
        if prediction.canonical_depth is None:
            lacks["canonical_depth"] = "only metric models of single images have one"
        if prediction.metric_scale is None:
            lacks["metric_scale"] = _NO_METRIC_SCALE if abilities.nested else "only nested models have one"
        if prediction.ray_confidence is None:
            lacks["ray_confidence"] = lacks["rays"]
        return lacks


def _prepare(pictures: Sequence[Picture], options: PredictOptions) -> Views:
    assert options.resolution is not None
    return prepare_views(
        pictures, resolution=options.resolution, resize=options.resize, mixed_sizes=options.mixed_sizes
    )


def _sides(views: Views, resolution: int, options: PredictOptions) -> tuple[int, int]:
    """Height and width that views would have at most at another resolution."""
    assert options.resolution is not None
    height, width = (-(-side * resolution // (options.resolution * PATCH)) * PATCH for side in views.images.shape[1:3])
    return height, width


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    """Progress of one stage, for those who know of no others."""
    return None if progress is None else partial(progress, stage)
