"""A file as a user of ``ganymede export --module`` has it: networks, and functions that make them.

And, below, how that user would export them to ONNX themselves.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Translator(nn.Module):
    """[N, 3, H, W] -> [N, 3, H, W] in [0, 1], of any size that 4 divides; ``strength`` mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 4, 2, 1),
            nn.InstanceNorm2d(6, affine=True),
            nn.ReLU(),
            nn.Conv2d(6, 6, 4, 2, 1),
            nn.Dropout(0.5),
            nn.ConvTranspose2d(6, 6, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 3, 4, 2, 1),
        )

    def forward(self, image: Tensor, strength: Tensor) -> Tensor:
        other = torch.sigmoid(self.layers(image))
        mixed: Tensor = torch.lerp(image, other, strength[:, None, None, None])
        return mixed


class Encoder(nn.Module):
    """[N, 1, 8, 8] -> [N, 5], [N]: a code, and how likely the picture is."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten())
        self.to_code, self.to_score = nn.Linear(64, 5), nn.Linear(64, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(image)
        return self.to_code(features), self.to_score(features).squeeze(1)


class Generator(nn.Module):
    """[N, 6], [N] -> [N, 3, 8, 12] in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2, 6)
        self.layer = nn.Linear(6, 3 * 8 * 12)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        flat = torch.tanh(self.layer(z * self.embedding(label)))
        return flat.view(-1, 3, 8, 12)


def _seeded(network: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) / 3)
    return network


def make_translator() -> nn.Module:
    """A network still in training mode, as many a script leaves it."""
    return _seeded(Translator())


def make_encoder() -> nn.Module:
    """Two tasks in one network."""
    return _seeded(Encoder())


def make_generator() -> nn.Module:
    """With classes."""
    return _seeded(Generator())


TRANSLATOR = """
description: Photographs to something else.
licence: {name: CC-BY-4.0, attribution: Photographs by A. Nonymous}
data: our photographs
tasks: [translate]
size: {kind: free, min_side: 8, max_side: 64, max_pixels: 4096, stride: 4, warm: [[16, 16]]}
inputs:
  - {role: image, name: image, channels: 3, low: 0, high: 1}
  - {role: scalar, name: strength, low: 0, high: 1, default: 0.75}
outputs:
  - {kind: image, name: picture, channels: 3, low: 0, high: 1}
"""

ENCODER = """
description: A code of a digit, and how likely it is.
licence: {name: CC0-1.0}
tasks: [encode, score]
size: {kind: fixed, height: 8, width: 8}
inputs:
  - {role: image, name: image, channels: 1}
outputs:
  - {kind: vector, name: code, shape: [5]}
  - {kind: score, name: likelihood}
"""

GENERATOR = """
description: Cats and dogs.
licence: {name: CC0-1.0}
tasks: [generate]
size: {kind: fixed, height: 8, width: 12}
inputs:
  - {role: latent, name: z, shape: [6]}
  - {role: label, name: label, classes: [cat, dog]}
outputs:
  - {kind: image, name: image, channels: 3}
"""


def write_spec(folder: Path, text: str) -> Path:
    """A spec as a file."""
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def write_onnx(
    folder: Path,
    network: nn.Module,
    example: dict[str, Tensor],
    outputs: list[str],
    *,
    fixed: tuple[int, ...] = (),
) -> Path:
    """The network as ONNX, by its owner's hands.

    Args:
        folder: to write into.
        network: put into eval mode.
        example: of its inputs, by name.
        outputs: their names.
        fixed: axes that are left as they are in the example; every other is free.
    """
    path = folder / "network.onnx"
    axes = {
        name: {k: f"axis{k}" for k in range(tensor.dim()) if k not in fixed}
        for name, tensor in example.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and the quickest
        torch.onnx.export(
            network.eval(),
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=outputs,
            dynamic_axes=axes | {name: {0: "axis0"} for name in outputs if 0 not in fixed},
            opset_version=17,
            dynamo=False,
        )
    return path
