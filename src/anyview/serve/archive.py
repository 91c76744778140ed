"""A result as one zip file, made while it is sent."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

CHUNK = 256 * 1024


def zip_stream(folder: Path, names: Sequence[str]) -> Iterator[bytes]:
    """Yield a zip file of the named files below ``folder``, stored as they are: most are compressed already."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            with (folder / name).open("rb") as file, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := file.read(CHUNK):
                    target.write(chunk)
                    yield sink.take()
    yield sink.take()


class _Sink:
    """A file without positions that gives away what is written."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep data until `take`."""
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: nothing waits."""

    def close(self) -> None:
        """Nothing to do either."""

    def take(self) -> bytes:
        """Give away what was written."""
        written, self._written = b"".join(self._written), []
        return written
