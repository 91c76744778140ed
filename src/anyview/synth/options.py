"""What to make scenes of. No torch here: ``anyview --help`` must answer at once."""

from dataclasses import dataclass
from typing import Literal, get_args

from anyview.options import nearest_names

Kind = Literal["room", "street", "landscape", "still_life"]
Rig = Literal["orbit", "walk", "handheld", "wide"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """A stream of scenes: the same options, split and index always give the same scene."""

    kinds: tuple[Kind, ...] = ("room", "street", "landscape", "still_life")
    """Kinds of scenes in the stream."""
    kind_weights: tuple[float, ...] | None = None
    """How often each of `kinds` comes; default: equally often."""
    rigs: tuple[Rig, ...] = ("orbit", "walk", "handheld", "wide")
    """Ways to place the cameras of a scene."""
    rig_weights: tuple[float, ...] | None = None
    """How often each of `rigs` comes; default: equally often."""
    views: int = 4
    """Views per scene."""
    height: int = 224
    """Pixels."""
    width: int = 224
    """Pixels."""
    least_overlap: float = 0.3
    """Share of every view's surface that the views before it see, at least (of the first view: that others see)."""
    shadows: bool = True
    """Trace a shadow ray per light."""
    augment: bool = True
    """Photograph the scene: exposure, white balance, blur, noise and compression that differ from view to view."""
    seed: int = 0
    """Another seed is another stream."""

    def __post_init__(self) -> None:
        _check_choices("kinds", self.kinds, get_args(Kind), self.kind_weights)
        _check_choices("rigs", self.rigs, get_args(Rig), self.rig_weights)
        for name in ("views", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not 0 <= self.least_overlap < 1:
            raise ValueError(f"expected least_overlap from 0 to below 1, got {self.least_overlap}")


def _check_choices(
    field: str, chosen: tuple[str, ...], known: tuple[str, ...], weights: tuple[float, ...] | None
) -> None:
    if not chosen:
        raise ValueError(f"expected at least one of {', '.join(known)} as {field}, got none")
    for name in chosen:
        if name not in known:
            raise ValueError(f"unknown name {name!r} in {field}: {nearest_names(name, known)}")
    if weights is not None and (len(weights) != len(chosen) or min(weights) < 0 or sum(weights) <= 0):
        raise ValueError(f"expected one weight per entry of {field} ({len(chosen)}), none negative, got {weights}")
