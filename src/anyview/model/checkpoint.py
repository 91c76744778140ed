"""Networks on disk: the published layout, our own single file with its configuration inside, DINOv2 backbones, the hub.

Every layout is safetensors and loads strictly: a missing, unexpected or misshapen tensor is an error that names it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyview.files import atomic_path
from anyview.model.config import (
    PRESETS,
    BackboneConfig,
    NestedConfig,
    NetworkConfig,
    config_from_json,
    config_to_json,
    find_preset,
)
from anyview.model.network import NestedNetwork, Network, build
from anyview.options import nearest_names

Progress = Callable[[int, int], None]

BUNDLED = Path(__file__).parent.parent / "weights"
"""Where weights that come with the package lie, as NAME.safetensors."""
METADATA_KEY = "anyview-1"
"""Under it our files hold one JSON text, {"config": ..., "name": ...}; several keys would be written in any order."""
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})

# Our name -> published name, in order, each rule on what the earlier ones left. The prefix `model.` is added last.
_PUBLISHED_NAMES: tuple[tuple[str, str], ...] = (
    (r"^backbone\.class_token", "backbone.pretrained.cls_token"),
    (r"^backbone\.position_embedding", "backbone.pretrained.pos_embed"),
    (r"^backbone\.patch_embedding\.", "backbone.pretrained.patch_embed.proj."),
    (r"^backbone\.(?!pretrained)", "backbone.pretrained."),
    (r"^camera_encoder\.expand\.", "cam_enc.pose_branch.fc1."),
    (r"^camera_encoder\.contract\.", "cam_enc.pose_branch.fc2."),
    (r"^camera_encoder\.blocks\.", "cam_enc.trunk."),
    (r"^camera_encoder\.norm\.", "cam_enc.trunk_norm."),
    (r"^camera_encoder\.token_norm\.", "cam_enc.token_norm."),
    (r"^camera_decoder\.first\.", "cam_dec.backbone.0."),
    (r"^camera_decoder\.second\.", "cam_dec.backbone.2."),
    (r"^camera_decoder\.translation\.", "cam_dec.fc_t."),
    (r"^camera_decoder\.quaternion\.", "cam_dec.fc_qvec."),
    (r"^camera_decoder\.field_of_view\.", "cam_dec.fc_fov.0."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.attention\.qkv\.", ".attn.qkv."),
    (r"\.attention\.query_norm\.", ".attn.q_norm."),
    (r"\.attention\.key_norm\.", ".attn.k_norm."),
    (r"\.attention\.projection\.", ".attn.proj."),
    (r"\.attention_scale$", ".ls1.gamma"),
    (r"\.mlp_norm\.", ".norm2."),
    (r"\.mlp_scale$", ".ls2.gamma"),
    (r"^gaussian_head\.reader\.", "gs_head.depth_reader."),
    (r"^gaussian_head\.neck\.", "gs_head.depth_neck."),
    (r"^gaussian_head\.fusion\.", "gs_head.depth_fusion."),
    (r"^gaussian_head\.image_layers\.0\.", "gs_head.images_merger.0."),
    (r"^gaussian_head\.image_layers\.1\.", "gs_head.images_merger.2."),
    (r"^gaussian_head\.image_layers\.2\.", "gs_head.images_merger.4."),
    (r"^gaussian_head\.", "gs_head."),
    (r"head\.pyramid\.norm\.", "head.norm."),
    (r"head\.pyramid\.projections\.", "head.projects."),
    (r"head\.pyramid\.resizers\.", "head.resize_layers."),
    (r"head\.pyramid\.laterals\.0\.", "head.scratch.layer1_rn."),
    (r"head\.pyramid\.laterals\.1\.", "head.scratch.layer2_rn."),
    (r"head\.pyramid\.laterals\.2\.", "head.scratch.layer3_rn."),
    (r"head\.pyramid\.laterals\.3\.", "head.scratch.layer4_rn."),
    (r"head\.(depth|ray)_fusion\.blocks\.0\.", r"head.scratch.refinenet1.\1."),
    (r"head\.(depth|ray)_fusion\.blocks\.1\.", r"head.scratch.refinenet2.\1."),
    (r"head\.(depth|ray)_fusion\.blocks\.2\.", r"head.scratch.refinenet3.\1."),
    (r"head\.(depth|ray)_fusion\.blocks\.3\.", r"head.scratch.refinenet4.\1."),
    (r"(refinenet\d)\.depth\.", r"\1."),
    (r"(refinenet\d)\.ray\.", r"\1_aux."),
    (r"\.refine_lateral\.first\.", ".resConfUnit1.conv1."),
    (r"\.refine_lateral\.second\.", ".resConfUnit1.conv2."),
    (r"\.refine\.first\.", ".resConfUnit2.conv1."),
    (r"\.refine\.second\.", ".resConfUnit2.conv2."),
    (r"(refinenet\d(?:_aux)?)\.output\.", r"\1.out_conv."),
    (r"head\.depth_neck\.", "head.scratch.output_conv1."),
    (r"head\.depth_reader\.hidden\.", "head.scratch.output_conv2.0."),
    (r"head\.depth_reader\.output\.", "head.scratch.output_conv2.2."),
    (r"head\.sky_reader\.hidden\.", "head.scratch.sky_output_conv2.0."),
    (r"head\.sky_reader\.output\.", "head.scratch.sky_output_conv2.2."),
    (r"head\.ray_neck\.", "head.scratch.output_conv1_aux.3."),
    (r"head\.ray_reader\.hidden\.", "head.scratch.output_conv2_aux.3.0."),
    # One normalisation is shared by the ray branch's four levels; files hold it under the first.
    (r"head\.ray_reader\.norm\.", "head.scratch.output_conv2_aux.0.2."),
    (r"head\.ray_reader\.output\.", "head.scratch.output_conv2_aux.3.5."),
)
_PLAIN_MLP = ((r"\.mlp\.expand\.", ".mlp.fc1."), (r"\.mlp\.contract\.", ".mlp.fc2."))
_GATED_MLP = ((r"\.mlp\.expand\.", ".mlp.w12."), (r"\.mlp\.contract\.", ".mlp.w3."))

DEAD_PARAMETERS = re.compile(
    r"head\.scratch\.output_conv1_aux\.[012]\.\d\.(weight|bias)"
    r"|head\.scratch\.output_conv2_aux\.[012]\.[05]\.(weight|bias)"
    r"|head\.scratch\.output_conv2_aux\.[123]\.2\.(weight|bias)"
)
"""Published names that no output depends on: the ray branch's coarser levels, and other names of its shared
normalisation. They are dropped when loading."""


def published_name(name: str, config: NetworkConfig | NestedConfig) -> str:
    """Name in published files (with the prefix ``model.``) of our parameter ``name``."""
    if isinstance(config, NestedConfig):
        branch, _, rest = name.partition(".")
        part = config.any_view if branch == "any_view" else config.metric
        prefix = "model.da3." if branch == "any_view" else "model.da3_metric."
        return prefix + published_name(rest, part).removeprefix("model.")
    in_backbone = name.startswith("backbone.") and config.backbone.gated_mlp
    for pattern, replacement in (*_PUBLISHED_NAMES, *(_GATED_MLP if in_backbone else _PLAIN_MLP)):
        name = re.sub(pattern, replacement, name)
    return "model." + name


def find(name: str | Path) -> Path | str:
    """Find out what a model's name means: the path of its folder or file, or a repository on the hub.

    Raises:
        ValueError: There is no such path or preset.
    """
    if Path(name).exists():
        return Path(name)
    text = str(name)
    if text in PRESETS:
        bundled, hub_id = BUNDLED / f"{text}.safetensors", PRESETS[text].hub_id
        if hub_id is None and not bundled.is_file():
            raise ValueError(f"the weights of {text} are not part of this installation ({bundled} is missing)")
        return hub_id if hub_id is not None and not bundled.is_file() else bundled
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.startswith(".") and not text.endswith(".safetensors"):
        return text
    if "/" in text or text.endswith(".safetensors"):
        raise ValueError(f"no such model folder or file: {text}")
    raise ValueError(f"unknown model {text!r}; {nearest_names(text, PRESETS)}")


def locate(name: str | Path, *, revision: str | None = None, offline: bool = False) -> Path:
    """Find the folder or file of a model: a path, a bundled preset, a preset or repository on the hub.

    Files from the hub come from its cache, or are downloaded with huggingface_hub's progress bar unless ``offline``.

    Raises:
        ValueError: There is no such path or preset, or the hub does not give the files.
    """
    found = find(name)
    return found if isinstance(found, Path) else _from_hub(found, revision, offline)


def is_local(name: str) -> bool:
    """Whether a preset's weights are on this machine, bundled or in the hub's cache."""
    try:
        locate(name, offline=True)
    except ValueError:
        return False
    return True


def _from_hub(hub_id: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Connections that fail raise what the hub's HTTP client raises; which one that is depends on the hub's version.
    client_errors: Any = HfHubHTTPError.__bases__
    paths = []
    for filename in ("config.json", "model.safetensors"):
        try:
            paths.append(hf_hub_download(hub_id, filename, revision=revision, local_files_only=offline))
        except (*client_errors, HFValidationError, OSError) as error:
            cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(
                f"cannot get {filename} of {hub_id} ({cause}); on a machine with a network run "
                f"`hf download {hub_id} config.json model.safetensors --local-dir FOLDER` and pass FOLDER as the model"
            ) from error
    return Path(paths[0]).parent


def load(path: str | Path, progress: Progress | None = None) -> tuple[Network | NestedNetwork, str]:
    """Load a network from a published folder or one of our files, in float32 on the CPU; return it with its name.

    ``progress`` is called with the number of tensors read, and of all.

    Raises:
        ValueError: The path holds no checkpoint, or one whose tensors are not the network's; the first offenders are
            named.
    """
    path = Path(path)
    if path.is_dir():
        config_path, weights = path / "config.json", path / "model.safetensors"
        for needed in (config_path, weights):
            if not needed.is_file():
                raise ValueError(f"{path} is no model folder: {needed.name} is missing{_pickle_hint(path.iterdir())}")
        name = _model_name(config_path)
        return _load_published(weights, find_preset(name).config, progress), name
    if path.suffix != ".safetensors":
        raise ValueError(f"expected a model folder or a .safetensors file, got {path}{_pickle_hint([path])}")
    metadata = _metadata(path)
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"{path} does not say which network it holds (no '{METADATA_KEY}' in its metadata); "
            "a published model.safetensors is loaded by the folder that also holds its config.json"
        )
    try:
        contents = json.loads(metadata[METADATA_KEY])
        config, name = config_from_json(contents["config"]), str(contents["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the metadata describe no network ({error})") from error
    network = build(config)
    tensors = _read_strictly(path, {name: name for name in network.state_dict()}, network, progress)
    return _with_tensors(network, tensors), name


def save(network: Network | NestedNetwork, path: str | Path, *, name: str, dtype: torch.dtype | None = None) -> Path:
    """Write our single-file format: safetensors with the network's configuration and ``name`` in its metadata.

    ``dtype`` is what floating-point parameters are stored in (they load as float32); None keeps them.
    """
    contents = json.dumps({"config": config_to_json(network.config), "name": name})
    return _write(network.state_dict(), Path(path), {METADATA_KEY: contents}, dtype)


def save_published(network: Network | NestedNetwork, folder: str | Path, *, name: str) -> Path:
    """Write a folder in the published layout; ``name`` must be the preset that the network is built as.

    Raises:
        ValueError: The network is not that preset, so nobody could load the folder; or the folder holds other files.
    """
    if find_preset(name).config != network.config:
        raise ValueError(
            f"the network is not a {name}, and published folders know presets only; write our format instead"
        )
    others = {path.name for path in Path(folder).glob("*")} - {"config.json", "model.safetensors"}
    if others:  # the new folder would take the place of everything in it
        raise ValueError(f"{folder} holds other files ({', '.join(sorted(others)[:3])}); give a new folder")
    state = {published_name(key, network.config): value for key, value in network.state_dict().items()}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        _write(state, temporary / "model.safetensors", {"format": "pt"}, None)
        (temporary / "config.json").write_text(json.dumps({"model_name": name}, indent=2) + "\n")
    return Path(folder)


def load_dinov2_backbone(network: Network, path: str | Path) -> None:
    """Initialise a network's backbone from a DINOv2 checkpoint (.safetensors, or .pth of tensors only).

    Both published namings are known: the authors' and that of the transformers library. Register and mask tokens are
    left out. What DINOv2 has not, camera tokens and query and key norms, keeps its value.

    Raises:
        ValueError: A tensor that the backbone needs is missing or misshapen.
    """
    path = Path(path)
    found = _dinov2_names(_read_dinov2(path), network.config.backbone)
    state = network.backbone.state_dict()
    ours = [key for key in state if "camera_token" not in key and "query_norm" not in key and "key_norm" not in key]
    wanted = {
        key: published_name(f"backbone.{key}", network.config).removeprefix("model.backbone.pretrained.")
        for key in ours
    }
    _refuse_differences(
        path,
        {wanted[key]: tuple(state[key].shape) for key in ours},
        {key: tuple(value.shape) for key, value in found.items()},
    )
    network.backbone.load_state_dict({**state, **{key: found[wanted[key]].float() for key in ours}})


def _read_dinov2(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _dinov2_names(tensors: Mapping[str, Tensor], config: BackboneConfig) -> dict[str, Tensor]:
    """Bring the transformers library's names to the authors', and leave out what no backbone of ours has."""
    if not any(name.startswith(("embeddings.", "dinov2.embeddings.")) for name in tensors):
        return {name: value for name, value in tensors.items() if name not in ("mask_token", "register_tokens")}
    tensors = {name.removeprefix("dinov2."): value for name, value in tensors.items()}
    rules = (
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
        ("encoder.layer.", "blocks."),
        (".attention.output.dense.", ".attn.proj."),
        (".layer_scale1.lambda1", ".ls1.gamma"),
        (".layer_scale2.lambda1", ".ls2.gamma"),
        (".mlp.weights_in.", ".mlp.w12."),
        (".mlp.weights_out.", ".mlp.w3."),
        ("layernorm.", "norm."),
    )
    renamed = {}
    for name, value in tensors.items():
        if name.startswith(("embeddings.mask_token", "embeddings.register_tokens")) or ".attention.attention." in name:
            continue
        for theirs, authors in rules:
            name = name.replace(theirs, authors)  # noqa: PLW2901
        renamed[name] = value
    for block in range(config.depth):
        for kind in ("weight", "bias"):
            parts = [
                tensors.get(f"encoder.layer.{block}.attention.attention.{p}.{kind}") for p in ("query", "key", "value")
            ]
            whole = [part for part in parts if part is not None]
            if len(whole) == len(parts):
                renamed[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(whole)
    return renamed


def _load_published(
    path: Path, config: NetworkConfig | NestedConfig, progress: Progress | None
) -> Network | NestedNetwork:
    network = build(config)
    names = {name: published_name(name, config) for name in network.state_dict()}
    return _with_tensors(network, _read_strictly(path, names, network, progress))


def _read_strictly(
    path: Path, names: Mapping[str, str], network: torch.nn.Module, progress: Progress | None
) -> dict[str, Tensor]:
    """Read the tensors of our parameters, stored under ``names``, after checking that they are what is there."""
    from safetensors import safe_open

    _metadata(path)
    wanted = {names[name]: tuple(parameter.shape) for name, parameter in network.state_dict().items()}
    with safe_open(path, framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        _refuse_differences(
            path, wanted, {key: shape for key, shape in found.items() if not DEAD_PARAMETERS.search(key)}
        )
        tensors = {}
        for name, stored in names.items():
            tensors[name] = file.get_tensor(stored).float()
            if not tensors[name].isfinite().all():
                raise ValueError(f"{path}: {stored} holds NaN or infinite values")
            if progress is not None:
                progress(len(tensors), len(names))
        return tensors


def _refuse_differences(
    path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    problems = [f"{key} is missing" for key in wanted if key not in found]
    problems += [f"{key} is unexpected" for key in found if key not in wanted]
    problems += [
        f"{key} has shape {list(found[key])} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more such" if len(problems) > 3 else ""
        raise ValueError(f"{path} does not hold the weights of this network: {', '.join(problems[:3])}{more}")


def _with_tensors(network: Network | NestedNetwork, tensors: Mapping[str, Tensor]) -> Network | NestedNetwork:
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network.eval()


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}){_pickle_hint([path])}") from error


def _model_name(config_path: Path) -> str:
    try:
        tree: Any = json.loads(config_path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{config_path} is not JSON: {error}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("model_name"), str):
        raise ValueError(f'{config_path} has no model_name, e.g. "da3-base"')
    return tree["model_name"]


def _pickle_hint(paths: Iterable[Path]) -> str:
    pickles = sorted(path.name for path in paths if path.suffix in PICKLE_SUFFIXES or _begins_as_pickle(path))
    if not pickles:
        return ""
    return f"; {pickles[0]} is a pickle, which can run any code when opened: only safetensors files are read"


def _begins_as_pickle(path: Path) -> bool:
    """Whether a file called .safetensors is what ``torch.save`` writes: a zip archive, or a bare pickle of old."""
    if path.suffix != ".safetensors":
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


def _write(state: Mapping[str, Tensor], path: Path, metadata: dict[str, str], dtype: torch.dtype | None) -> Path:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {key: value.detach().to("cpu", dtype or value.dtype).contiguous() for key, value in state.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"{path} could not be written: {error}") from error
    return path
