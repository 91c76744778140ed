"""The REST interface under /v1."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from anyview.serve import schemas
from anyview.serve.examples import EXAMPLES, VIEWS
from anyview.serve.jobs import MOST_SHARES, Job
from anyview.serve.models import describe_models
from anyview.serve.requests import DEFAULT_FORMATS, JobOptions, options_defaults, options_schema
from anyview.serve.results import disposition, send_archive, send_file
from anyview.serve.security import COOKIE, SESSION_S
from anyview.serve.service import Service
from anyview.serve.tokens import new_token, token_hash
from anyview.serve.uploads import Refused

KEEP_ALIVE_S = 15.0
"""Between signs of life in an event stream."""
LOOK_S = 0.5
"""Between two looks whether the client of /v1/depth is still there: the server tells nobody."""
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorAnswer, "description": words}
    for status, words in {
        400: "Broken request",
        401: "No token, or a wrong one",
        403: "A page of another site may have sent this",
        404: "No such thing, or not yours",
        409: "Not in this state",
        413: "Too large",
        415: "Wrong type of content",
        422: "Options or files that make no sense",
        429: "Queue full; see Retry-After",
    }.items()
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
                        "options": {"type": "string", "description": "JSON; see /v1/options."},
                    },
                }
            }
        },
    }
}

router = APIRouter(prefix="/v1", responses=_ERRORS)


async def service_of(request: Request) -> Service:
    """Return the server's parts."""
    service: Service = request.app.state.service
    return service


JobId = Annotated[str, Path(max_length=64)]
Server = Annotated[Service, Depends(service_of)]


# These are coroutines, since FastAPI gives what is none to another thread, and the thread switches would take longer
# than the answers.
async def reader(request: Request, server: Server) -> str:
    """Return who asks to see something."""
    return server.gate.reader(request)


async def writer(request: Request, server: Server) -> str:
    """Return who asks to change something."""
    return server.gate.writer(request)


Reader = Annotated[str, Depends(reader)]
Writer = Annotated[str, Depends(writer)]


async def own_job(id: JobId, server: Server, owner: Reader) -> Job:
    """Return a job of whoever asks; those of others are as if they were not there."""
    job = server.store.get(id)
    if job is None or job.owner != owner:
        raise Refused(404, "no such job")
    return job


async def own_job_to_change(id: JobId, server: Server, owner: Writer) -> Job:
    """Return a job of whoever asks to change it."""
    return await own_job(id, server, owner)


async def shared_job(token: Annotated[str, Path(max_length=100)], server: Server) -> Job:
    """Return the job that a link stands for."""
    job = server.store.shared(token_hash(token))
    if job is None:
        raise Refused(404, "no such link; it may have expired with its job")
    return job


OwnJob = Annotated[Job, Depends(own_job)]
OwnJobToChange = Annotated[Job, Depends(own_job_to_change)]
SharedJob = Annotated[Job, Depends(shared_job)]


def answer(server: Service, job: Job) -> schemas.JobAnswer:
    """Say what a job is."""
    files = server.store.files(job.id) if job.state == "done" else ()
    return schemas.job_answer(job, server.store.positions().get(job.id), files)


@router.post("/jobs", status_code=201, response_model=schemas.JobAnswer, openapi_extra=_UPLOAD)
async def create_job(request: Request, response: Response, server: Server, owner: Writer) -> schemas.JobAnswer:
    """Upload pictures or videos and queue their job."""
    job = await server.submit(request, owner)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return answer(server, job)


@router.get("/jobs")
async def list_jobs(
    server: Server, owner: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> schemas.JobsAnswer:
    """List your jobs without their files, the newest first."""
    positions = server.store.positions()
    jobs = server.store.jobs(owner, limit=limit)
    return schemas.JobsAnswer(jobs=[schemas.job_entry(job, positions.get(job.id)) for job in jobs])


@router.get("/jobs/{id}")
async def read_job(job: OwnJob, server: Server) -> schemas.JobAnswer:
    """Say how a job is."""
    return answer(server, job)


@router.get(
    "/jobs/{id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def job_events(job: OwnJob, server: Server) -> StreamingResponse:
    """Send the job as it changes, as server-sent events called `job`, until it has ended."""
    if server.streams.get(job.owner, 0) >= server.options.streams_per_token:
        raise Refused(429, "too many event streams are open", retry_after_s=5)
    return StreamingResponse(_events(server, job), media_type="text/event-stream")


@router.post("/jobs/{id}/cancel")
async def cancel_job(job: OwnJobToChange, server: Server) -> schemas.JobAnswer:
    """End a job that waits or runs; nothing happens to one that has ended."""
    server.store.cancel(job.id, keep_s=server.options.keep_s)
    changed = server.store.get(job.id)
    return answer(server, changed or job)


@router.delete("/jobs/{id}", status_code=204)
async def remove_job(job: OwnJobToChange, server: Server) -> None:
    """Remove a job that has ended; its files go with the next sweeps."""
    server.remove(job)


@router.get("/jobs/{id}/files/{name:path}", response_class=FileResponse)
async def read_file(name: str, job: OwnJob, server: Server) -> FileResponse:
    """Send a file of a result."""
    return send_file(server, job, name)


@router.get("/jobs/{id}/archive.zip", response_class=StreamingResponse)
async def read_archive(job: OwnJob, server: Server) -> StreamingResponse:
    """Send the formats that were asked for in one zip file."""
    return send_archive(server, job)


@router.post("/jobs/{id}/share", status_code=201)
async def share_job(job: OwnJobToChange, server: Server) -> schemas.ShareAnswer:
    """Make a link that shows a job to whoever has it."""
    token = new_token()
    if not server.store.share(job.id, token_hash(token)):
        raise Refused(409, f"{MOST_SHARES} links lead to this job, which is the most; take them back first")
    return schemas.ShareAnswer(token=token, path=f"/v1/shared/{token}")


@router.delete("/jobs/{id}/share", status_code=204)
async def unshare_job(job: OwnJobToChange, server: Server) -> None:
    """End all links to a job."""
    server.store.unshare(job.id)


@router.get("/shared/{token}")
async def read_shared(job: SharedJob, server: Server) -> schemas.JobAnswer:
    """Say how a shared job is."""
    return answer(server, job)


@router.get("/shared/{token}/files/{name:path}", response_class=FileResponse)
async def read_shared_file(name: str, job: SharedJob, server: Server) -> FileResponse:
    """Send a file of a shared result."""
    return send_file(server, job, name)


@router.get("/shared/{token}/archive.zip", response_class=StreamingResponse)
async def read_shared_archive(job: SharedJob, server: Server) -> StreamingResponse:
    """Send the formats of a shared result in one zip file."""
    return send_archive(server, job)


@router.post(
    "/depth",
    response_class=Response,
    openapi_extra=_UPLOAD,
    responses={
        200: {"content": {"image/png": {}, "application/octet-stream": {}}, "description": "Depth"},
        202: {"model": schemas.JobAnswer, "description": "Not ready yet: the job"},
    },
)
async def depth(request: Request, server: Server, owner: Writer) -> Response:
    """Turn one picture into depth in one call.

    The answer is a 16-bit PNG whose text says scale and unit, or with `Accept: application/octet-stream` a NumPy
    .npz of everything. What takes too long comes as the job (202); its files are those of any job.
    """
    return await _depth(request, server, owner)


@router.get("/models")
async def list_models(server: Server, owner: Reader) -> schemas.ModelsAnswer:
    """List the models, their licences, and what is on offer."""
    return schemas.ModelsAnswer(models=describe_models(server.models))


@router.get("/options")
async def describe_options(server: Server, owner: Reader) -> schemas.OptionsAnswer:
    """Describe the options of a job: their schema, defaults, and the limits of this server."""
    names = ("files", "views", "file_mib", "upload_mib", "megapixels", "video_s", "resolution", "points", "job_s")
    limits = {name: float(getattr(server.options, name)) for name in (*names, "keep_s", "queue", "view_points")}
    return schemas.OptionsAnswer(json_schema=options_schema(), defaults=options_defaults(), limits=limits)


@router.get("/formats")
async def list_formats(owner: Reader) -> schemas.FormatsAnswer:
    """List the formats of results."""
    return schemas.FormatsAnswer(formats=schemas.formats_answer(), default=list(DEFAULT_FORMATS))


@router.get("/examples")
async def list_examples(owner: Reader) -> schemas.ExamplesAnswer:
    """List the demo scenes."""
    return schemas.ExamplesAnswer(
        examples=[schemas.ExampleAnswer(name=name, title=e.title, views=VIEWS) for name, e in EXAMPLES.items()]
    )


@router.post(
    "/examples/{name}",
    status_code=201,
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": JobOptions.model_json_schema()}}, "required": False}
    },
)
async def create_example(
    name: Annotated[str, Path(max_length=40)], request: Request, response: Response, server: Server, owner: Writer
) -> schemas.JobAnswer:
    """Queue the job of a demo scene; the body may hold options, as for uploads."""
    if name not in EXAMPLES:
        raise Refused(404, "no such example")
    job = server.submit_example(owner, name, await request.body())
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return answer(server, job)


@router.get("/session")
async def read_session(request: Request, server: Server) -> schemas.SessionAnswer:
    """Say whether a token is needed and whether this browser has shown one."""
    try:
        owner = server.gate.reader(request)
    except Refused:
        owner = None
    return schemas.SessionAnswer(token_needed=server.gate.asks_for_tokens, owner=owner)


@router.post("/session", status_code=204)
async def start_session(given: schemas.SessionRequest, request: Request, response: Response, server: Server) -> None:
    """Show a token once; the cookie that comes back stands for it in this browser, as long as the token is valid."""
    secret = server.gate.start_session(given.token)
    if secret is None:
        return
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, secret, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure)


@router.delete("/session", status_code=204)
async def end_session(request: Request, response: Response, server: Server) -> None:
    """Forget this browser."""
    server.gate.end_session(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


async def _events(server: Service, job: Job) -> AsyncIterator[bytes]:
    server.streams[job.owner] = server.streams.get(job.owner, 0) + 1
    sent, changes = "", aiter(server.changes(job.id))
    pending: asyncio.Future[Job] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(changes))
            done, _ = await asyncio.wait([pending], timeout=KEEP_ALIVE_S)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                current = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            text = answer(server, current).model_dump_json()
            if text != sent:
                yield f"event: job\ndata: {text}\n\n".encode()
                sent = text
    finally:
        server.streams[job.owner] -= 1
        if pending is not None:
            pending.cancel()


async def _depth(request: Request, server: Service, owner: str) -> Response:
    arrays = wants_arrays(request.headers.get("accept", "*/*"))
    job = await server.submit(request, owner, formats=("npz",) if arrays else ("depth_png",))
    waiting = asyncio.ensure_future(server.wait(job.id, server.options.depth_wait_s))
    try:
        while not (await asyncio.wait([waiting], timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                server.store.cancel(job.id, keep_s=0.0)
                raise Refused(400, "the client went away")
    finally:
        waiting.cancel()
    ended = waiting.result()
    if ended is None or not ended.ended:
        body = answer(server, ended or job).model_dump(mode="json")
        return JSONResponse(body, 202, {"location": f"/v1/jobs/{job.id}"})
    if ended.state != "done":
        server.remove(ended)
        raise Refused(422, ended.error or "the job was cancelled")
    files = server.store.files(job.id)
    wanted = next((file for file in files if file.name.startswith("results.npz" if arrays else "depth_png/")), None)
    if wanted is None:
        raise Refused(404, "the result has been removed")
    # Read at once: what is to happen after an answer does not where the client closes as soon as it has all bytes.
    path = server.folders.result(job.id) / wanted.name
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError as error:
        raise Refused(404, "the result has been removed") from error
    server.remove(ended)
    return Response(
        content,
        media_type=wanted.media_type,
        headers={"content-disposition": f'{disposition(wanted.media_type)}; filename="{path.name}"'},
    )


def wants_arrays(accept: str) -> bool:
    """Whether an Accept header asks for NumPy arrays rather than a PNG.

    Raises:
        Refused: It asks for neither.
    """
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {"application/octet-stream", "application/x-npz"}:
            return True
        if kind in {"image/png", "image/*", "*/*", ""}:
            return False
    raise Refused(406, "depth comes as image/png or application/octet-stream (.npz)")
