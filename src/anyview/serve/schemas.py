"""The JSON of answers."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from anyview.exporters import FORMATS
from anyview.serve.jobs import Job, State, StoredFile
from anyview.serve.requests import is_installed


class ErrorAnswer(BaseModel):
    """Why a request is not served."""

    error: str = Field(description="One line.")


class FileAnswer(BaseModel):
    """A file of a result."""

    name: str
    size: int = Field(description="Bytes.")
    media_type: str


class JobEntry(BaseModel):
    """A job in a list. Times are in seconds since 1970."""

    id: str
    state: State
    stage: str = Field(description="queued, starting, rendering, loading, reading, predicting, exporting, viewing.")
    progress: float = Field(description="0 to 1.")
    position: int | None = Field(description="Place in the queue of a waiting job; the next one has 1.")
    error: str | None
    created: float
    started: float | None
    finished: float | None
    expires: float | None = Field(description="When the result is removed.")
    model: str
    example: str | None = Field(description="The demo scene, where the pictures are none of yours.")
    inputs: list[str] = Field(description="Names of the uploaded files.")
    views: int | None
    formats: list[str] | None = Field(description="As asked; null: the default ones.")
    thumbnail: bool = Field(description="Whether the result has a file thumb.jpg.")


class JobAnswer(JobEntry):
    """A job with the files of its result."""

    files: list[FileAnswer]


class JobsAnswer(BaseModel):
    """Jobs without their files, the newest first."""

    jobs: list[JobEntry]


class ShareAnswer(BaseModel):
    """A link to a job for those who have no token."""

    token: str
    path: str = Field(description="/v1/shared/TOKEN")


class ModelAnswer(BaseModel):
    """A model."""

    name: str
    licence: str | None = Field(description="null: nobody here knows it.")
    summary: str
    parameters: int | None
    any_view: bool | None = Field(
        description="Cameras and points from any number of views, not depth of single images; null: not known."
    )
    gaussians: bool | None
    metric: bool | None = Field(description="Metres, by itself or with a focal length.")
    available: bool = Field(description="On this machine and on offer.")
    default: bool


class ModelsAnswer(BaseModel):
    """The models on offer and the published ones."""

    models: list[ModelAnswer]


class OptionsAnswer(BaseModel):
    """What the options of a job may be."""

    json_schema: dict[str, Any]
    defaults: dict[str, Any]
    limits: dict[str, float]


class FormatAnswer(BaseModel):
    """A format."""

    name: str
    description: str
    needs: list[str] = Field(description="Fields of the prediction that must be there.")
    available: bool


class FormatsAnswer(BaseModel):
    """All formats."""

    formats: list[FormatAnswer]
    default: list[str]


class ExampleAnswer(BaseModel):
    """A demo scene."""

    name: str
    title: str
    views: int


class ExamplesAnswer(BaseModel):
    """All demo scenes."""

    examples: list[ExampleAnswer]


class SessionRequest(BaseModel):
    """A browser shows its token."""

    token: str = Field(max_length=500)


class SessionAnswer(BaseModel):
    """Whether a token is needed, and whether one was shown."""

    token_needed: bool
    owner: str | None


class HealthAnswer(BaseModel):
    """How the server is."""

    status: Literal["ok", "starting", "full"]


def job_entry(job: Job, position: int | None) -> JobEntry:
    """Say what a job is to its owner."""
    return JobEntry(
        id=job.id,
        state=job.state,
        stage=job.stage,
        progress=job.progress,
        position=position,
        error=job.error,
        created=job.created,
        started=job.started,
        finished=job.finished,
        expires=job.expires,
        model=job.model,
        example=job.example,
        inputs=list(job.names),
        views=job.views,
        formats=None if job.formats is None else list(job.formats),
        thumbnail=job.thumbnail,
    )


def job_answer(job: Job, position: int | None, files: Sequence[StoredFile]) -> JobAnswer:
    """Say what a job is, and which files its result has."""
    listed = [FileAnswer(name=file.name, size=file.size, media_type=file.media_type) for file in files]
    return JobAnswer(**job_entry(job, position).model_dump(), files=listed)


def formats_answer() -> list[FormatAnswer]:
    """List the formats."""
    return [
        FormatAnswer(name=name, description=entry.description, needs=list(entry.needs), available=is_installed(name))
        for name, entry in FORMATS.items()
    ]
