"""Uploads, streamed to disk while they are counted. Nothing of a refused or broken one stays."""

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from anyview.serve.content import HEAD, Content, check_picture, shown_name, sniff
from anyview.serve.options import MIB, ServeOptions

OPTIONS_BYTES = 512 * 1024
"""Largest `options` field: the cameras of some hundred pictures."""
HEADER_BYTES = 4096
"""Headers of one part."""
MOST_FIELDS = 4
"""Parts that are no files."""
LOOK_BYTES = 16 * MIB
"""Of an upload between two looks whether it may go on."""

Look = Callable[[int, int], None]
"""Called with the bytes of an upload that have come and those that are announced beside; raises `Refused`."""


class Refused(Exception):
    """A request that is not served, with its HTTP status and one line that says why."""

    def __init__(self, status: int, reason: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class UploadedFile:
    """A file of an upload, on disk under a name of ours."""

    path: Path
    content: Content
    name: str
    """What the user called it, fit to be shown."""
    size: int


@dataclass
class Upload:
    """What a multipart body held."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[UploadedFile] = field(default_factory=list)


async def receive(
    chunks: AsyncIterator[bytes],
    content_type: str,
    content_length: str | None,
    folder: Path,
    limits: ServeOptions,
    look: Look,
) -> Upload:
    """Write the files of a multipart body into ``folder``, which is made, as 0000.jpg and so on.

    Pictures' headers are read, so that what is let in is what it says it is and not larger than allowed. ``look`` is
    called before anything is written, and every `LOOK_BYTES`: others write to the same disk.

    Raises:
        Refused: The body is not what was expected, is too much, or stands still. The folder is removed then, and in
            every other case in which this does not return, such as that the client has gone.
    """
    most = int(limits.upload_mib * MIB) + OPTIONS_BYTES
    announced = int(content_length) if content_length is not None and content_length.isdecimal() else 0
    if announced > most:
        raise Refused(413, f"an upload may have at most {limits.upload_mib:g} MiB")
    look(0, announced)
    folder.mkdir(mode=0o700)
    try:
        parts = _Parts(folder, limits)
        try:
            await _feed(parts, chunks, content_type, announced, most, limits, look)
        finally:
            parts.close()
        await asyncio.to_thread(_check_pictures, parts.upload, limits)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused(507, "the disk of the server is full") from error
        raise
    return parts.upload


def check_space(folder: Path, limits: ServeOptions, *, coming: int = 0) -> None:
    """Refuse what would fill the disk with ``coming`` bytes.

    Raises:
        Refused: Less would be free than is to stay free.
    """
    if shutil.disk_usage(folder).free - coming < limits.free_mib * MIB:
        raise Refused(507, "the disk of the server is full")


async def _feed(
    parts: "_Parts",
    chunks: AsyncIterator[bytes],
    content_type: str,
    announced: int,
    most: int,
    limits: ServeOptions,
    look: Look,
) -> None:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refused(415, "expected a body of type multipart/form-data, with a boundary")
    total, next_look, end = 0, LOOK_BYTES, time.monotonic() + limits.upload_s
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())  # type: ignore[arg-type]
        source = aiter(chunks)
        while True:
            left = end - time.monotonic()
            try:
                chunk = await asyncio.wait_for(anext(source), min(limits.upload_stall_s, left))
            except StopAsyncIteration:
                break
            except asyncio.TimeoutError as error:
                if left < limits.upload_stall_s:
                    raise Refused(408, f"an upload may take at most {limits.upload_s:g} s") from error
                raise Refused(408, f"nothing came for {limits.upload_stall_s:g} s") from error
            total += len(chunk)
            if total > most:
                raise Refused(413, f"an upload may have at most {limits.upload_mib:g} MiB")
            if total >= next_look:
                look(total, max(announced - total, 0))
                next_look = total + LOOK_BYTES
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, "the multipart body is broken") from error
    if not parts.ended:
        raise Refused(400, "the multipart body ends too early")


def _check_pictures(upload: Upload, limits: ServeOptions) -> None:
    for file in upload.files:
        if file.content.kind == "picture":
            try:
                check_picture(file.path, file.content, file.name, megapixels=limits.megapixels)
            except ValueError as error:
                raise Refused(422, str(error)) from error


class _Parts:
    """Takes the events of the multipart parser and writes files."""

    def __init__(self, folder: Path, limits: ServeOptions) -> None:
        self.upload = Upload()
        self.ended = False
        self._folder = folder
        self._limits = limits
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._header_bytes = 0
        self._field: str | None = None
        self._value = bytearray()
        self._name = ""
        self._file: BinaryIO | None = None
        self._head = b""
        self._size = 0

    def callbacks(self) -> dict[str, object]:
        """What the parser is to call."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._on_end,
        }

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk is complained about where it was written to
                self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._headers, self._header_name, self._header_value, self._header_bytes = {}, b"", b"", 0
        self._field, self._value, self._head, self._size = None, bytearray(), b"", 0

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._count_header(end - start)

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES:
            raise Refused(431, f"the headers of a part may have at most {HEADER_BYTES} bytes")

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise Refused(400, "a part of the body has no name")
        if b"filename" in options:
            if len(self.upload.files) >= self._limits.files:
                raise Refused(413, f"an upload may have at most {self._limits.files} files")
            self._name = shown_name(options[b"filename"].decode("utf-8", "replace"))
            self._file = self._part_path().open("xb")
            return
        self._field = options[b"name"].decode("utf-8", "replace")
        if len(self.upload.fields) >= MOST_FIELDS:
            raise Refused(400, f"an upload may have at most {MOST_FIELDS} fields beside its files")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._value += data[start:end]
            if len(self._value) > OPTIONS_BYTES:
                raise Refused(413, f"a field may have at most {OPTIONS_BYTES} bytes")
            return
        if self._size < HEAD <= self._size + end - start:
            self._sniff((self._head + data[start:end])[:HEAD])  # at once: not after gigabytes
        self._head = (self._head + data[start:end])[:HEAD] if self._size < HEAD else self._head
        self._size += end - start
        if self._size > self._limits.file_mib * MIB:
            raise Refused(413, f"{self._name} is larger than the {self._limits.file_mib:g} MiB that are let in")
        self._file.write(data[start:end])

    def _end(self) -> None:
        if self._file is None:
            assert self._field is not None
            try:
                self.upload.fields[self._field] = self._value.decode()
            except UnicodeDecodeError as error:
                raise Refused(400, f"the field {shown_name(self._field)} is not UTF-8") from error
            return
        self._file.close()
        self._file = None
        content = self._sniff(self._head)
        path = self._part_path().with_suffix(content.suffix)
        os.replace(self._part_path(), path)
        self.upload.files.append(UploadedFile(path, content, self._name, self._size))

    def _on_end(self) -> None:
        self.ended = True

    def _part_path(self) -> Path:
        return self._folder / f"{len(self.upload.files):04d}.part"

    def _sniff(self, head: bytes) -> Content:
        try:
            return sniff(head, self._name)
        except ValueError as error:
            raise Refused(415, str(error)) from error
