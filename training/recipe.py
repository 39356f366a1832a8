"""The types that every system is made of.

Axis letters, project-wide: N batch, C channels, H, W, Z latent, K classes.

A recipe holds networks and the losses that train them. It knows no optimiser, device, file or
loop: phases are data, and a loss is a plain method that returns named, weighted terms. The trainer
sums them; the dict is both the loss and the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from torch import Tensor, nn

Terms = dict[str, Tensor]
"""Name -> weighted scalar; a phase minimises their sum."""


@dataclass(frozen=True)
class Batch:
    """Real images and what they come with, on the training device.

    Args:
        x: [N, C, H, W] float32 in [-1, 1]: what must be produced.
        y: [N] int64 class indices.
        source: [N, C', H, W] float32 in [-1, 1]: what it is produced from.
        text: [N, length] int64 token ids.
    """

    x: Tensor
    y: Tensor | None = None
    source: Tensor | None = None
    text: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)


MOST = 2**16
"""Of images in a batch, and of units or channels in a layer: beyond is a slip of the pen."""


SURVEYED = 1024
"""Training images that a recipe looks at before it is kept."""


class Settings(BaseModel):
    """A frozen part of the configuration that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class _Decaying(Settings):
    """A learning rate, constant until ``decay_from`` of the run's images, then linear to zero."""

    lr: float = Field(2e-4, gt=0)
    decay_from: float = Field(1.0, ge=0, le=1, description="share of the run; 1 is never")

    def rate(self, progress: float) -> float:
        """The learning rate at ``progress`` in [0, 1] of the run."""
        if progress <= self.decay_from:
            return self.lr
        return self.lr * max(0.0, 1 - progress) / (1 - self.decay_from)


class Adam(_Decaying):
    """Kingma & Ba 2015 (arXiv:1412.6980)."""

    kind: Literal["adam"] = "adam"
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)


class Sgd(_Decaying):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(0.0, ge=0, lt=1)


def _kind(settings: Any) -> str | None:  # noqa: ANN401 - whatever the YAML says
    """Adam unless told otherwise; none for what is no section."""
    if isinstance(settings, dict):
        return str(settings.get("kind", "adam"))
    return settings.kind if isinstance(settings, Adam | Sgd) else None


Optimizer = Annotated[
    Annotated[Adam, Tag("adam")] | Annotated[Sgd, Tag("sgd")], Discriminator(_kind)
]


@dataclass(frozen=True)
class Shape:
    """What the data looks like to a recipe: square pictures, and the names of their classes.

    ``source_channels`` is of what each is produced from; none where the data has no pairs.
    ``vocabulary`` is how many tokens its captions are made of, 0 without any. ``domains`` names the
    two sides of data whose sources are not those of their pictures.
    """

    channels: int
    size: int
    classes: tuple[str, ...] = ()
    source_channels: int | None = None
    vocabulary: int = 0
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """One optimiser step: which module learns, and what it minimises.

    Args:
        name: short; prefixes its terms in the log (``d/adversarial``).
        learns: the only parameters that this phase changes.
        loss: takes a fresh batch and the images seen so far in the run.
        optimizer: as data; the trainer builds it.
        repeats: steps in a row, each on a batch of its own.
        joined: the last of these steps is taken together with the next phase's, both gradients
            being of the weights before either.
    """

    name: str
    learns: nn.Module
    loss: Callable[[Batch, int], Terms]
    optimizer: Adam | Sgd
    repeats: int = 1
    joined: bool = False


class Recipe(nn.Module):
    """Networks and the losses that train them.

    ``generator`` is kept as a moving average (EMA) by the trainer, and is what gets exported.
    """

    generator: nn.Module

    def phases(self) -> tuple[Phase, ...]:
        """The steps of one iteration, in order."""
        raise NotImplementedError

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Fresh arguments of ``generator`` for one image per row of ``batch``."""
        raise NotImplementedError

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars worth watching, computed once a tick in eval mode and without gradients."""
        return {}

    def survey(self, batches: Iterable[Batch]) -> None:
        """Look at ``SURVEYED`` training images before it is kept; in eval mode, without gradients.

        They are a sample of the data, as they are. What is kept of them is in buffers that no loss
        reads.
        """
