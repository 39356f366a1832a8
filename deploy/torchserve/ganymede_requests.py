"""What TorchServe hands over of a request, read and checked as the service does it.

TorchServe takes requests apart before anybody sees them: a form comes as its parts, JSON decoded
unless ``decode_input_request`` is false, and the URL's query not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.manifest import Manifest, Task
from export.tokens import Words
from service.errors import InvalidInput, TooLarge, UnknownModel, UnsupportedMedia
from service.fields import FieldErrors
from service.images import DEFAULT_QUALITY, LOSSY, UploadedFile
from service.inputs import Plan, bind
from service.negotiation import negotiate
from service.parsing import parse_body, parse_pairs, require_json
from service.planning import image_input, plan
from service.replies import Facts
from service.rows import Rows
from service.schemas import PicturesQuery, TranslateRequest
from service.uploads import FORM, REFERENCE, parse_upload

BODY = "body"  # what TorchServe calls a body that is not a form
_PICTURES = ("image", "file")  # the parts of a form that may be the picture


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for; ``handler`` in model-config.yaml changes them."""

    max_images: int = 64
    max_upload_pixels: int = 16_000_000
    max_input_bytes: int = 256 * 2**20  # of what its pictures start from
    max_batch_rows: int = 64  # images in one run, of all requests of a batch together


@dataclass(frozen=True, eq=False)
class Asked:
    """A request that the model can answer, and the rows that its pictures start from."""

    facts: Facts
    rows: Rows


def read(
    row: Mapping[str, Any],
    headers: Mapping[str, Any],
    manifest: Manifest,
    words: Mapping[str, Words],
    limits: Limits,
) -> Asked:
    """Read one request of a batch.

    Args:
        row: its parts by name, as TorchServe gives them.
        headers: those of HTTP, and those of the parts by the names of the parts.
        manifest: of the model that shall answer.
        words: that its graphs understand, by their names.
        limits: on what it may ask for.

    Raises:
        MalformedRequest, UnknownModel, TooLarge, UnsupportedMedia, InvalidInput: tells what to
            change, in the words of the service.
    """
    request, file = _parsed(row, headers, manifest)
    _refuse_another(request, manifest)
    task: Task = "generate" if file is None else "translate"
    if task not in manifest.tasks:
        tasks = ", ".join(manifest.tasks)
        raise InvalidInput(f"model {manifest.name!r} does not {task}; it answers {tasks}")
    graph, picture = manifest.graph(task), None
    if file is not None:
        picture = UploadedFile(file, limits.max_upload_pixels).decode(image_input(graph).channels)
    fitted = plan(
        graph,
        manifest.size,
        request,
        limit=limits.max_images,
        picture=picture,
        words=words.get(manifest.tasks[task]),
    )
    facts = _facts(request, fitted, manifest)
    nbytes = fitted.expected.nbytes
    if nbytes > limits.max_input_bytes:
        raise TooLarge(
            f"{len(fitted)} images of {fitted.height} x {fitted.width} pixels start from "
            f"{nbytes} bytes, and at most {limits.max_input_bytes} are taken: ask for "
            "fewer, or for smaller ones",
            limit_bytes=limits.max_input_bytes,
        )
    return Asked(facts, bind(fitted))


def _parsed(
    row: Mapping[str, Any], headers: Mapping[str, Any], manifest: Manifest
) -> tuple[PicturesQuery, bytes | None]:
    """What is asked, and the file of the picture that it starts from, if it starts from one."""
    if BODY not in row:
        return _parsed_form(row)
    body, media_type = _bytes(row[BODY]), _media_type(headers)
    if media_type.startswith("image/"):
        raise UnsupportedMedia(
            "the URL's query, which says what to do with a picture, does not come through "
            f"TorchServe: send it as a form ({FORM}), or as base64 in JSON",
            supported=["application/json", FORM],
        )
    require_json(media_type)
    if _names_a_picture(body) or "generate" not in manifest.tasks:
        upload = parse_upload(TranslateRequest, media_type, body, ())
        _refuse_reference(upload.reference is not None)
        return upload.request, upload.file
    return parse_body(body), None


def _parsed_form(row: Mapping[str, Any]) -> tuple[PicturesQuery, bytes]:
    files = [_bytes(row[name]) for name in _PICTURES if name in row]
    if len(files) != 1:
        errors = FieldErrors()
        errors.add("image", f"is in {len(files)} parts of the form: send one file, and once")
        raise errors.error()
    _refuse_reference(REFERENCE in row)
    texts = {name: _bytes(value) for name, value in row.items() if name not in _PICTURES}
    pairs = [(name, text.decode(errors="replace")) for name, text in texts.items()]
    return parse_pairs(TranslateRequest, pairs), files[0]


def _refuse_reference(given: bool) -> None:
    if given:
        errors = FieldErrors()
        errors.add(
            REFERENCE,
            "leave it out: an archive holds no graph that reads a style; `ganymede serve` does",
        )
        raise errors.error()


def _facts(request: PicturesQuery, fitted: Plan, manifest: Manifest) -> Facts:
    form = negotiate("application/json", getattr(request, "format", None))
    if request.quality is not None and form.image not in LOSSY:
        errors = FieldErrors()
        errors.add("quality", f"is for jpeg and webp, not {form.image}: leave it out")
        raise errors.error()
    quality = request.quality or DEFAULT_QUALITY
    return Facts(manifest.name, manifest.version, fitted, form, quality)


def _refuse_another(request: PicturesQuery, manifest: Manifest) -> None:
    """An archive holds one version of one model, and the URL has chosen it."""
    asked = (getattr(request, "model", None), request.version)
    held = (manifest.name, manifest.version)
    for what, wanted, there in zip(("model", "version"), asked, held, strict=True):
        if wanted not in (None, there):
            raise UnknownModel(
                f"this is {what} {there!r}, not {wanted!r}: leave {what} out, and say it in the "
                "URL: /predictions/MODEL/VERSION"
            )


def _names_a_picture(body: bytes) -> bool:
    """Whether a body is an object with an image; what is no JSON is refused by who parses it."""
    if b'"image"' not in body:
        return False
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "image" in found


def _media_type(headers: Mapping[str, Any]) -> str:
    part = headers.get(BODY)
    told = part.get("content-type", "") if isinstance(part, Mapping) else ""
    return str(told).partition(";")[0].strip().lower()


def _bytes(value: Any) -> bytes:  # noqa: ANN401
    """What a part was before TorchServe decoded it."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()
