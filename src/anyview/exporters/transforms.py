import json
from pathlib import Path
from typing import Any

import torch

from anyview.exporters.names import file_stems
from anyview.exporters.ply import write_ply
from anyview.exporters.points import point_cloud
from anyview.files import atomic_path
from anyview.geometry.pose import rigid_inverse
from anyview.options import ExportOptions
from anyview.types import Prediction


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write a nerfstudio data set into ``transforms``: ``transforms.json``, the pictures, and ``points.ply``.

    Pictures and intrinsics are at the resolution of the maps. Poses are camera-to-world in OpenGL's axes (y up, z
    backward); the world is the prediction's (there is no ``applied_transform``), and so is the point cloud's. Where the
    prediction has a mask, frames have mask pictures: white where there is something to see.
    """
    from PIL import Image

    target = folder / "transforms"
    names = [f"{stem}.png" for stem in file_stems(prediction.names)]
    pictures = {f"images/{name}": image for name, image in zip(names, prediction.images.numpy(), strict=True)}
    if prediction.mask is not None:
        masks = prediction.mask.mul(255).to(torch.uint8).numpy()
        pictures |= {f"masks/{name}": mask for name, mask in zip(names, masks, strict=True)}
    with atomic_path(target) as temporary:
        for name, pixels in pictures.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(temporary / name)
        write_ply(temporary / "points.ply", point_cloud(prediction, options, normals=True), prediction)
        description = _describe(prediction, names, options.shared_intrinsics)
        (temporary / "transforms.json").write_text(json.dumps(description, indent=2) + "\n")
    return [target / "transforms.json", target / "points.ply", *(target / name for name in pictures)]


def _describe(prediction: Prediction, names: list[str], shared: bool) -> dict[str, Any]:
    assert prediction.cameras is not None
    height, width = prediction.depth.shape[1:]
    opencv_from_opengl = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    camera_to_world = rigid_inverse(prediction.cameras.world_to_camera.double()) @ opencv_from_opengl
    intrinsics = prediction.cameras.intrinsics.double()
    frames: list[dict[str, Any]] = [{"file_path": f"images/{name}"} for name in names]
    for view, (frame, name) in enumerate(zip(frames, names, strict=True)):
        if prediction.mask is not None:
            frame["mask_path"] = f"masks/{name}"
        if not shared:
            frame.update(_lens(intrinsics[view]))
        frame["transform_matrix"] = camera_to_world[view].tolist()
    return {
        "camera_model": "OPENCV",
        "w": width,
        "h": height,
        **(_lens(intrinsics.quantile(0.5, dim=0)) if shared else {}),
        "ply_file_path": "points.ply",
        "units": prediction.units,
        "model": prediction.model,
        "frames": frames,
    }


def _lens(intrinsics: torch.Tensor) -> dict[str, float]:
    (focal_x, _, center_x), (_, focal_y, center_y), _ = intrinsics.tolist()
    return {"fl_x": focal_x, "fl_y": focal_y, "cx": center_x, "cy": center_y}
