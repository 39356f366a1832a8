"""Small generators and a trained run of them, as `training` would hand them over."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from training.config import validate
from training.recipe import Recipe
from training.run import LoadedRun

CLASSES = ("cat", "dog", "fox")
LATENT = 6


class Convolutional(nn.Module):
    """[N, Z] -> [N, C, 8, 8]: transposed convolutions and batch norm, as DCGAN has them."""

    def __init__(self, channels: int = 1, norm: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.latent = LATENT
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(LATENT, 8, 4),
            norm(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, channels, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        pictures: Tensor = self.layers(z[:, :, None, None])
        return pictures


class Perceptron(nn.Module):
    """[N, Z] -> [N, 1, 4, 6]: another shape, and not square."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = LATENT
        self.layers = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, 24), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        pictures: Tensor = self.layers(z).view(-1, 1, 4, 6)
        return pictures


class Conditional(nn.Module):
    """[N, Z], [N] -> [N, 3, 8, 8]."""

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.latent, self.classes = LATENT, classes
        self.embedding = nn.Embedding(classes, LATENT)
        self.inner = Convolutional(3)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        pictures: Tensor = self.inner(z * self.embedding(y))
        return pictures


def seeded(generator: nn.Module) -> nn.Module:
    """The same weights every time, large enough for pictures that differ, in eval mode."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) / 2)
    return generator.eval()


def loaded_run(
    generator: nn.Module,
    system: str = "dcgan",
    classes: tuple[str, ...] = (),
    source: str = "animals",
    **recipe_settings: object,
) -> LoadedRun:
    """A trained run, as far as an export looks at it."""
    recipe = Recipe()
    recipe.generator = generator
    dataset = {
        "name": "animals",
        "fingerprint": "ab" * 32,
        "licence": "CC-BY-4.0",
        "attribution": "Photographs by A. Nonymous",
        "classes": list(classes),
        "images": 120,
    }
    raw = {
        "preset": "test",
        "recipe": {"system": system, **recipe_settings},
        "data": {"source": source, "size": 8},
        "schedule": {"kimg": 64, "seed": 5},
    }
    config = validate(raw, "test")
    return LoadedRun(Path("runs/00001-test"), config, recipe, 64_000, dataset)


def conditional_run() -> LoadedRun:
    return loaded_run(seeded(Conditional()), "cgan", CLASSES)
