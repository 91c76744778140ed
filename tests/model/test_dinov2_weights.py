"""DINOv2 checkpoints, in both namings they are published in, initialise a backbone."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, softmax

from anyview.model.checkpoint import load_dinov2_backbone
from anyview.model.config import BackboneConfig, NetworkConfig
from anyview.model.network import Network, build, initialize
from filled import ANY_VIEW, GAUSSIAN, MONO

CONFIGS = {"one view": MONO, "any view": ANY_VIEW, "gated": GAUSSIAN}


def authors_tensors(config: BackboneConfig) -> dict[str, Tensor]:
    """A checkpoint as the authors publish them, of random values, with registers and a mask token."""
    width = config.width
    hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1370, width),
        "mask_token": (1, width),
        "register_tokens": (1, 4, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(config.depth):
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        if config.gated_mlp:
            layers |= {"mlp.w12": (2 * hidden, width), "mlp.w3": (width, hidden)}
        else:
            layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in layers.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{block}.{name}"] = (width,)
    generator = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


RENAMED = (
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("attn.proj", "attention.output.dense"),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
    ("mlp.w12", "mlp.weights_in"),
    ("mlp.w3", "mlp.weights_out"),
    ("blocks.", "encoder.layer."),
)
WHOLE_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}


def transformers_tensors(tensors: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The same checkpoint as the transformers library names it, which splits queries, keys and values."""
    result = {}
    for name, value in tensors.items():
        renamed = WHOLE_NAMES.get(name, name)
        for authors, theirs in RENAMED:
            renamed = renamed.replace(authors, theirs)
        if "attn.qkv" in name:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                result[prefix + renamed.replace("attn.qkv", f"attention.attention.{part}")] = piece.contiguous()
        else:
            result[prefix + renamed] = value
    return result


def network_of(config: NetworkConfig) -> Network:
    network = build(config, "cpu")
    initialize(network)
    return network


def assert_holds(network: Network, tensors: dict[str, Tensor], before: Network) -> None:
    """Every value of the backbone is the checkpoint's, or as it was; all else is as it was."""
    renamed = {
        "cls_token": "class_token",
        "pos_embed": "position_embedding",
        "patch_embed.proj": "patch_embedding",
        "norm1": "attention_norm",
        "norm2": "mlp_norm",
        "attn.proj": "attention.projection",
        "attn.qkv": "attention.qkv",
        "ls1.gamma": "attention_scale",
        "ls2.gamma": "mlp_scale",
        "mlp.fc1": "mlp.expand",
        "mlp.fc2": "mlp.contract",
        "mlp.w12": "mlp.expand",
        "mlp.w3": "mlp.contract",
    }
    expected = before.state_dict()
    for name, value in tensors.items():
        for theirs, our_name in renamed.items():
            name = name.replace(theirs, our_name)  # noqa: PLW2901
        if name not in ("mask_token", "register_tokens"):
            assert f"backbone.{name}" in expected
            expected[f"backbone.{name}"] = value
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_authors_files_are_read(config, tmp_path):
    tensors = authors_tensors(config.backbone)
    torch.save(tensors, tmp_path / "dinov2.pth")
    save_file(tensors, tmp_path / "dinov2.safetensors")
    for path in tmp_path.iterdir():
        network = network_of(config)
        before = copy.deepcopy(network)
        load_dinov2_backbone(network, path)
        assert_holds(network, tensors, before)


@pytest.mark.parametrize("prefix", ["", "dinov2."])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_transformers_files_are_read(config, prefix, tmp_path):
    tensors = authors_tensors(config.backbone)
    path = tmp_path / "model.safetensors"
    save_file(transformers_tensors(tensors, prefix), path)
    network = network_of(config)
    before = copy.deepcopy(network)
    load_dinov2_backbone(network, path)
    assert_holds(network, tensors, before)


def plain_dinov2(image: Tensor, tensors: dict[str, Tensor], config: BackboneConfig) -> Tensor:
    """Normalised patch tokens of a 518 × 518 picture after the last block, written down as simply as can be."""
    width, heads = config.width, config.heads

    def layer(x: Tensor, name: str) -> Tensor:
        return linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(x: Tensor, name: str, epsilon: float) -> Tensor:
        return layer_norm(x, (width,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], epsilon)

    patches = conv2d(image[None], tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=14)
    x = torch.cat([tensors["cls_token"][0], patches[0].flatten(1).T]) + tensors["pos_embed"][0]
    for block in range(config.depth):
        name = f"blocks.{block}"
        query, key, value = layer(norm(x, f"{name}.norm1", 1e-6), f"{name}.attn.qkv").chunk(3, dim=1)
        attended = []
        for channels in torch.arange(width).chunk(heads):
            similarity = query[:, channels] @ key[:, channels].T / len(channels) ** 0.5
            attended.append(softmax(similarity, dim=1) @ value[:, channels])
        x = x + tensors[f"{name}.ls1.gamma"] * layer(torch.cat(attended, dim=1), f"{name}.attn.proj")
        hidden = gelu(layer(norm(x, f"{name}.norm2", 1e-6), f"{name}.mlp.fc1"))
        x = x + tensors[f"{name}.ls2.gamma"] * layer(hidden, f"{name}.mlp.fc2")
    return norm(x, "norm", 1e-5)[1:]


def test_patch_tokens_are_those_of_a_plain_dinov2(tmp_path, assert_close):
    tensors = authors_tensors(MONO.backbone)
    save_file(tensors, tmp_path / "dinov2.safetensors")
    network = network_of(MONO)
    load_dinov2_backbone(network, tmp_path / "dinov2.safetensors")
    image = torch.randn(3, 518, 518, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = network.backbone(image[None, None]).taps[-1][0, 0]
        assert_close(tokens, plain_dinov2(image, tensors, MONO.backbone))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("blocks.3.ls1.gamma"), r"blocks\.3\.ls1\.gamma is missing"),
        (
            lambda tensors: tensors.update({"pos_embed": torch.zeros(1, 257, 64)}),
            r"pos_embed has shape \[1, 257, 64\] instead of \[1, 1370, 64\]",
        ),
        (lambda tensors: tensors.update({"blocks.8.ls1.gamma": torch.zeros(64)}), r"blocks\.8\.ls1\.gamma is unexp"),
    ],
    ids=["missing", "misshapen", "deeper"],
)
def test_checkpoints_of_another_shape_are_refused(change, message, tmp_path):
    tensors = authors_tensors(MONO.backbone)
    change(tensors)
    save_file(tensors, tmp_path / "dinov2.safetensors")
    with pytest.raises(ValueError, match=message):
        load_dinov2_backbone(network_of(MONO), tmp_path / "dinov2.safetensors")


@pytest.mark.parametrize("part", ["query.weight", "key.bias"])
def test_a_missing_part_of_the_attention_is_noticed(part, tmp_path):
    tensors = transformers_tensors(authors_tensors(MONO.backbone))
    del tensors[f"encoder.layer.5.attention.attention.{part}"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"blocks\.5\.attn\.qkv\.{part.split('.')[1]} is missing"):
        load_dinov2_backbone(network_of(MONO), tmp_path / "model.safetensors")
