"""COLMAP through pycolmap (extra ``colmap``): SIFT, exhaustive matching, incremental mapping."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anyview.bench.options import Task
from anyview.bench.rivals.rival import Answer, Question

logger = logging.getLogger(__name__)

LARGEST_SIDE = 3200
"""Pixels; larger pictures are reduced by COLMAP's SIFT."""


class Colmap:
    """Structure from motion on the pictures alone. Views that it cannot place have NaN poses, and count as wrong.

    It gives poses only: its dense reconstruction needs CUDA, and its sparse points are no depth maps. One thread and
    fixed seeds, so that a scene gives the same cameras always.
    """

    name = "colmap"
    tasks: tuple[Task, ...] = ("pose",)

    def __init__(self, seed: int = 0) -> None:
        try:
            import pycolmap
        except ImportError as error:
            raise ImportError('the rival colmap needs pycolmap: pip install "anyview[colmap]"') from error
        self._pycolmap: Any = pycolmap
        self._seed = seed
        self.identity: Mapping[str, str | int | float | bool] = {
            "model": "colmap",
            "version": pycolmap.__version__,
            "largest_side": LARGEST_SIDE,
            "seed": seed,
        }

    def answer(self, question: Question) -> Answer:
        """Reconstruct a scene.

        Raises:
            ValueError: no two pictures could be registered.
        """
        with tempfile.TemporaryDirectory(prefix="anyview-colmap-") as folder:
            reconstruction = self._reconstruct(question, Path(folder))
        poses = np.full((len(question.pictures), 4, 4), np.nan, np.float32)
        matrices = np.full((len(question.pictures), 3, 3), np.nan, np.float32)
        for number in reconstruction.reg_image_ids():
            image = reconstruction.images[number]
            index = int(Path(image.name).stem)
            poses[index] = np.eye(4)
            poses[index, :3] = image.cam_from_world().matrix()
            matrices[index] = reconstruction.cameras[image.camera_id].calibration_matrix()
        return Answer(world_to_camera=poses, intrinsics=matrices)

    def _reconstruct(self, question: Question, folder: Path) -> Any:
        pycolmap = self._pycolmap
        pycolmap.set_random_seed(self._seed)
        pictures, database = folder / "images", folder / "database.db"
        pictures.mkdir()
        for index, picture in enumerate(question.pictures):
            Image.fromarray(picture.pixels).save(pictures / f"{index:06d}.png")
        sizes = {picture.pixels.shape for picture in question.pictures}
        extraction, matching, mapping = (
            pycolmap.FeatureExtractionOptions(),
            pycolmap.FeatureMatchingOptions(),
            pycolmap.IncrementalPipelineOptions(),
        )
        for options in (extraction, matching, mapping):
            options.num_threads = 1
        extraction.use_gpu = matching.use_gpu = False
        extraction.max_image_size = LARGEST_SIDE
        mapping.random_seed = self._seed
        camera_mode = pycolmap.CameraMode.SINGLE if len(sizes) == 1 else pycolmap.CameraMode.AUTO
        level, pycolmap.logging.minloglevel = pycolmap.logging.minloglevel, pycolmap.logging.Level.FATAL.value
        try:
            pycolmap.extract_features(database, pictures, camera_mode=camera_mode, extraction_options=extraction)
            pycolmap.match_exhaustive(database, matching_options=matching)
            models = pycolmap.incremental_mapping(database, pictures, folder / "sparse", options=mapping)
        finally:
            pycolmap.logging.minloglevel = level
        if not models:
            raise ValueError(f"COLMAP found no reconstruction of {len(question.pictures)} pictures")
        best = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
        logger.info("%d models; the largest has %d images", len(models), best.num_reg_images())
        return best
