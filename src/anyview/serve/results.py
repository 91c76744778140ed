"""Files of results, as they are sent."""

from fastapi.responses import FileResponse, StreamingResponse

from anyview.serve.archive import zip_stream
from anyview.serve.jobs import THUMBNAIL, Job
from anyview.serve.service import Service
from anyview.serve.uploads import Refused

SHOWN_INLINE = frozenset({"image/jpeg", "image/png", "application/json"})


def send_file(server: Service, job: Job, name: str) -> FileResponse:
    """Send a file that the job's own list names; the name is compared, never joined to a path on its own account."""
    file = next((file for file in server.store.files(job.id) if file.name == name), None)
    if file is None:
        raise Refused(404, "the job has no such file")
    path = server.folders.result(job.id) / file.name
    if not path.is_file():
        raise Refused(404, "the file has been removed")
    return FileResponse(
        path,
        media_type=file.media_type,
        filename=path.name,
        content_disposition_type=disposition(file.media_type),
    )


def disposition(media_type: str) -> str:
    """Say whether browsers may show a file, or have to save it."""
    return "inline" if media_type in SHOWN_INLINE else "attachment"


def send_archive(server: Service, job: Job) -> StreamingResponse:
    """Send all formats, and nothing of what is for the page."""
    files = server.store.files(job.id)
    names = [file.name for file in files if file.name != THUMBNAIL and not file.name.startswith("view/")]
    if job.state != "done":
        raise Refused(409, f"the job is {job.state}, so there is nothing to send")
    if not server.folders.result(job.id).is_dir():
        raise Refused(404, "the result has been removed")
    return StreamingResponse(
        zip_stream(server.folders.result(job.id), names),
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="anyview-{job.id[:8]}.zip"'},
    )
