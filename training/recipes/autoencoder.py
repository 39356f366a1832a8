"""Autoencoder: a picture through a few numbers and back. Rumelhart et al. 1986 (Nature 323).

Without hidden layers and with 16 numbers for 8x8 blocks it is the 64-16-64 network of Cottrell,
Munro & Zipser 1987; linear, it can but learn the space of principal component analysis (Baldi &
Hornik 1989). No layer normalises over the batch: encoder and decoder are used apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from training.layers import levels
from training.losses import mean_squared_error
from training.recipe import MOST, Adam, Batch, Optimizer, Phase, Recipe, Settings, Shape, Terms

Width = Annotated[int, Field(gt=0, le=MOST)]
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "linear": nn.Identity}


class CodedConfig(Settings):
    """The shape of an encoder, and of the decoder that mirrors it."""

    latent: Width = Field(16, description="Z, the numbers that a picture goes through")
    network: Literal["perceptron", "convolutional"] = "perceptron"
    hidden: tuple[Width, ...] = Field((), description="widths of a perceptron, from the picture on")
    base_channels: Width = Field(16, description="of convolutions; doubled at each halving")
    activation: Literal["tanh", "relu", "linear"] = "tanh"
    optimizer: Optimizer = Adam(lr=1e-3, beta1=0.9)


class AutoencoderConfig(CodedConfig):
    """An autoencoder trained on the squared error."""

    system: Literal["autoencoder"]
    code: Literal["tanh", "linear"] = Field("tanh", description="tanh: each of Z within (-1, 1)")
    output: Literal["tanh", "linear"] = Field("tanh", description="of pixels; linear may overshoot")
    blocks: bool = Field(False, description="to be served for pictures of any size, block by block")


def encoder(config: CodedConfig, image: Shape, outputs: int) -> nn.Sequential:
    """[N, C, H, W] -> [N, ``outputs``], linear at its end."""
    activation = ACTIVATIONS[config.activation]
    layers: list[nn.Module] = []
    inputs = image.channels * image.size**2
    if config.network == "convolutional":
        widths, side = _levels(config, image)
        for wide, wider in pairwise(widths):
            layers += [nn.Conv2d(wide, wider, 4, 2, 1), activation()]
        inputs = widths[-1] * side * side
    layers += [nn.Flatten()]
    for wide, narrow in pairwise((inputs, *config.hidden)):
        layers += [nn.Linear(wide, narrow), activation()]
    return nn.Sequential(*layers, nn.Linear((inputs, *config.hidden)[-1], outputs))


def decoder(config: CodedConfig, image: Shape) -> nn.Sequential:
    """[N, Z] -> [N, C, H, W], the mirror of ``encoder``, linear at its end."""
    activation = ACTIVATIONS[config.activation]
    shape = (image.channels, image.size, image.size)
    layers: list[nn.Module] = []
    if config.network == "convolutional":
        widths, side = _levels(config, image)
        shape = (widths[-1], side, side)
    units = (config.latent, *reversed(config.hidden))
    for narrow, wide in pairwise(units):
        layers += [nn.Linear(narrow, wide), activation()]
    layers += [nn.Linear(units[-1], shape[0] * shape[1] * shape[2]), nn.Unflatten(1, shape)]
    if config.network == "convolutional":
        for wider, wide in pairwise(reversed(widths)):
            layers += [activation(), nn.ConvTranspose2d(wider, wide, 4, 2, 1)]
    return nn.Sequential(*layers)


def _levels(config: CodedConfig, image: Shape) -> tuple[list[int], int]:
    halvings, side = levels(image.size)
    widths = [config.base_channels * 2**level for level in range(halvings)]
    return [image.channels, *widths], side


class Coder(nn.Module):
    """Both halves; pictures [N, C, H, W] in [-1, 1], codes [N, Z]."""

    def __init__(self, config: AutoencoderConfig, image: Shape) -> None:
        super().__init__()
        self.latent = config.latent
        self.encoder = encoder(config, image, config.latent)
        self.decoder = decoder(config, image)
        self.code = ACTIVATIONS[config.code]()
        self.output = ACTIVATIONS[config.output]()

    def encode(self, images: Tensor) -> Tensor:
        """The codes of pictures."""
        return self.code(self.encoder(images).float())  # type: ignore[no-any-return]

    def decode(self, codes: Tensor) -> Tensor:
        """The pictures of codes."""
        return self.output(self.decoder(codes).float())  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """The pictures again, as well as their codes tell them."""
        return self.decode(self.encode(images))


class Autoencoder(Recipe):
    """Reconstruction through a narrow place."""

    generator: Coder

    def __init__(self, config: AutoencoderConfig, image: Shape) -> None:
        super().__init__()
        self.config = config
        self.generator = Coder(config, image)

    def phases(self) -> tuple[Phase, ...]:
        """One step of both halves together."""
        return (Phase("ae", self.generator, self.loss, self.config.optimizer),)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The pictures: what is sampled is their reconstruction."""
        return (batch.x,)

    def loss(self, batch: Batch, images: int) -> Terms:
        """Give the picture back."""
        return {"reconstruction": mean_squared_error(self.generator(batch.x), batch.x)}

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """The peak signal-to-noise ratio of a batch; pixels span 2."""
        error = mean_squared_error(self.generator(batch.x), batch.x)
        return {"psnr_db": 10 * (4 / error.clamp_min(1e-10)).log10()}


def stages(config: AutoencoderConfig, image: Shape) -> Iterator[Recipe]:
    """One stage: both halves."""
    yield Autoencoder(config, image)
