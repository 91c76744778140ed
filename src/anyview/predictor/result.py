"""A network's output -> a prediction."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from anyview.geometry.camera import unplace_intrinsics
from anyview.images.preprocess import describe_losses
from anyview.images.restore import restore_depth, restore_linear, restore_mask, restored_placements, stack_pictures
from anyview.model.metric import is_sky
from anyview.types import Cameras, NetworkOutput, Picture, Prediction, Views, map_tensors


def take_scene(output: NetworkOutput, item: int, model: str, pictures: Sequence[Picture], views: Views) -> Prediction:
    """One batch item of a network's output, as it is, on the CPU."""

    def of_item(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[item].float().cpu()

    cameras, gaussians = output.cameras, output.gaussians
    return Prediction(
        images=views.images,
        depth=output.depth[item].float().cpu(),
        units="arbitrary",
        model=model,
        names=tuple(picture.name for picture in pictures),
        placements=views.placements,
        confidence=of_item(output.confidence),
        cameras=None
        if cameras is None
        else Cameras(cameras.world_to_camera[item].cpu(), cameras.intrinsics[item].cpu()),
        mask=views.mask,
        sky=None if output.sky is None else is_sky(output.sky[item]).cpu(),
        rays=of_item(output.rays),
        ray_confidence=of_item(output.ray_confidence),
        gaussians=None if gaussians is None else map_tensors(gaussians, lambda tensor: tensor[item].cpu()),
        features={block: tokens[item].cpu() for block, tokens in output.features.items()},
        notes=describe_losses(views),
    )


def at_input_resolution(prediction: Prediction, views: Views, pictures: Sequence[Picture]) -> Prediction:
    """Bring all maps to the resolution of the input pictures, and the intrinsics with them."""
    seen = restore_mask(views)

    def restored(values: Tensor | None) -> Tensor | None:
        return None if values is None else restore_linear(values, views)

    cameras = prediction.cameras
    if cameras is not None:
        cameras = replace(cameras, intrinsics=unplace_intrinsics(cameras.intrinsics, views.placements))
    sky = restored(None if prediction.sky is None else prediction.sky.float())
    confidence = restored(prediction.confidence)
    canonical = prediction.canonical_depth
    return replace(
        prediction,
        images=stack_pictures(pictures),
        depth=restore_depth(prediction.depth, views, pictures),
        canonical_depth=None if canonical is None else restore_depth(canonical, views, pictures),
        confidence=confidence,
        sky=None if sky is None else sky >= 0.5,
        mask=None if seen.all() else seen,
        cameras=cameras,
        placements=restored_placements(views.placements),
    )
