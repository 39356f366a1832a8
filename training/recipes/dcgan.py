"""Deep convolutional GAN. Radford et al. 2016 (arXiv:1511.06434)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from training import convolutional
from training.layers import MinibatchDeviation, MinibatchDiscrimination, initialise, pack, spectral
from training.recipe import MOST, Recipe, Shape
from training.recipes.gan import GAN, ObjectiveConfig


class DCGANConfig(convolutional.ConvolutionalConfig, ObjectiveConfig):
    """An unconditional convolutional pair, whose discriminator may see a batch as a whole."""

    system: Literal["dcgan"]
    minibatch_kernels: int = Field(
        0, ge=0, le=MOST, description="of minibatch discrimination; 0 is none, 100 the paper's"
    )
    minibatch_dims: int = Field(5, gt=0, le=MOST, description="of each of these kernels")
    minibatch_deviation: bool = Field(False, description="tell how much features vary in a batch")
    packing: int = Field(1, gt=0, le=64, description="pictures that are judged together")


class Discriminator(nn.Module):
    """[N, C, H, W] -> [N / packing] logits."""

    def __init__(self, config: DCGANConfig, image: Shape) -> None:
        super().__init__()
        self.packing = config.packing
        self.features = convolutional.Features(config, image.channels * config.packing, image.size)
        self.neighbours, outputs = nn.Sequential(), self.features.outputs
        if config.minibatch_kernels:
            kernels = config.minibatch_kernels
            self.neighbours.append(MinibatchDiscrimination(outputs, kernels, config.minibatch_dims))
            outputs += kernels
        if config.minibatch_deviation:
            self.neighbours.append(MinibatchDeviation())
            outputs += 1
        self.last = spectral(nn.Linear(outputs, 1), config.d_norm)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        features = self.features(pack(images, self.packing))
        return self.last(self.neighbours(features)).squeeze(1)  # type: ignore[no-any-return]


def stages(config: DCGANConfig, image: Shape) -> Iterator[Recipe]:
    """One stage: the convolutional pair."""
    recipe = GAN(config)
    recipe.generator = convolutional.Generator(config, config.latent, image)
    recipe.discriminator = Discriminator(config, image)
    initialise(recipe, config.initial_std)
    yield recipe
