"""Pictures into replies: one container for each way of asking, the same facts in all of them.

Containers without room for facts (a bare picture, an array) tell them in ``Ganymede-*`` headers,
which every reply carries.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from binascii import b2a_base64
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from service import __version__
from service.images import CODEC, DEFAULT_QUALITY, MEDIA_TYPES, Pixels, encode, encode_all, grid
from service.inputs import Plan
from service.negotiation import Form

TOLD_IN_HEADERS = 256  # images; more would pass the header limits of clients and proxies
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same pictures are the same archive


@dataclass(slots=True)
class Reply:
    """What goes back to the client, whatever the web framework."""

    status: int
    body: bytes | None = b""  # None: not computed, as HEAD does not need it
    headers: dict[str, str] = field(default_factory=dict)
    rest: AsyncGenerator[bytes] | None = None  # follows the body, as it comes to be


class Facts(NamedTuple):
    """What a reply says besides the pictures."""

    model: str
    version: int
    plan: Plan
    form: Form
    quality: int = DEFAULT_QUALITY

    def headers(self) -> dict[str, str]:
        """The facts as headers; values outside ASCII are percent-encoded."""
        seeds = [str(seed) for seed in self.plan.told_seeds[:TOLD_IN_HEADERS] if seed is not None]
        labels = [name for name in self.plan.label_names[:TOLD_IN_HEADERS] if name is not None]
        headers = {
            "Ganymede-Model": self.model,
            "Ganymede-Version": str(self.version),
            "Ganymede-Seed": str(self.plan.seeds[0]),
        }
        if seeds:
            headers["Ganymede-Seeds"] = ", ".join(seeds)
        if self.plan.reading and self.plan.reading.unknown:
            unknown = self.plan.reading.unknown[:TOLD_IN_HEADERS]
            headers["Ganymede-Unknown-Words"] = ", ".join(map(_header_text, unknown))
        if labels:
            headers["Ganymede-Labels"] = ", ".join(_header_text(label) for label in labels)
        return headers

    def etag(self, digest: str) -> str:
        """Names the reply before it exists: two replies with one tag show the same pictures.

        It is weak but for arrays: JSON also tells times, and a picture may be deflated in two ways.

        Args:
            digest: of the bundle.
        """
        parts = (digest, __version__, CODEC, self.plan.key(), repr(self.form), self.quality)
        tag = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        return f'"{tag}"' if self.form.container == "npy" else f'W/"{tag}"'


class Rendered(NamedTuple):
    """A reply's body without the times, hence the same for every request that it answers."""

    body: bytes  # for JSON without its end: the times come last
    content_type: str
    tells_times: bool = False

    @property
    def nbytes(self) -> int:
        """What the reply cache counts."""
        return len(self.body)

    def told(self, timing: dict[str, Any]) -> bytes:
        """The whole body, as one request is answered.

        Args:
            timing: the members of ``schemas.Timing``, for JSON; the other containers tell no times.
        """
        return b'%b,"timing":%b}' % (self.body, _json(timing)) if self.tells_times else self.body


def matches(known_tags: str | None, etag: str | None) -> bool:
    """If-None-Match, compared weakly (RFC 9110, section 13.1.2)."""
    if known_tags is None or etag is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in known_tags.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def render(pictures: Pixels, facts: Facts) -> Rendered:
    """Encode pictures and pack them into the container that was asked for.

    Args:
        pictures: uint8 [N, H, W, C].
        facts: of the request that they answer.
    """
    container, image = facts.form.container, facts.form.image
    if container in ("image", "npy"):
        whole = pictures if container == "npy" else _one_picture(pictures)
        body = encode(whole, image, facts.quality)
        return Rendered(body, MEDIA_TYPES[image])
    files = encode_all(pictures, image, facts.quality)
    if container == "zip":
        return Rendered(_zip(files, facts), "application/zip")
    if container == "multipart":
        multipart = Multipart(facts)
        body = b"".join([multipart.first, *map(multipart.part, files), multipart.last])
        return Rendered(body, multipart.content_type)
    return Rendered(_open_json(files, pictures.shape, facts), "application/json", tells_times=True)


def _one_picture(pictures: Pixels) -> Pixels:
    return grid(pictures) if len(pictures) > 1 else pictures[0]


def _open_json(files: list[bytes], shape: tuple[int, ...], facts: Facts) -> bytes:
    """The document of ``schemas.GenerateReply`` up to its times.

    Base64 needs no escapes, so it is not given to ``json``, which would look at each character.
    """
    plan = facts.plan
    images = [
        b'{"seed":%b,"label":%b,"data":"%b"}'
        % (_json(seed), _json(label), b2a_base64(file, newline=False))
        for seed, label, file in zip(plan.told_seeds, plan.label_names, files, strict=True)
    ]
    height, width, channels = shape[1:]
    size = {"height": height, "width": width, "channels": channels}
    return b'%b,"images":[%b]' % (_json(_summary(facts) | size)[:-1], b",".join(images))


def _summary(facts: Facts) -> dict[str, Any]:
    return {
        "model": facts.model,
        "version": facts.version,
        "seed": facts.plan.seeds[0],
        "format": facts.form.image,
        "parameters": facts.plan.scalars,
    }


def _index(facts: Facts) -> tuple[list[str], bytes]:
    """The names of the files in an archive, and the archive's table of contents."""
    names = [
        f"{facts.model}-{facts.version}-{k:03d}" + (f"-{seed}" if seed is not None else "")
        for k, seed in enumerate(facts.plan.told_seeds)
    ]
    files = [f"{name}.{facts.form.image}" for name in names]
    told = zip(files, facts.plan.told_seeds, facts.plan.label_names, strict=True)
    images = [{"file": file, "seed": seed, "label": label} for file, seed, label in told]
    return files, _json(_summary(facts) | {"images": images})


def _zip(files: list[bytes], facts: Facts) -> bytes:
    names, index = _index(facts)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in zip(["index.json", *names], [index, *files], strict=True):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
    return stream.getvalue()


class Multipart:
    """RFC 2046: the table of contents, then the files. Each can be sent before the next exists.

    The boundary is a hash of what the pictures depend on, hence the same for the same pictures.
    """

    def __init__(self, facts: Facts) -> None:
        names, index = _index(facts)
        self._names, self._image_type = iter(names), MEDIA_TYPES[facts.form.image]
        told = repr((facts.model, facts.version, facts.form, facts.quality, facts.plan.key()))
        self._boundary = hashlib.sha256(told.encode()).hexdigest()[:32]
        self.content_type = f"multipart/mixed; boundary={self._boundary}"
        self.first = self._wrapped("index.json", "application/json", index)
        self.last = f"--{self._boundary}--\r\n".encode("ascii")

    def part(self, file: bytes) -> bytes:
        """The next picture, wrapped."""
        return self._wrapped(next(self._names), self._image_type, file)

    def _wrapped(self, name: str, kind: str, content: bytes) -> bytes:
        head = (
            f"--{self._boundary}\r\nContent-Type: {kind}\r\n"
            f'Content-Disposition: attachment; filename="{name}"\r\n'
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return b"%b%b\r\n" % (head.encode("ascii"), content)


def _json(value: Any) -> bytes:  # noqa: ANN401
    return orjson.dumps(value)


def _header_text(text: str) -> str:
    return quote(text, safe=" /-_.:;()'!?&+")
