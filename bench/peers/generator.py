"""What every peer serves: seeds to PNG files, by the graph that Ganymede serves too.

The programs in this folder run in environments of their own, and import nothing of Ganymede. The
draw is that of ``export/draw.py``, so that a seed gives everybody the same picture.
"""

import base64
import io
import json
import random
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


class Generator:
    """An ONNX Runtime session, and what its inputs are called.

    Args:
        path: of a JSON file with ``onnx`` (a path, from there), ``latent`` (its name), ``shape``
            (of the latent), ``scalars`` (name to value) and ``image`` (its name).
        threads: of one inference.
    """

    def __init__(self, path, threads=1):
        self.model = json.loads(Path(path).read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            str(Path(path).parent / self.model["onnx"]), options, providers=["CPUExecutionProvider"]
        )

    def answers(self, requests):
        """One reply for each request; all their pictures are computed as one batch."""
        seeds = [seeds_of(request) for request in requests]
        files = self.pictures([seed for group in seeds for seed in group])
        return [{"images": files[end - len(group) : end]} for group, end in grouped(seeds)]

    def answer(self, request):
        """The reply to one request."""
        return {"images": self.pictures(seeds_of(request))}

    def pictures(self, seeds):
        """Each seed's picture: a PNG file as base64."""
        latents = np.stack([self.draw(seed) for seed in seeds])
        feed = {
            name: np.full(len(seeds), value, np.float32)
            for name, value in self.model["scalars"].items()
        }
        feed[self.model["latent"]] = latents
        (images,) = self.session.run([self.model["image"]], feed)
        return [base64.b64encode(png(image)).decode() for image in images]

    def draw(self, seed):
        """The latent of a seed, float32 [Z]."""
        key = np.array([seed, zlib.crc32(self.model["latent"].encode())], np.uint64)
        stream = np.random.Generator(np.random.Philox(key=key))
        return stream.standard_normal(self.model["shape"], np.float32)


def seeds_of(request):
    """The seeds of a request's pictures; a request that names none is given one."""
    seed = request.get("seed")
    if seed is None:
        seed = random.getrandbits(53)
    return [(seed + k) % 2**53 for k in range(request.get("num_images", 1))]


def grouped(groups):
    """Each group with the end of its place in all of them together."""
    end = 0
    for group in groups:
        end += len(group)
        yield group, end


def png(image):
    """A PNG file by Pillow at level 1, the quickest that compresses."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
