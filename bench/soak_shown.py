"""What a reply with PNG files says and shows: the same pixels may be deflated in two ways."""

from __future__ import annotations

import io
import json
import re
import zipfile
from base64 import b64decode
from typing import Any

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"  # what each file begins with
_LENGTH = re.compile(rb"Content-Length: \d+")


def shown(body: bytes) -> tuple[object, list[tuple[tuple[int, ...], bytes]]] | None:
    """What is said beside the pictures, and their shapes and pixels; None if it cannot be read.

    Of times it matters only whether they are told.
    """
    try:
        said, files = _taken_apart(body)
        pictures = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    except (KeyError, OSError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile):
        return None  # as json, zipfile and Pillow say it
    return said, [(picture.shape, picture.tobytes()) for picture in pictures]


def _taken_apart(body: bytes) -> tuple[object, list[bytes]]:
    if body.startswith(b"{"):
        document: dict[str, Any] = json.loads(body)
        files = [b64decode(image.pop("data")) for image in document["images"]]
        return document | {"timing": "timing" in document}, files
    if body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            index, *names = archive.namelist()
            return (archive.read(index), names), [archive.read(name) for name in names]
    head, *files = body.split(PNG)  # a picture, or multipart with the index before the first
    return _LENGTH.sub(b"", head), [PNG + file for file in files]
