"""The sizes of the pictures that a bundle takes or makes, in pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """A part of a manifest: it never changes, and refuses fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FixedSize(Frozen):
    """Every picture has this height and width."""

    kind: Literal["fixed"] = "fixed"
    height: int = Field(gt=0)
    width: int = Field(gt=0)

    def examples(self) -> list[tuple[int, int]]:
        """Sizes [height, width] at which every formula must hold."""
        return [(self.height, self.width)]


class FreeSize(Frozen):
    """Pictures between two sides, a multiple of ``stride``; ``warm`` lists [height, width]."""

    kind: Literal["free"] = "free"
    min_side: int = Field(gt=0)
    max_side: int = Field(gt=0)
    max_pixels: int = Field(gt=0)
    stride: int = Field(1, gt=0)
    warm: tuple[tuple[int, int], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sizes_are_allowed(self) -> FreeSize:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}")
        for height, width in self.warm:
            sides = (height, width)
            if (
                min(sides) < self.min_side
                or max(sides) > self.max_side
                or height * width > self.max_pixels
                or any(side % self.stride for side in sides)
            ):
                raise ValueError(f"warm lists {height}x{width}, which the limits do not allow")
        return self

    def examples(self) -> list[tuple[int, int]]:
        """Sizes [height, width] at which every formula must hold."""
        smallest = -(-self.min_side // self.stride) * self.stride
        return [(smallest, smallest), *self.warm]


Size = Annotated[FixedSize | FreeSize, Field(discriminator="kind")]
