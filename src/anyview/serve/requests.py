"""What a job is asked to do: JSON from outside becomes the predictor's and the exporters' own options."""

import ast
import importlib.util
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any

import pydantic

from anyview.exporters import FORMATS, check_formats
from anyview.options import ExportOptions, PredictOptions, nearest_names
from anyview.serve.options import ServeOptions

DEFAULT_FORMATS = ("glb", "depth_vis", "npz")
NOT_FROM_OUTSIDE = frozenset({"memory_limit"})
"""Options that would let a job take more of the machine than the server gives."""
MOST_BLOCKS = 8
"""Backbone blocks whose features a job may ask for."""
LONGEST_VIDEO_FPS = 240.0

_CONFIG = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
_Row3 = Annotated[tuple[float, ...], pydantic.Field(min_length=3, max_length=3)]
_Row4 = Annotated[tuple[float, ...], pydantic.Field(min_length=4, max_length=4)]
_Pose = Annotated[tuple[_Row4, ...], pydantic.Field(min_length=3, max_length=4)]
_Intrinsics = Annotated[tuple[_Row3, ...], pydantic.Field(min_length=3, max_length=3)]


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job, checked."""

    model: str
    """By the name it is offered under."""
    predict: PredictOptions
    export: ExportOptions
    formats: tuple[str, ...] | None
    """None: `DEFAULT_FORMATS`, but for those that this prediction cannot give."""
    frames_per_second: float
    max_frames: int | None
    world_to_camera: tuple[Any, ...] | None
    """4×4 or 3×4, one per picture."""
    intrinsics: tuple[Any, ...] | None
    """3×3, one per picture."""
    example: str | None = None
    """A demo scene in place of uploaded pictures."""


class JobOptions(pydantic.BaseModel):
    """The form of a job's options in JSON; everything may be left out."""

    model_config = _CONFIG

    model: str | None = pydantic.Field(default=None, max_length=200, description="A name from /v1/models.")
    predict: dict[str, Any] = pydantic.Field(default={}, description="Options of prediction; see /v1/options.")
    export: dict[str, Any] = pydantic.Field(default={}, description="Options of export; see /v1/options.")
    formats: tuple[str, ...] | None = pydantic.Field(
        default=None, min_length=1, max_length=len(FORMATS), description="Names from /v1/formats."
    )
    frames_per_second: float = pydantic.Field(
        default=1.0, gt=0, le=LONGEST_VIDEO_FPS, description="Frames to take from videos."
    )
    max_frames: int | None = pydantic.Field(
        default=None, ge=1, description="Largest number of frames to take from a video."
    )
    world_to_camera: tuple[_Pose, ...] | None = pydantic.Field(
        default=None, description="Known poses, 4×4 or 3×4, one per picture; need intrinsics."
    )
    intrinsics: tuple[_Intrinsics, ...] | None = pydantic.Field(
        default=None, description="Known intrinsics in pixels of the pictures as given, 3×3, one per picture."
    )


def options_schema() -> dict[str, Any]:
    """JSON schema of a job's options, with descriptions and defaults as the dataclasses declare them."""
    schema = JobOptions.model_json_schema()
    for name, kind in (("predict", PredictOptions), ("export", ExportOptions)):
        schema["properties"][name] = _outside_form(kind).model_json_schema()
    return schema


def options_defaults() -> dict[str, Any]:
    """Defaults of a job's options, as JSON has them."""
    defaults = JobOptions().model_dump(mode="json")
    for name, kind in (("predict", PredictOptions), ("export", ExportOptions)):
        defaults[name] = _outside_form(kind)().model_dump(mode="json")
    return defaults


def parse_request(
    text: str | bytes, limits: ServeOptions, models: Sequence[str], *, example: str | None = None
) -> JobRequest:
    """Read and check a job's options; the first of ``models`` is the default.

    Raises:
        ValueError: In one line, what is wrong.
    """
    given = _validated(JobOptions, text)
    model = models[0] if given.model is None else given.model
    if model not in models:
        raise ValueError(f"unknown model {model!r}; {nearest_names(model, models)}")
    predict = PredictOptions(**_validated(_outside_form(PredictOptions), given.predict, "predict.").model_dump())
    export = ExportOptions(**_validated(_outside_form(ExportOptions), given.export, "export.").model_dump())
    predict.check()
    if predict.resolution is not None and predict.resolution > limits.resolution:
        raise ValueError(f"expected a resolution of at most {limits.resolution} here, got {predict.resolution}")
    if len(predict.features) > MOST_BLOCKS:
        raise ValueError(f"expected features of at most {MOST_BLOCKS} blocks, got {len(predict.features)}")
    for name in ("max_points", "max_tracks"):
        if getattr(export, name) > limits.points:
            raise ValueError(f"expected {name} of at most {limits.points} here, got {getattr(export, name)}")
    formats = None if given.formats is None else tuple(dict.fromkeys(given.formats))
    _check_formats(formats or (), predict, export)
    if given.world_to_camera is not None and given.intrinsics is None:
        raise ValueError("world_to_camera needs intrinsics beside it")
    return JobRequest(
        model=model,
        predict=replace(predict, gaussians=predict.gaussians or _shows_gaussians(formats or (), export)),
        export=export,
        formats=formats,
        frames_per_second=given.frames_per_second,
        max_frames=given.max_frames,
        world_to_camera=given.world_to_camera,
        intrinsics=given.intrinsics,
        example=example,
    )


def is_installed(name: str) -> bool:
    """Whether the package that a format needs is on this machine."""
    package = FORMATS[name].package
    return package is None or importlib.util.find_spec(package) is not None


def one_line(error: BaseException) -> str:
    """Write an error without line breaks and without paths of this machine in front of the file's name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:500] or type(error).__name__


def _check_formats(formats: Sequence[str], predict: PredictOptions, export: ExportOptions) -> None:
    for name in formats:
        if name in FORMATS and not is_installed(name):
            raise ValueError(f"format {name!r} cannot be written by this server: {FORMATS[name].package} is missing")
    if "features" in formats and not predict.features:
        raise ValueError("format 'features' needs predict.features with the numbers of backbone blocks, such as [11]")
    # Whether Open3D works is for the worker to find out: it would stay in the memory of this process.
    check_formats([name for name in formats if name != "mesh"], export)


def _shows_gaussians(formats: Sequence[str], export: ExportOptions) -> bool:
    """Whether the model must predict Gaussians for a format that shows them."""
    return any("gaussians" in FORMATS[name].needs for name in formats) and not export.pixel_gaussians


@cache
def _outside_form(kind: type) -> type[pydantic.BaseModel]:
    """Build the JSON form of an options dataclass, with the words that stand below its fields."""
    words = _attribute_docstrings(kind)
    given: dict[str, Any] = {
        field.name: (field.type, pydantic.Field(field.default, description=words[field.name]))
        for field in fields(kind)
        if field.name not in NOT_FROM_OUTSIDE
    }
    return pydantic.create_model(kind.__name__, __config__=_CONFIG, **given)


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """Read the strings below the fields of a dataclass and of those it extends."""
    words: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                words[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return words


def _validated(form: type[pydantic.BaseModel], value: Any, where: str = "") -> Any:
    """Validate JSON text or a tree; complain about the first fault in one line."""
    try:
        return form.model_validate_json(value) if isinstance(value, (str, bytes)) else form.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = where + ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = sorted(form.model_fields)
            raise ValueError(f"unknown option {name!r}; {nearest_names(str(first['loc'][-1]), known)}") from error
        raise ValueError(f"{name or 'options'}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
