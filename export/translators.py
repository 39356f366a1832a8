"""What a translator takes: a picture of any size, its dropout and, if it has one, its latent."""

from __future__ import annotations

from typing import Literal

from export.manifest import FreeSize, Image, Input, Latent, Noise
from training.unet import KEEP, Translator

_LEAST_SIDE, _MOST_SIDE, _MOST_PIXELS = 16, 1024, 2**20


def translator_inputs(translator: Translator, channels: Literal[1, 3, 4]) -> tuple[Input, ...]:
    """In order: the picture, z where there is one, and the masks of its dropout."""
    masks = [
        Noise(
            name=f"dropout_{number}",
            shape=(width, f"height//{square}", f"width//{square}"),
            distribution="bernoulli",
            keep=KEEP,
        )
        for number, (width, square) in enumerate(translator.mask_shapes, 1)
    ]
    latent = [Latent(name="z", shape=(translator.latent,))] if translator.latent else []
    return (Image(name="image", channels=channels), *latent, *masks)


def translator_size(translator: Translator, side: int) -> FreeSize:
    """Any size of its stride, up to a megapixel; ``side`` is that of training."""
    return FreeSize(
        min_side=min(_LEAST_SIDE, side),
        max_side=max(_MOST_SIDE, side),
        max_pixels=max(_MOST_PIXELS, side**2),
        stride=translator.stride,
        warm=((side, side),),
    )
