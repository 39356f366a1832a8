"""In which form a client wants its pictures: the Accept header against what can be had.

``Accept`` names the container, ``format`` the encoding of each image in it. Only ``image/*`` and
``application/x-npy`` name both, so only they can contradict ``format``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from service.errors import NotAcceptable
from service.images import MEDIA_TYPES
from service.schemas import ImageFormat

Container = Literal["json", "image", "zip", "npy", "multipart"]


@dataclass(frozen=True)
class Form:
    """A container, and the encoding of each image in it."""

    container: Container
    image: ImageFormat

    @property
    def media_type(self) -> str:
        """The reply's Content-Type, without parameters."""
        return _CONTAINER_TYPES.get(self.container) or MEDIA_TYPES[self.image]


_CONTAINER_TYPES: dict[Container, str] = {
    "json": "application/json",
    "zip": "application/zip",
    "multipart": "multipart/mixed",
}
_QUALITY = re.compile(r"(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")
_PICTURES: tuple[ImageFormat, ...] = ("png", "jpeg", "webp")


def offers(image: ImageFormat | None) -> list[Form]:
    """Every form that can be had, the preferred first, when ``format`` is ``image``."""
    inside = image or "png"
    several: tuple[Container, ...] = ("zip", "multipart")
    pictures = [Form("image", form) for form in _PICTURES if image in (None, form)]
    arrays = [Form("npy", "npy")] if image in (None, "npy") else []
    wrapped = [Form(container, inside) for container in several]
    return [Form("json", inside), *pictures, *arrays, *wrapped]


@lru_cache(maxsize=64)  # clients send the same few headers again and again
def negotiate(accept: str | None, image: ImageFormat | None) -> Form:
    """The form of pictures that the client likes best, if one of ``offers`` will do.

    Raises:
        NotAcceptable: lists what can be had.
    """
    return _best(accept, offers(image), f" with format {image!r}" if image else "")


def negotiate_numbers(accept: str | None, *, array: bool) -> Form:
    """JSON, or if ``array`` an npy file.

    Raises:
        NotAcceptable: lists what can be had.
    """
    available = [Form("json", "npy"), Form("npy", "npy")]
    return _best(accept, available if array else available[:1])


def _best(accept: str | None, available: list[Form], why: str = "") -> Form:
    """The form that the client likes best (RFC 9110, section 12.5.1).

    Among forms liked equally, the one named most exactly wins, then the order of ``available``.
    """
    ranges = _parse(accept or "") or {"*/*": 1.0}
    liked = [(*_liking(form.media_type, ranges), -rank) for rank, form in enumerate(available)]
    quality, _, rank = max(liked)
    if quality > 0:
        return available[-rank]
    types = [form.media_type for form in available]
    raise NotAcceptable(
        f"nothing that Accept allows can be had{why}: accept one of {', '.join(types)}",
        available=types,
    )


def _liking(media_type: str, ranges: dict[str, float]) -> tuple[float, int]:
    """The quality that the most exact range gives a media type, and how exact that range is."""
    general = media_type.partition("/")[0] + "/*"
    for exactness, pattern in ((2, media_type), (1, general), (0, "*/*")):
        if pattern in ranges:
            return ranges[pattern], exactness
    return 0.0, 0


def _parse(accept: str) -> dict[str, float]:
    """Media range -> quality; what is not a media range is passed over."""
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if "/" not in name:
            continue
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q" and _QUALITY.fullmatch(value.strip()):
                quality = float(value)
        ranges[name] = max(quality, ranges.get(name, 0.0))
    return ranges
