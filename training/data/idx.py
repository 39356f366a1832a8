"""The IDX format of MNIST and its kin: big-endian header, then unsigned bytes.

Layout: two zero bytes, the type (8: unsigned byte), the number of axes, one uint32 per axis, and
exactly as many bytes as the axes multiply to (LeCun, Cortes & Burges, "The MNIST database").
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

CONTENT_LIMIT_BYTES = 2**30  # the largest of the kin, EMNIST by class, has 550 MB
UNSIGNED_BYTE = 8


def read_content(path: Path) -> bytes:
    """The bytes of an IDX file, decompressed when gzipped, whatever its name says.

    Raises:
        DataError: unreadable, a broken gzip stream, or more than ``CONTENT_LIMIT_BYTES``.
    """
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if gzipped else raw
            content = stream.read(CONTENT_LIMIT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): copy or download it again") from error
    if len(content) > CONTENT_LIMIT_BYTES:
        raise DataError(
            f"{path} holds more than {CONTENT_LIMIT_BYTES} bytes: not an MNIST-like set"
        )
    return content


def parse(content: bytes, path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file's content; ``path`` is for the message.

    Raises:
        DataError: not IDX, not unsigned bytes, or shorter or longer than its header says.
    """
    axes = content[3] if len(content) >= 4 else 0
    if content[:3] != bytes([0, 0, UNSIGNED_BYTE]) or not axes:
        raise DataError(f"{path} is not an IDX file of unsigned bytes: it starts {content[:4]!r}")
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{path} is cut off inside its header: copy or download it again")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    expected, found = math.prod(shape), len(content) - start
    if expected != found:
        raise DataError(
            f"{path} announces {' x '.join(map(str, shape))} = {expected} bytes and holds {found}: "
            "copy or download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def serialise(array: NDArray[np.uint8]) -> bytes:
    """The content of an IDX file, the inverse of ``parse``."""
    header = bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()
