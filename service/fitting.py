"""Uploaded pictures and asked-for sizes against what a model takes, and answers back out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np

from export.manifest import FixedSize, FreeSize, Size
from service.fields import FieldErrors
from service.images import Pixels, resize
from service.schemas import Fit, FixedFit, FreeFit

Box = tuple[float, float, float, float]  # left, top, right, bottom
_SHRINK = 0.99  # of a side, until the picture and its padding are within the limits


@dataclass(frozen=True)
class Fitting:
    """How a picture comes to the size of a graph's rows.

    The ``box`` of the picture is resized to ``inner`` and laid in rows of the size ``outer``, its
    top left pixel at ``corner``; the pixels around it are its own reflection. Sizes are
    [height, width].
    """

    box: Box
    inner: tuple[int, int]
    outer: tuple[int, int]
    corner: tuple[int, int] = (0, 0)

    def row(self, pixels: Pixels) -> Pixels:
        """uint8 [H, W, C] of any size -> uint8 [*outer, C]."""
        height, width = pixels.shape[:2]
        if self.box != (0, 0, width, height) or self.inner != (height, width):
            pixels = resize(pixels, self.box, self.inner)
        if self.inner == self.outer:
            return pixels
        sides = zip(self.corner, self.inner, self.outer, strict=True)
        around = [(before, outer - inner - before) for before, inner, outer in sides]
        return np.pad(pixels, [*around, (0, 0)], mode="reflect")

    def cut_out(self, pictures: Pixels) -> Pixels:
        """The answer without what was laid around the picture.

        Args:
            pictures: uint8 [N, H, W, C]: the size of the rows, or scaled by the graph.
        """
        (top, bottom), (left, right) = (
            (corner * found // outer, (corner + inner) * found // outer)
            for corner, inner, outer, found in zip(
                self.corner, self.inner, self.outer, pictures.shape[1:3], strict=True
            )
        )
        return pictures[:, top:bottom, left:right]


def fit_picture(
    size: Size,
    height: int,
    width: int,
    fit: Fit | None,
    errors: FieldErrors,
    field: str = "image",
) -> Fitting:
    """Bring a picture of any size to one that the model takes.

    A fixed size is cropped around its centre unless ``fit`` says otherwise; a free size is kept,
    and padded to the model's stride.
    """
    allowed = get_args(FixedFit if isinstance(size, FixedSize) else FreeFit)
    whole = (0.0, 0.0, float(width), float(height))
    if fit is not None and fit not in allowed:
        kind = "one size only" if isinstance(size, FixedSize) else "pictures of several sizes"
        errors.add("fit", f"this model takes {kind}: say {' or '.join(allowed)}")
        return Fitting(whole, (height, width), (height, width))
    if isinstance(size, FixedSize):
        return _fixed(size, whole, fit or "crop")
    inner: tuple[int, int] | None = (height, width)
    if not _allowed(size, height, width):
        inner = _scaled(size, height, width) if fit == "scale" else None
    if inner is None:
        advice = "send another picture" if fit == "scale" else "send another, or say fit: scale"
        errors.add(
            field,
            f"is {height} x {width} pixels (height x width), and this model takes "
            f"{_limits(size)}: {advice}",
        )
        inner = (height, width)
    return Fitting(whole, inner, _padded(size, *inner))


def asked_size(
    size: Size, height: int | None, width: int | None, errors: FieldErrors
) -> tuple[int, int]:
    """The height and width of pictures that start from nothing; the first that is warm unless said.

    They are not rounded: what is asked for is what comes, or is refused.
    """
    default = (size.height, size.width) if isinstance(size, FixedSize) else size.warm[0]
    if height is None and width is None:
        return default
    if height is None or width is None:
        missing = "height" if height is None else "width"
        errors.add(missing, "is missing: give height and width together, or neither")
        return default
    if isinstance(size, FixedSize):
        if (height, width) == default:
            return default
        taken = f"{size.height} x {size.width} pixels (height x width) only"
    elif _allowed(size, height, width) and _padded(size, height, width) == (height, width):
        return height, width
    else:
        taken = _limits(size)
        taken += f"; sides are multiples of {size.stride}" if size.stride > 1 else ""
    errors.add("height", f"this model makes {taken}, not {height} x {width}")
    return default


def _fixed(size: FixedSize, whole: Box, fit: Fit) -> Fitting:
    outer = (size.height, size.width)
    _, _, width, height = whole
    if fit == "pad":
        factor = min(size.height / height, size.width / width)
        inner = max(1, round(height * factor)), max(1, round(width * factor))
        corner = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
        return Fitting(whole, inner, outer, corner)
    if fit == "stretch":
        return Fitting(whole, outer, outer)
    factor = max(size.height / height, size.width / width)
    left = max(0.0, (width - size.width / factor) / 2)
    top = max(0.0, (height - size.height / factor) / 2)
    return Fitting((left, top, width - left, height - top), outer, outer)


def _padded(size: FreeSize, height: int, width: int) -> tuple[int, int]:
    """The next multiples of the stride."""
    return -(-height // size.stride) * size.stride, -(-width // size.stride) * size.stride


def _allowed(size: FreeSize, height: int, width: int) -> bool:
    """Whether a picture is not too small, and with its padding not too large."""
    rows, columns = _padded(size, height, width)
    return (
        min(height, width) >= size.min_side
        and max(rows, columns) <= size.max_side
        and rows * columns <= size.max_pixels
    )


def _scaled(size: FreeSize, height: int, width: int) -> tuple[int, int] | None:
    """The nearest size of the same shape that is allowed, if there is one."""
    factor = size.min_side / min(height, width)
    if factor < 1:
        area = math.sqrt(size.max_pixels / (height * width))
        factor = min(1.0, size.max_side / max(height, width), area)
    while min(scaled := (round(height * factor), round(width * factor))) >= size.min_side:
        if _allowed(size, *scaled):
            return scaled
        factor *= _SHRINK
    return None


def _limits(size: FreeSize) -> str:
    padded = f", padded to multiples of {size.stride}" if size.stride > 1 else ""
    return f"sides of {size.min_side} to {size.max_side} pixels, {size.max_pixels} in all{padded}"
