"""The body of a POST, read within its limits: JSON as it came, or a multipart form and its files.

What is refused here is what never reaches a core: too large, of the wrong type, no form, cut off.
Fields are the core's to judge.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio.to_thread
import msgspec
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from statecore.events import Upload

__all__ = ["Body", "BodyLimits", "BodyRefused", "Uploads", "read_body"]

_JSON = "application/json"
_FORM = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much of a request is read.

    Args:
        body: the most bytes of a JSON body, and of one text field of a form.
        form: the most bytes of a whole form, files included.
        files: the most files in one form.
        fields: the most text fields in one form.
    """

    body: int = 4 << 20
    form: int = 64 << 20
    files: int = 100
    fields: int = 1_000


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was read whole.

    Args:
        content: a JSON object's bytes, or the object of a form's text fields.
        is_form: it was a form.
        uploads: the form's files, stored.
    """

    content: bytes
    is_form: bool = False
    uploads: tuple[Upload, ...] = ()


class BodyRefused(Exception):  # noqa: N818  # a refusal, as everywhere in this package
    """A body that never reaches the core, with the HTTP status that says why."""

    def __init__(self, status_code: int, error_type: str, text: str, expected: str) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.error_type = error_type
        self.text = text
        self.expected = expected


class Uploads:
    """The folder that uploaded files are stored in, and the only names that are read from it.

    The folder may well be the system's own for temporary files (Mephisto's LocalArchitect copies
    uploads from there), so only names that were made here are ever served: 32 random digits, the
    field's name, the file's name.
    """

    _name = re.compile(r"[0-9a-f]{32}-[A-Za-z0-9_.-]{1,200}")

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Path | None:
        """The stored file of this name, if it is one of ours and still there."""
        if self._name.fullmatch(name) is None:
            return None
        path = self.folder / name
        return path if path.is_file() and not path.is_symlink() else None

    async def store(self, fieldname: str, file: UploadFile) -> Upload:
        """Keep a form's file under a name that nobody can guess.

        Raises:
            OSError: the disk is full, or the folder may not be written.
        """
        original = file.filename or ""
        filename = f"{secrets.token_hex(16)}-{_safe(fieldname, 60)}-{_safe(original, 120)}"
        path = self.folder / filename
        size = await anyio.to_thread.run_sync(_copy, file.file, path)
        return Upload(
            fieldname=fieldname,
            originalname=original,
            encoding=file.headers.get("content-transfer-encoding", "7bit"),
            mimetype=file.headers.get("content-type", "application/octet-stream"),
            destination=os.path.join(self.folder, ""),
            filename=filename,
            path=str(path),
            size=size,
        )

    async def delete(self, uploads: Sequence[Upload]) -> None:
        """Forget files that the core did not take."""
        for upload in uploads:
            await anyio.to_thread.run_sync(_unlink, self.folder / upload.filename)


async def read_body(
    scope: Scope, receive: Receive, limits: BodyLimits, uploads: Uploads | None
) -> Body:
    """Read a POST's body.

    Args:
        scope: the request's.
        receive: the request's.
        limits: how much is read.
        uploads: where a form's files are stored; ``None`` refuses a form that has some.

    Raises:
        BodyRefused: it is too large, of the wrong type, or no form.
        ClientDisconnect: the peer went away before it was whole.
    """
    headers = Headers(scope=scope)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == _JSON:
        limited = _Limited(receive, limits.body)
        async with aclosing(Request(scope, limited).stream()) as stream:
            return Body(b"".join([chunk async for chunk in stream]))
    if content_type == _FORM:
        return await _read_form(headers, scope, _Limited(receive, limits.form), limits, uploads)
    raise BodyRefused(
        415,
        "wrong-content-type",
        f"the content type is {content_type or 'missing'}",
        f"{_JSON} or {_FORM}",
    )


class _Limited:
    """Counts what arrives, and refuses what is too much after having read a little on.

    A browser that is still sending takes an early answer for a broken connection, so as much
    again as the limit is read and thrown away before the refusal.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size <= self._limit:
            return message
        while message.get("more_body", False) and self._size <= 2 * self._limit:
            message = await self._receive()
            self._size += len(message.get("body", b""))
        raise BodyRefused(
            413,
            "too-large",
            f"the body has more than {self._limit:,} bytes",
            f"at most {self._limit:,} bytes",
        )


class _Parser(MultiPartParser):
    """Also refuses a form that was cut off before its last boundary: it is no submission."""

    def __init__(self, headers: Headers, request: Request, limits: BodyLimits) -> None:
        super().__init__(
            headers,
            self._whole(request),
            max_files=limits.files,
            max_fields=limits.fields,
            max_part_size=limits.body,
        )
        self._is_whole = False

    def on_end(self) -> None:
        self._is_whole = True

    async def _whole(self, request: Request) -> AsyncGenerator[bytes, None]:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                yield chunk
        # Raised to the parser, which then closes the files that it has begun.
        if not self._is_whole:
            raise MultiPartException("it ends before its last boundary")


async def _read_form(
    headers: Headers, scope: Scope, receive: Receive, limits: BodyLimits, uploads: Uploads | None
) -> Body:
    parser = _Parser(headers, Request(scope, receive), limits)
    try:
        async with aclosing(parser.stream):
            form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Part exceeded"):
            raise BodyRefused(
                413,
                "too-large",
                f"a field of the form has more than {limits.body:,} bytes",
                f"at most {limits.body:,} bytes in a text field",
            ) from None
        raise _no_form(error.message.rstrip(".").lower()) from None
    stored: list[Upload] = []
    try:
        fields: dict[str, str] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[_text(name)] = _text(value)
            elif value.filename:  # an input that nobody chose a file for has no name
                _text(value.filename)
                if uploads is None:
                    raise BodyRefused(
                        415,
                        "unexpected-file",
                        f"the form has a file, in its field {_text(name)!r}",
                        "a form of texts: /submit_task is the one route that takes files",
                    )
                stored.append(await uploads.store(_text(name), value))
        return Body(msgspec.json.encode(fields), is_form=True, uploads=tuple(stored))
    except BodyRefused:
        await _forget(uploads, stored)
        raise
    except OSError as error:
        await _forget(uploads, stored)
        raise BodyRefused(
            503,
            "upload-failed",
            f"the files could not be stored: {error.strerror}",
            "space and write permission in the uploads folder",
        ) from None
    finally:
        await form.close()


async def _forget(uploads: Uploads | None, stored: Sequence[Upload]) -> None:
    if uploads is not None:
        await uploads.delete(stored)


def _no_form(why: str) -> BodyRefused:
    return BodyRefused(400, "not-a-form", f"not a multipart form: {why}", "multipart/form-data")


def _text(value: str) -> str:
    """A form may name a charset that yields half a character, which no JSON can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _no_form("a text is not Unicode") from None
    return value


def _safe(name: str, length: int) -> str:
    """ASCII letters, digits, dot, dash and underscore; the end of a long name, with its suffix."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[-length:].lstrip(".") or "_"


def _copy(source: IO[bytes], path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as target:
            shutil.copyfileobj(source, target)
            return target.tell()
    except OSError:
        _unlink(path)
        raise


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
