"""The systems: an explicit table from a name to its configuration and its stages.

``stages(config, shape)`` yields a Recipe per stage of the run; what follows a ``yield`` runs when
that stage is trained. Nearly every system has one stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from training.recipe import Recipe, Shape
from training.recipes import autoencoder, cgan, dcgan, ebgan, gan, pix2pix, text, unpaired, vae


@dataclass(frozen=True)
class System:
    """How to build a system. Its data must have classes if ``conditional``, pairs if ``paired``."""

    stages: Callable[[Any, Shape], Iterator[Recipe]]
    conditional: bool = False
    paired: bool = False


SYSTEMS: dict[str, System] = {
    "gan": System(gan.stages),
    "dcgan": System(dcgan.stages),
    "cgan": System(cgan.stages, conditional=True),
    "autoencoder": System(autoencoder.stages),
    "vae": System(vae.stages),
    "ebgan": System(ebgan.stages),
    "pix2pix": System(pix2pix.stages, paired=True),
    "text": System(text.stages),
    "unpaired": System(unpaired.stages, paired=True),
}

RecipeConfig = Annotated[
    gan.GANConfig
    | dcgan.DCGANConfig
    | cgan.CGANConfig
    | autoencoder.AutoencoderConfig
    | vae.VAEConfig
    | ebgan.EBGANConfig
    | pix2pix.Pix2PixConfig
    | text.TextConfig
    | unpaired.UnpairedConfig,
    Field(discriminator="system"),
]
