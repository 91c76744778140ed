"""The parts of a transformer: attention, MLPs, rotary positions, the block."""

import functools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ROTARY_BASE = 100.0
FEWEST_CONVOLVED = 64
"""With fewer tokens, rearranging the weights for a convolution costs more than it saves."""


class Rotation(NamedTuple):
    """Rotary position embedding of each token: cosines and sines per image axis (row, column) and frequency."""

    cosine: Float[Tensor, "tokens 2 frequencies"]
    sine: Float[Tensor, "tokens 2 frequencies"]


Parameters = ParamSpec("Parameters")


def cached_table(build: Callable[Parameters, Tensor]) -> Callable[Parameters, Tensor]:
    """Keep the tables that ``build`` makes from sizes and a device, a few at a time.

    Tables are made outside of inference mode, so that one made while predicting can serve in training. Compiled graphs
    call ``build`` itself: their compiler folds it into a constant.
    """
    cached = functools.lru_cache(maxsize=32)(build)

    @functools.wraps(build)
    def table(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return build(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return cached(*args, **kwargs)  # type: ignore[arg-type]  # lru_cache's types forget the parameters

    table.cache_clear = cached.cache_clear  # type: ignore[attr-defined]
    return table


@cached_table
def rotary_table(
    rows: int, columns: int, frequencies: int, same_place: bool, device: torch.device
) -> Float[Tensor, "2 tokens 2 frequencies"]:
    """Cosines and sines for a class or camera token at (0, 0) and one view's patches at (row + 1, column + 1)."""
    row = torch.arange(1, rows + 1, device=device, dtype=torch.float32)[:, None].expand(rows, columns)
    column = torch.arange(1, columns + 1, device=device, dtype=torch.float32)[None, :].expand(rows, columns)
    places = torch.stack([row, column], dim=-1).flatten(0, 1)
    places = torch.cat([places.new_zeros(1, 2), torch.ones_like(places) if same_place else places])
    frequency = ROTARY_BASE ** (-torch.arange(frequencies, device=device, dtype=torch.float32) / frequencies)
    angles = places[:, :, None] * frequency
    return torch.stack([angles.cos(), angles.sin()])


def rotation_for(rows: int, columns: int, head_width: int, *, same_place: bool, device: torch.device) -> Rotation:
    """Return the rotation of the tokens of one view: a class or camera token, then rows × columns patches.

    ``same_place`` puts all patches at (1, 1), as attention over all views wants it: the order of views means nothing.
    """
    cosine, sine = rotary_table(rows, columns, head_width // 4, same_place, device)
    return Rotation(cosine, sine)


def rotate(
    x: Float[Tensor, "batch heads sequence head_width"], rotation: Rotation
) -> Float[Tensor, "batch heads sequence head_width"]:
    """Turn queries or keys by their tokens' positions: half of the channels by the row, half by the column.

    The sequence holds one view's tokens or those of several views, one after the other.
    """
    tokens, axes, frequencies = rotation.cosine.shape
    parts = x.unflatten(-1, (axes, 2, frequencies)).unflatten(2, (-1, tokens))
    a, b = parts.unbind(-2)
    turned = torch.stack([a * rotation.cosine - b * rotation.sine, b * rotation.cosine + a * rotation.sine], dim=-2)
    return turned.flatten(-3).flatten(2, 3)


class Linear(nn.Linear):
    """A linear layer over tokens.

    On CPUs it runs as a 1×1 convolution, in training too: PyTorch leaves convolutions to oneDNN and matrix products to
    MKL, which is half as fast on AMD's processors (docs/performance.md).
    """

    def forward(self, x: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch new_channels"]:
        """Transform each token by itself."""
        tokens = x.flatten(0, -2)
        float_on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
        if not float_on_cpu or len(tokens) < FEWEST_CONVOLVED or torch.compiler.is_compiling():
            return super().forward(x)
        # A picture of one row and a column per token, channels last: the tokens as they lie in memory.
        picture = tokens[None, None].permute(0, 3, 1, 2)
        convolved = F.conv2d(picture, self.weight[:, :, None, None], self.bias)
        return convolved.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, *, normalize_queries: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.query_norm = nn.LayerNorm(width // heads) if normalize_queries else nn.Identity()
        self.key_norm = nn.LayerNorm(width // heads) if normalize_queries else nn.Identity()
        self.projection = Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch sequence width"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch sequence width"]:
        """Attend over the sequence, with rotary positions if a rotation is given."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.query_norm(query), self.key_norm(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        # Norms and rotations may have left half precision; the fused kernels want one type.
        attended = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value)
        return self.projection(attended.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = Linear(width, 4 * width)
        self.contract = Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Transform each token by itself."""
        return self.contract(F.gelu(self.expand(x)))


class GatedMlp(nn.Module):
    """SwiGLU (Shazeer, 2020): one half of the hidden channels gates the other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Two thirds of an ungated MLP's hidden channels cost the same; rounded up to a multiple of 8.
        hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
        self.expand = Linear(width, 2 * hidden)
        self.contract = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Transform each token by itself."""
        gate, value = self.expand(x).chunk(2, dim=-1)
        return self.contract(F.silu(gate) * value)


class Block(nn.Module):
    """A pre-norm transformer block with learned scales on both residual branches."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        gated_mlp: bool = False,
        normalize_queries: bool = False,
        norm_epsilon: float = 1e-5,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.initial_scale = initial_scale
        self.attention_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.attention = Attention(width, heads, normalize_queries=normalize_queries)
        self.attention_scale = nn.Parameter(torch.full((width,), initial_scale))
        self.mlp_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.mlp = GatedMlp(width) if gated_mlp else Mlp(width)
        self.mlp_scale = nn.Parameter(torch.full((width,), initial_scale))

    def forward(
        self, x: Float[Tensor, "batch sequence width"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch sequence width"]:
        """Mix tokens, then transform each."""
        x = torch.addcmul(x, self.attention(self.attention_norm(x), rotation), self.attention_scale)
        return torch.addcmul(x, self.mlp(self.mlp_norm(x)), self.mlp_scale)
