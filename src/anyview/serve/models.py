"""The models on offer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from anyview.model.checkpoint import find, is_local, locate
from anyview.model.config import PRESETS, NestedConfig
from anyview.serve.schemas import ModelAnswer


def offered_models(names: Sequence[str], *, offline: bool) -> dict[str, str]:
    """Return the models on offer: name -> what `DepthAnything3.from_pretrained` takes, all on this machine.

    Folders and files are offered under their own name, without the path. Without ``names`` all presets that are on
    this machine are offered; what is named and is not here is downloaded unless ``offline``.

    Raises:
        ValueError: There is no such model, its files cannot be had, two have the same name, or there are none.
    """
    if not names:
        offered = {name: name for name in PRESETS if is_local(name)}
        if not offered:
            raise ValueError("no model is on this machine; name one with --models, and it is downloaded")
        return offered
    offered = {}
    for name in names:
        find(name)
        locate(name, offline=offline)
        label = Path(name).stem if Path(name).exists() and name not in PRESETS else name
        if label in offered:
            raise ValueError(f"two models are called {label}")
        offered[label] = name
    return offered


def describe_models(offered: Mapping[str, str]) -> list[ModelAnswer]:
    """List what is on offer, the default first, then the other presets."""
    names = [*offered, *(name for name in PRESETS if name not in offered)]
    return [_describe(name, offered) for name in names]


def _describe(name: str, offered: Mapping[str, str]) -> ModelAnswer:
    preset = next((PRESETS[p] for p in PRESETS if p == name or PRESETS[p].hub_id == name), None)
    default = name == next(iter(offered))
    if preset is None:
        return ModelAnswer(
            name=name,
            licence=None,
            summary="a model of this server's own",
            parameters=None,
            any_view=None,
            gaussians=None,
            metric=None,
            available=True,
            default=default,
        )
    nested = isinstance(preset.config, NestedConfig)
    main = preset.config.any_view if isinstance(preset.config, NestedConfig) else preset.config
    return ModelAnswer(
        name=name,
        licence=preset.licence,
        summary=preset.summary,
        parameters=preset.parameters,
        any_view=main.is_any_view,
        gaussians=main.gaussians is not None,
        metric=nested or main.canonical_depth,
        available=name in offered,
        default=default,
    )
