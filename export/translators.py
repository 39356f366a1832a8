"""What translators take: a picture of any size, and what is drawn or chosen beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from export.manifest import (
    FreeSize,
    Image,
    ImageOutput,
    Input,
    Label,
    Latent,
    Noise,
    Output,
    VectorOutput,
)
from training.styles import LEAST_SIDE, StyleTranslator
from training.unet import KEEP, Translator

_MOST_SIDE, _MOST_PIXELS = 1024, 2**20
_UNNAMED = ("source", "target")  # domains of pairs, which need no names to learn from


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


class Look(nn.Module):
    """Pictures to their styles: the half of a translator that ``encode`` asks."""

    def __init__(self, translator: StyleTranslator) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, image: Tensor) -> Tensor:
        """Styles [N, Z], as the translator takes them."""
        return self.translator.style(image)


Part = tuple[nn.Module, Sequence[Input], Sequence[Output]]


def domain_parts(translator: StyleTranslator, dataset: dict[str, Any]) -> dict[str, Part]:
    """A translator between domains, which are its classes, and what tells it a picture's style."""
    channels, shape = dataset["channels"], (translator.latent,)
    image = Image(name="image", channels=channels)
    domains = Label(name="label", classes=tuple(dataset.get("domains") or _UNNAMED))
    answer = ImageOutput(name="translation", channels=channels)
    return {
        "translator": (translator, [image, domains, Latent(name="style", shape=shape)], [answer]),
        "style": (Look(translator), [image], [VectorOutput(name="style", shape=shape)]),
    }


def translator_size(translator: Translator | StyleTranslator, side: int) -> FreeSize:
    """Any size of its stride, up to a megapixel; ``side`` is that of training."""
    normed = 2 * translator.stride if isinstance(translator, StyleTranslator) else 1  # two places
    return FreeSize(
        min_side=max(min(LEAST_SIDE, side), normed),
        max_side=max(_MOST_SIDE, side),
        max_pixels=max(_MOST_PIXELS, side**2),
        stride=translator.stride,
        warm=((side, side),),
    )
