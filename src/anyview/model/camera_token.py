"""Between cameras and tokens: an encoder tells the backbone known poses, a decoder reads cameras from it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyview.geometry.pose import decode_pose, encode_pose
from anyview.model.layers import Block
from anyview.types import Cameras


class CameraEncoder(nn.Module):
    """Known cameras to one token per view."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.expand = nn.Linear(9, width // 2)
        self.contract = nn.Linear(width // 2, width)
        self.token_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads=16, initial_scale=0.01) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, cameras: Cameras, height: int, width: int) -> Float[Tensor, "batch views channels"]:
        """Encode cameras of height × width images, their poses as `geometry.pose.normalize_poses` leaves them."""
        encoding = encode_pose(cameras, height, width)
        tokens = self.token_norm(self.contract(F.gelu(self.expand(encoding))))
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class CameraDecoder(nn.Module):
    """One token per view to cameras with a centred principal point."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.translation = nn.Linear(width, 3)
        self.quaternion = nn.Linear(width, 4)
        self.field_of_view = nn.Linear(width, 2)

    def forward(self, tokens: Float[Tensor, "batch views channels"], height: int, width: int) -> Cameras:
        """Decode the cameras of height × width images."""
        return decode_pose(self.encoding(tokens), height, width)

    def encoding(self, tokens: Float[Tensor, "batch views channels"]) -> Float[Tensor, "batch views 9"]:
        """Read the pose encoding of `geometry.pose.encode_pose`, as training compares it."""
        hidden = F.relu(self.second(F.relu(self.first(tokens))))
        # Fields of view cannot be negative.
        return torch.cat(
            [self.translation(hidden), self.quaternion(hidden), F.relu(self.field_of_view(hidden))], dim=-1
        )
