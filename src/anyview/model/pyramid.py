"""From tokens to a fused map: the trunk of a dense prediction transformer (Ranftl et al., 2021), written once.

Tokens of four depths become maps at four scales (`Pyramid`); a chain of fusion blocks merges them from coarse to fine
(`Fusion`). Heads that share the pyramid bring their own fusion.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyview.model.config import PyramidConfig
from anyview.model.layers import cached_table

PLACE_WEIGHT = 0.1
PLACE_BASE = 100.0


@cached_table
def place_axis(size: int, span: float, channels: int, device: torch.device) -> Float[Tensor, "channels size"]:
    """Sines, then cosines, of pixel-centre coordinates from −span to span along one axis."""
    edge = span * (size - 1) / size
    position = torch.linspace(-edge, edge, size, device=device)
    frequency = PLACE_BASE ** (-torch.arange(channels // 2, device=device) / (channels // 2))
    angles = frequency[:, None] * position
    return PLACE_WEIGHT * torch.cat([angles.sin(), angles.cos()])


def add_place_(
    x: Float[Tensor, "frames channels rows columns"], aspect: float
) -> Float[Tensor, "frames channels rows columns"]:
    """Tell each pixel where it lies in an image of ``aspect`` = width / height: half of the channels x, half y.

    In place: adding two axes needs no table of the map's size, and no second map.
    """
    channels, rows, columns = x.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    x[:, : channels // 2] += place_axis(columns, aspect / diagonal, channels // 2, x.device)[:, None, :]
    x[:, channels // 2 :] += place_axis(rows, 1 / diagonal, channels // 2, x.device)[:, :, None]
    return x


def upsample(x: Float[Tensor, "frames channels _ _"], rows: int, columns: int) -> Float[Tensor, "frames channels r c"]:
    """Resize maps bilinearly, corner pixels onto corner pixels."""
    return F.interpolate(x, (rows, columns), mode="bilinear", align_corners=True)


class Pyramid(nn.Module):
    """Tokens of four taps to maps of equal channels at 4, 2, 1 and 1/2 times the patch grid."""

    def __init__(self, config: PyramidConfig, tap_width: int, *, normalize: bool, place: bool) -> None:
        super().__init__()
        self.place = place
        self.channels_last = True
        """Layout of the maps in memory; convolutions on CPUs and tensor cores are faster this way."""
        self.norm = nn.LayerNorm(tap_width) if normalize else nn.Identity()
        self.projections = nn.ModuleList(nn.Conv2d(tap_width, channels, 1) for channels in config.channels)
        finest, fine, _, coarse = config.channels
        self.resizers = nn.ModuleList(
            [
                nn.ConvTranspose2d(finest, finest, 4, stride=4),
                nn.ConvTranspose2d(fine, fine, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(coarse, coarse, 3, stride=2, padding=1),
            ]
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, config.features, 3, padding=1, bias=False) for channels in config.channels
        )

    def forward(
        self, taps: Sequence[Float[Tensor, "frames patches tap_width"]], rows: int, columns: int
    ) -> list[Float[Tensor, "frames features _ _"]]:
        """Return the four maps, finest first."""
        levels = []
        for tokens, project, resize, lateral in zip(taps, self.projections, self.resizers, self.laterals, strict=True):
            x = self.norm(tokens).transpose(1, 2).unflatten(2, (rows, columns))
            x = project(x if self.channels_last else x.contiguous())
            x = add_place_(x, columns / rows) if self.place else x
            levels.append(lateral(resize(x)))
        return levels


class ResidualConvolutions(nn.Module):
    """Two 3×3 convolutions, each after a ReLU, added to their input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "frames features rows columns"]
    ) -> Float[Tensor, "frames features rows columns"]:
        """Refine a map."""
        return x + self.second(F.relu_(self.first(F.relu(x))))


class FusionBlock(nn.Module):
    """Merge a coarse map with the next finer level, and enlarge the result."""

    def __init__(self, features: int, *, has_lateral: bool) -> None:
        super().__init__()
        self.refine_lateral = ResidualConvolutions(features) if has_lateral else None
        self.refine = ResidualConvolutions(features)
        self.output = nn.Conv2d(features, features, 1)

    def forward(
        self,
        coarse: Float[Tensor, "frames features _ _"],
        lateral: Float[Tensor, "frames features _ _"] | None,
        rows: int,
        columns: int,
    ) -> Float[Tensor, "frames features rows columns"]:
        """Return the merged map at rows × columns."""
        if self.refine_lateral is not None:
            assert lateral is not None
            coarse = coarse + self.refine_lateral(lateral)
        # The published order is to enlarge first. Interpolation weights sum to one, so the 1×1 convolution may as well
        # run on the small map, at a quarter of the cost.
        return upsample(self.output(self.refine(coarse)), rows, columns)


class Fusion(nn.Module):
    """From the pyramid's four levels to one map at eight times the patch grid."""

    def __init__(self, features: int) -> None:
        super().__init__()
        # Finest first, like the levels; the coarsest has nothing to be merged with.
        self.blocks = nn.ModuleList(FusionBlock(features, has_lateral=level < 3) for level in range(4))

    def forward(
        self, levels: Sequence[Float[Tensor, "frames features _ _"]]
    ) -> Float[Tensor, "frames features rows columns"]:
        """Merge from coarse to fine."""
        finest = levels[0].shape[-2:]
        sizes = [(2 * finest[0], 2 * finest[1]), *(level.shape[-2:] for level in levels[:3])]
        x = self.blocks[3](levels[3], None, *sizes[3])
        for level in (2, 1, 0):
            x = self.blocks[level](x, levels[level], *sizes[level])
        return x
