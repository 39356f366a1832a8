"""What is measured must be the right pictures: pixel for pixel, and in files that are not large."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from bench.command import BenchError
from bench.loads import Served
from export.draw import draw, image_seed
from export.manifest import Graph, ImageOutput, Latent, Scalar
from export.rows import Rows

SEED, CHECKED = 20, 16  # the first seed, and how many pictures

Pixels = NDArray[np.uint8]


def check(body: bytes, model: Served) -> float:
    """Compare the answer to SEED and CHECKED with the pictures that the graph makes of them.

    Returns:
        The largest size of a file beside that of Pillow's at level 1.

    Raises:
        BenchError: a picture is another one.
    """
    found = [_file(image) for image in json.loads(body)["images"]]
    expected = reference(model)
    if len(found) != len(expected):
        raise BenchError(f"{len(found)} pictures came for {model.name}, not {len(expected)}")
    ratios = []
    for k, (file, pixels) in enumerate(zip(found, expected, strict=True)):
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(file))), pixels):
            raise BenchError(f"picture {k} of {model.name} is not what its seed makes")
        ratios.append(len(file) / len(pillow_png(pixels)))
    return max(ratios)


def _file(image: str | dict[str, Any]) -> bytes:
    """Ours come with their seeds, a peer's alone."""
    return base64.b64decode(image["data"] if isinstance(image, dict) else image)


def reference(model: Served) -> Pixels:
    """The pictures of SEED, uint8 [N, H, W, C]."""
    return _reference(model.onnx, model.graph, model.size.height, model.size.width)


@lru_cache(maxsize=2)
def _reference(onnx: Path, graph: Graph, height: int, width: int) -> Pixels:
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    seeds = [image_seed(SEED, k) for k in range(CHECKED)]
    (pixels,) = session.run([roles(graph)[2]], feed(graph, seeds, height, width))
    return np.asarray(pixels, np.uint8)


def feed(graph: Graph, seeds: Sequence[int], height: int, width: int) -> Rows:
    """The inputs of the graph for seeds, one row each; scalars have their defaults."""
    latent, scalars, _ = roles(graph)
    drawn: Rows = {latent.name: draw(latent, seeds, height, width)}
    return drawn | {name: np.full(len(seeds), v, np.float32) for name, v in scalars.items()}


def roles(graph: Graph) -> tuple[Latent, dict[str, float], str]:
    """The latent of a plain generator, its scalars with their defaults, and its image.

    Raises:
        BenchError: the graph has other inputs, which the peers' programs do not fill.
    """
    latents = [entry for entry in graph.inputs if isinstance(entry, Latent)]
    scalars = {entry.name: entry.default for entry in graph.inputs if isinstance(entry, Scalar)}
    if len(latents) != 1 or len(scalars) + 1 != len(graph.inputs):
        raise BenchError("only generators of one latent and scalars are compared")
    image = next(entry.name for entry in graph.outputs if isinstance(entry, ImageOutput))
    return latents[0], scalars, image


def pillow_png(image: Pixels) -> bytes:
    """A PNG file by Pillow at level 1."""
    stream = io.BytesIO()
    flat = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(flat).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
