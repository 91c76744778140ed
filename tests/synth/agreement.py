"""How well the views of a scene agree, from what comes out of the stream alone."""

import torch
from torch import Tensor

from anyview.geometry.camera import project, unproject_to_world
from anyview.types import TrueViews


def reprojection_errors(scene: TrueViews) -> tuple[Tensor, Tensor]:
    """Relative depth errors of every view's points in every other view, where visible; normals' dot products there.

    A point is visible where it comes within 3 % of the other view's depth, which is interpolated between four pixels
    of one surface: their inverse depths must be close to a plane's (of which one is the interpolation of the others).
    """
    errors, turns = [], []
    height, width = scene.depth.shape[-2:]
    points = unproject_to_world(scene.depth, scene.cameras)
    rotation = scene.cameras.world_to_camera[:, :3, :3]
    normals = scene.normals @ rotation[:, None]
    for one in range(len(scene.depth)):
        for other in range(len(scene.depth)):
            if one == other:
                continue
            known = scene.depth[one] > 0
            pixels, depth = project(points[one][known], scene.cameras[other])
            x, y = (pixels - 0.5).unbind(-1)
            inside = (depth > 1e-3) & (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
            x, y, depth = x[inside], y[inside], depth[inside]
            left, top = x.long(), y.long()
            corners = torch.stack([scene.depth[other][top + dy, left + dx] for dy in (0, 1) for dx in (0, 1)])
            inverse = 1 / corners
            flat = (corners > 0).all(0) & (
                (inverse[0] + inverse[3] - inverse[1] - inverse[2]).abs() < 1e-3 * inverse[0]
            )
            flat &= inverse.amax(0) < 1.1 * inverse.amin(0)
            u, v = x - left, y - top
            between = (inverse[0] * (1 - u) + inverse[1] * u) * (1 - v) + (inverse[2] * (1 - u) + inverse[3] * u) * v
            error = (1 / between / depth - 1).abs()
            visible = flat & (error < 0.03)
            errors.append(error[visible])
            there = normals[other][top, left]
            turns.append((normals[one][known][inside] * there).sum(-1)[visible])
    return torch.cat(errors), torch.cat(turns)
