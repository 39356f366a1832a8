"""What the soak sends: pictures, forms that hold them, and bodies that must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.soak_models import PICTURES, READER
from service.images import MEDIA_TYPES, encode
from service.schemas import ImageFormat

SIZES = ((32, 32), (40, 56), (33, 47), (96, 20), (128, 128))  # the last is decoded in a thread
KINDS: tuple[ImageFormat, ...] = ("png", "jpeg", "webp", "png", "png")
BOUNDARY = "a-boundary-of-the-soak"


def sources() -> list[bytes]:
    """Pictures of several sizes and kinds, each of its own brightness."""
    chance = np.random.default_rng(3)
    return [
        encode(chance.integers(0, 256 - 40 * k, (*size, 3), np.uint8), kind)
        for k, (size, kind) in enumerate(zip(SIZES, KINDS, strict=True))
    ]


def as_form(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """``multipart/form-data`` with ``BOUNDARY``."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, file in files.items():
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
            f"Content-Type: {MEDIA_TYPES['png']}\r\n\r\n"
        )
        parts.append(head.encode() + file + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def refusals(picture: bytes) -> list[tuple[str, dict[str, str], bytes, frozenset[int]]]:
    """Paths, headers and bodies, and the statuses that they may have."""
    image, form = {"Content-Type": "image/png"}, f"multipart/form-data; boundary={BOUNDARY}"
    header_of_a_bomb = picture[:16] + (60_000).to_bytes(4, "big") * 2 + picture[24:]
    upload = f"/translate?model={PICTURES}"
    both = {"image": picture, "reference": b"no picture"}
    return [
        ("/generate", {}, b'{"seed": 7', frozenset({400})),
        ("/generate", {}, b'{"model": "nobody"}', frozenset({404})),
        ("/generate", {}, b'{"model": "fashion", "seed": -1}', frozenset({422})),
        ("/generate", {}, b'{"model": "fashion", "num_images": 1000}', frozenset({422})),
        ("/generate", {}, b'{"model": "fashion", "label": "nothing"}', frozenset({422})),
        ("/generate", {}, b'{"model": "fashion", "colour": "red"}', frozenset({422})),
        ("/generate", {}, b'{"model": "%b", "text": "zebra"}' % READER.encode(), frozenset({422})),
        ("/generate", {"Accept": "text/html"}, b'{"model": "fashion"}', frozenset({406})),
        ("/generate", {"Content-Type": "text/plain"}, b"seed=7", frozenset({415})),
        ("/models", {}, b"{}", frozenset({405})),
        ("/nowhere", {}, b"{}", frozenset({404})),
        ("/v2/models/fashion/infer", {}, b'{"inputs": 7}', frozenset({400})),
        (upload, image, b"no picture", frozenset({415})),
        (upload, image, picture[: len(picture) // 2], frozenset({400, 415, 422})),
        (upload, image, header_of_a_bomb, frozenset({413, 415, 422})),
        (f"{upload}&reference=x", image, picture, frozenset({422})),
        (
            "/translate",
            {"Content-Type": form},
            as_form({"model": PICTURES}, both),
            frozenset({415}),
        ),
    ]
