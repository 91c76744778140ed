"""The networks: any-view or monocular (`Network`), and the two nested for metric scale (`NestedNetwork`).

Tensors in, tensors out, trainable; files, devices and memory are the predictor's business.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyview.geometry.rays import cameras_from_rays
from anyview.model.backbone import Backbone, BackboneOutput
from anyview.model.camera_token import CameraDecoder, CameraEncoder
from anyview.model.config import PATCH, NestedConfig, NetworkConfig
from anyview.model.gaussians import gaussians_from_raw, in_predicted_frame, known_pose_scale, pixel_colors
from anyview.model.heads import FRAMES_AT_ONCE, AnyViewHead, DenseMaps, GaussianHead, MonocularHead
from anyview.model.layers import Block
from anyview.model.metric import fill_sky, is_sky, metric_scale, metric_sky_depth, to_metres
from anyview.options import CameraSource, ReferenceView
from anyview.types import Cameras, Gaussians, NetworkOutput


class Network(nn.Module):
    """One transformer, one dense head, and, for several views, cameras and Gaussians."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone_dtype = torch.float32
        """Precision of the backbone; heads and geometry are always float32."""
        self.frames_at_once = FRAMES_AT_ONCE
        self.backbone = Backbone(config.backbone)
        self.head = AnyViewHead(config) if config.is_any_view else MonocularHead(config)
        width, tap_width = config.backbone.width, config.backbone.tap_width
        self.camera_encoder = CameraEncoder(width, config.camera_encoder_depth) if config.is_any_view else None
        self.camera_decoder = CameraDecoder(tap_width) if config.is_any_view else None
        self.gaussian_head = GaussianHead(config.gaussians, tap_width) if config.gaussians else None

    def forward(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        cameras: Cameras | None = None,
        *,
        known_views: Sequence[int] | None = None,
        reference_view: ReferenceView = "saddle_balanced",
        camera_source: CameraSource = "head",
        rays: bool = False,
        gaussians: bool = False,
        gaussian_cameras: Cameras | None = None,
        features: Sequence[int] = (),
        generator: torch.Generator | None = None,
    ) -> NetworkOutput:
        """Predict the geometry of each batch item's views, in a frame of the network's choice.

        Args:
            images: ImageNet-normalised, sides multiples of 14.
            cameras: Known cameras, poses normalised by `geometry.pose.normalize_poses`, intrinsics in pixels of
                ``images``; they condition the prediction and are not returned.
            known_views: The views that ``cameras`` are of, where they are not of all: the others get the learned token
                of views whose camera is unknown. Published networks were not trained with such mixtures.
            reference_view: How the view that becomes the world frame is chosen.
            camera_source: Cameras from the camera head, or solved from the rays.
            rays: Return the ray map.
            gaussians: Return Gaussians.
            gaussian_cameras: Known cameras, in any frame and unit, that they are placed in front of, after these have
                been moved into the predicted frame. None: the predicted cameras, in the scale of ``cameras`` if there
                are any, as published weights have it.
            features: Blocks whose patch tokens are returned.
            generator: For the random draws of the ray solver; None: a fixed seed.
        """
        height, width = images.shape[-2:]
        rows, columns = height // PATCH, width // PATCH
        camera_tokens = None
        if cameras is not None:
            camera_tokens = self.known_camera_tokens(cameras, images, known_views)
        tokens = self.read_tokens(images, camera_tokens, reference_view=reference_view, features=features)
        taps = tokens.taps
        kept = {block: x.unflatten(2, (rows, columns)) for block, x in tokens.features.items()}

        if isinstance(self.head, MonocularHead):
            maps = self.head(taps, rows, columns, frames_at_once=self.frames_at_once)
            assert maps.sky is not None
            return NetworkOutput(depth=fill_sky(maps.depth, maps.sky), sky=maps.sky, features=kept)

        wants_rays = rays or camera_source == "rays"
        maps = self.head(taps, rows, columns, rays=wants_rays, frames_at_once=self.frames_at_once)
        if camera_source == "rays":
            assert maps.rays is not None
            assert maps.ray_confidence is not None
            predicted = cameras_from_rays(maps.rays, maps.ray_confidence, height, width, generator)
        else:
            assert self.camera_decoder is not None
            assert tokens.camera is not None
            predicted = self.camera_decoder(tokens.camera, height, width)
        return NetworkOutput(
            depth=maps.depth,
            confidence=maps.confidence,
            cameras=predicted,
            rays=maps.rays if rays else None,
            ray_confidence=maps.ray_confidence if rays else None,
            gaussians=self.read_gaussians(taps, images, maps, predicted, cameras, gaussian_cameras)
            if gaussians
            else None,
            features=kept,
        )

    def known_camera_tokens(
        self,
        cameras: Cameras,
        images: Float[Tensor, "batch views 3 height width"],
        known_views: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch views channels"]:
        """Encode known cameras, of all views or some; the others get the learned token, see `forward`."""
        assert self.camera_encoder is not None, "a monocular network takes no cameras"
        tokens = self.camera_encoder(cameras, *images.shape[-2:])
        if known_views is None:
            return tokens
        mixed = self.backbone.unknown_cameras(*images.shape[:2]).clone()
        mixed[:, list(known_views)] = tokens.to(mixed.dtype)
        return mixed

    def read_tokens(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        camera_tokens: Float[Tensor, "batch views channels"] | None = None,
        *,
        reference_view: ReferenceView = "saddle_balanced",
        features: Sequence[int] = (),
    ) -> BackboneOutput:
        """Run the backbone in its precision; its tokens come back in float32."""
        half = self.backbone_dtype != torch.float32
        with torch.autocast(images.device.type, self.backbone_dtype if half else None, enabled=half):
            tokens = self.backbone(images, camera_tokens, reference_view=reference_view, features=features)
        return BackboneOutput(
            taps=tuple(tap.float() for tap in tokens.taps),
            camera=None if tokens.camera is None else tokens.camera.float(),
            features={block: x.float() for block, x in tokens.features.items()},
        )

    def read_gaussians(
        self,
        taps: Sequence[Float[Tensor, "batch views patches tap_width"]],
        images: Float[Tensor, "batch views 3 height width"],
        maps: DenseMaps,
        predicted: Cameras,
        known: Cameras | None,
        gaussian_cameras: Cameras | None = None,
    ) -> Gaussians:
        """Read Gaussians in the predicted frame, see `forward`."""
        assert self.gaussian_head is not None, "this network has no Gaussian head"
        assert self.config.gaussians is not None
        cameras, scale = predicted, None
        if gaussian_cameras is not None:
            cameras = in_predicted_frame(gaussian_cameras, predicted)
        elif known is not None:
            scale = known_pose_scale(predicted.world_to_camera, known.world_to_camera)
        raw = self.gaussian_head(taps, images, frames_at_once=self.frames_at_once)
        return gaussians_from_raw(raw, maps.depth, cameras, self.config.gaussians, scale, pixel_colors(images))


class NestedNetwork(nn.Module):
    """An any-view network whose depth, camera positions and Gaussians are scaled to a metric network's metres."""

    def __init__(self, config: NestedConfig) -> None:
        super().__init__()
        self.config = config
        self.any_view = Network(config.any_view)
        self.metric = Network(config.metric)

    def forward(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        cameras: Cameras | None = None,
        *,
        intrinsics: Float[Tensor, "batch views 3 3"] | None = None,
        **options: Any,
    ) -> NetworkOutput:
        """Predict as the any-view network does, in metres (`Network.forward` has the options).

        Known ``intrinsics``, in pixels of ``images``, take the place of the predicted ones where metres are computed.
        """
        output = self.any_view(images, cameras, **options)
        metric = self.metric(images)
        assert output.cameras is not None
        assert output.confidence is not None
        assert metric.sky is not None
        metres = to_metres(metric.depth, output.cameras.intrinsics if intrinsics is None else intrinsics)
        found = metric_scale(output.depth, output.confidence, metres, metric.sky)
        scale = found.nan_to_num(nan=1.0)[:, None, None]
        pose = output.cameras.world_to_camera.clone()
        pose[..., :3, 3] *= scale
        gaussians = output.gaussians
        if gaussians is not None:
            gaussians = replace(gaussians, means=gaussians.means * scale, scales=gaussians.scales * scale)
        return replace(
            output,
            depth=metric_sky_depth(output.depth * scale[..., None], metric.sky, found.isfinite()),
            confidence=torch.where(is_sky(metric.sky), 1.0, output.confidence),
            cameras=Cameras(pose, output.cameras.intrinsics),
            rays=None if output.rays is None else scaled_origins(output.rays, scale[..., None, None]),
            gaussians=gaussians,
            sky=metric.sky,
            metric_scale=found,
        )


def scaled_origins(
    rays: Float[Tensor, "batch views rows columns 6"], scale: Float[Tensor, "batch 1 1 1 1"]
) -> Float[Tensor, "batch views rows columns 6"]:
    """Rays whose origins are multiplied by ``scale``."""
    return torch.cat([rays[..., :3], rays[..., 3:] * scale], dim=-1)


def build(config: NetworkConfig | NestedConfig, device: torch.device | str = "meta") -> Network | NestedNetwork:
    """Make a network whose parameters have no values yet: load them, or `initialize` them."""
    with torch.device(device):
        return NestedNetwork(config) if isinstance(config, NestedConfig) else Network(config)


def initialize(network: nn.Module, seed: int = 0) -> None:
    """Give every parameter a random value fit to start training from; the same seed gives the same network.

    ``network`` may also be a part of one.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Block):
            nn.init.constant_(module.attention_scale, module.initial_scale)
            nn.init.constant_(module.mlp_scale, module.initial_scale)
        elif isinstance(module, Backbone):
            for name in ("class_token", "position_embedding", "camera_token"):
                if hasattr(module, name):
                    nn.init.trunc_normal_(getattr(module, name), std=0.02, generator=generator)
    for module in network.modules():
        if isinstance(module, CameraDecoder):
            # A field of view of one radian, away from the floor of its ReLU, and no rotation.
            nn.init.ones_(module.field_of_view.bias)
            module.quaternion.bias.data.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
