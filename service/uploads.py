"""Requests that bring a picture, or two: a form, the picture's own bytes, or JSON with base64.

Each kind has one place for the fields beside the picture: the form's other parts, the query, the
document. The body is bounded before it comes here, the picture by ``images`` before it is decoded.
"""

from __future__ import annotations

import binascii
import io
from base64 import b64decode
from dataclasses import dataclass
from typing import Generic, TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from service.errors import InvalidInput, MalformedRequest, UnsupportedMedia
from service.fields import NAME_SHOWN, FieldErrors
from service.parsing import Pairs, media_type_of, parse_json, parse_pairs
from service.schemas import ImageRequest

MAX_PARTS = 64  # of a form
FORM = "multipart/form-data"
SUPPORTED = ("application/json", FORM, "image/*")
REFERENCE = "reference"  # the field of a second picture, where there may be one
_PICTURE_PARTS = frozenset({"image", "file"})  # any other part with a file name is one too

Request = TypeVar("Request", bound=ImageRequest)


@dataclass(frozen=True)
class Upload(Generic[Request]):
    """The bytes of a picture's file, and what is asked of it."""

    file: bytes
    request: Request
    reference: bytes | None = None  # the file of a second one


def require_upload(content_type: str | None, content_encoding: str | None) -> str:
    """The media type of a body that may bring a picture.

    Raises:
        UnsupportedMedia: it is of another kind, or compressed.
    """
    media_type = media_type_of(content_type, content_encoding)
    if media_type in SUPPORTED or media_type.startswith("image/"):
        return media_type
    raise UnsupportedMedia(
        f"the body is {media_type[:NAME_SHOWN] or 'of no declared type'}: send a picture as a form "
        f"({FORM}), as itself (Content-Type: image/png or the like), or as base64 in JSON",
        supported=list(SUPPORTED),
    )


def parse_upload(
    schema: type[Request], content_type: str, body: bytes, query: Pairs
) -> Upload[Request]:
    """Read a body that ``require_upload`` let through.

    Args:
        schema: of the fields beside the picture.
        content_type: the whole header; a form's boundary is in it.
        body: bounded already.
        query: of the URL; where a picture comes as itself, its fields are there.

    Raises:
        MalformedRequest: the body is not what it says that it is.
        InvalidInput: a field is wrong, or the picture is missing.
    """
    media_type = media_type_of(content_type)
    if media_type.startswith("image/"):
        request = parse_pairs(schema, query)
        if _given(request, "image") is not None:
            raise _wrong_picture("image", "the body is the picture: leave this field out")
        if _given(request, REFERENCE) is not None:
            raise _wrong_picture(
                REFERENCE, f"the body has one picture: send both as {FORM}, or as base64 in JSON"
            )
        return Upload(body, request)
    _refuse_query(query, "form" if media_type == FORM else "JSON")
    if media_type == FORM:
        fields, files = _read_form(content_type, body, _pictures_of(schema))
        request = parse_pairs(schema, fields)
        if "image" not in files:
            raise _missing("a part of the form with the file")
        return Upload(files["image"], request, files.get(REFERENCE))
    request = parse_json(schema, body)
    texts = {name: _given(request, name) for name in _pictures_of(schema)}
    files = {name: _base64(text, name) for name, text in texts.items() if text is not None}
    if "image" not in files:
        raise _missing("the file as base64")
    request = request.model_copy(update=dict.fromkeys(files))
    return Upload(files["image"], request, files.get(REFERENCE))


def _pictures_of(schema: type[ImageRequest]) -> tuple[str, ...]:
    """The fields of a request that are pictures."""
    return ("image", REFERENCE) if REFERENCE in schema.model_fields else ("image",)


def _given(request: ImageRequest, field: str) -> str | None:
    """A picture as base64, where the request has a field for it."""
    text: str | None = getattr(request, field) if field in _pictures_of(type(request)) else None
    return text


def _refuse_query(query: Pairs, where: str) -> None:
    errors = FieldErrors()
    for name in sorted({name for name, _ in query}):
        errors.add(name, f"is in the URL: put it into the {where}, beside the picture")
    errors.raise_if_any()


def _read_form(
    content_type: str, body: bytes, pictures: tuple[str, ...]
) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """The fields of a form, and those of its pictures that were sent."""
    fields: list[tuple[str, str]] = []
    files: dict[str, list[bytes]] = {name: [] for name in pictures}
    ended: list[bool] = []

    def bounded() -> None:
        if len(fields) + sum(map(len, files.values())) >= MAX_PARTS:
            raise FormParserError(f"it has more than {MAX_PARTS} parts")

    def found_in(part: str) -> list[bytes]:
        return files.get(part, files["image"])

    def on_field(field: Field) -> None:
        bounded()
        name, value = (field.field_name or b"").decode(), field.value or b""
        if name in _PICTURE_PARTS or name in files:
            found_in(name).append(value)
        else:
            fields.append((name, value.decode()))

    def on_file(file: File) -> None:
        bounded()
        stream = file.file_object
        assert isinstance(stream, io.BytesIO)  # no limit of memory but the body's own
        found_in((file.field_name or b"").decode()).append(stream.getvalue())

    try:
        _, options = parse_options_header(content_type)
        parser = FormParser(
            FORM,
            on_field,
            on_file,
            lambda: ended.append(True),
            boundary=options.get(b"boundary"),
            config={"MAX_MEMORY_FILE_SIZE": float("inf"), "UPLOAD_ERROR_ON_BAD_CTE": True},
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise MalformedRequest(f"the body is not a form: {error}; send {FORM}") from None
    if not ended:
        raise MalformedRequest("the form is cut off: its last boundary is missing; send all of it")
    for name, found in files.items():
        if len(found) > 1:
            raise _wrong_picture(name, f"{len(found)} files were sent: send one")
    return fields, {name: found[0] for name, found in files.items() if found}


def _base64(text: str, field: str) -> bytes:
    """Base64, in lines or not, with or without the head of a data URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong_picture(
            field, "is not base64 (RFC 4648, section 4): encode the file"
        ) from None


def _missing(what: str) -> InvalidInput:
    return _wrong_picture("image", f"is missing; add it: {what}")


def _wrong_picture(field: str, detail: str) -> InvalidInput:
    errors = FieldErrors()
    errors.add(field, detail)
    return errors.error()
