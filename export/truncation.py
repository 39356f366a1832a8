"""The knob of a generator from a latent: how far z is from its mean."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from export.manifest import Scalar


class Truncated(nn.Module):
    """A generator whose z is scaled towards its mean, which is 0, by a knob per row.

    z and the knob are the first and the last input: ``(z, truncation)`` or
    ``(z, label, truncation)``.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        *conditions, truncation = rest
        return cast(Tensor, self.generator(z * truncation[:, None], *conditions))


TRUNCATION = Scalar(
    name="truncation",
    low=0.0,
    high=1.0,
    default=1.0,
    description="z is multiplied by it: 1 is the full variety, 0 the picture at the mean of z.",
)
