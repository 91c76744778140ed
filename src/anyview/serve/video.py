"""Limits on videos. FFmpeg reads them, so this is for the worker process: what ends it ends one job."""

from pathlib import Path


def check_video(path: Path, name: str, *, seconds: float, megapixels: float) -> None:
    """Refuse a video that is too long or too large, before anything of it is decoded.

    Raises:
        ValueError: In one line, calling the video ``name``.
    """
    import av

    from anyview.images.video import declared_seconds, frame_times

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{name} has no video stream")
            width, height = container.streams.video[0].width, container.streams.video[0].height
    except av.error.FFmpegError as error:
        raise ValueError(f"{name} cannot be decoded as video: {error.strerror}") from error
    if width * height > megapixels * 1e6:
        raise ValueError(f"{name} has frames of {width}×{height}, more than the {megapixels:g} million that are let in")
    duration = declared_seconds(path)
    if duration is None:
        duration = frame_times(path)[-1]
    if duration > seconds:
        raise ValueError(f"{name} is {duration:.0f} s long, more than the {seconds:g} s that are let in")
