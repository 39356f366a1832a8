"""Which trials a sitting has, and what an answer means.

A sitting is of one model. In ``pairs`` a real and a generated picture stand side by side, and the
question is which was generated; in ``single`` there is one picture, and the question is whether it
was. The first trials are practice, with feedback; the others are counted, and tell nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["pairs", "single"]
Answer = Literal["left", "right", "real", "generated"]
ANSWERS: dict[Kind, tuple[Answer, ...]] = {
    "pairs": ("left", "right"),
    "single": ("real", "generated"),
}


class Protocol(BaseModel):
    """What must not change while a study runs. The defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "pairs"
    exposure_ms: int = Field(1000, gt=0)
    practice: int = Field(10, ge=0)
    trials: int = Field(40, ge=1)
    same_subject: bool = False  # a pair shows one subject: the files have one name
    real: str  # digests of the pictures
    generated: dict[str, str]  # by the model's name

    @property
    def length(self) -> int:
        """Trials in a sitting, practice included."""
        return self.practice + self.trials


@dataclass(frozen=True)
class Trial:
    """One question: the names of its pictures, from left to right, and which were generated."""

    names: tuple[str, ...]
    generated: tuple[bool, ...]

    @property
    def truth(self) -> Answer:
        """The answer that is right."""
        if len(self.names) == 2:
            return "left" if self.generated[0] else "right"
        return "generated" if self.generated[0] else "real"


def plan_trials(
    protocol: Protocol, real: Collection[str], generated: Collection[str], draw: random.Random
) -> list[Trial]:
    """The trials of one sitting, practice first. No picture is shown twice.

    Args:
        protocol: of the study.
        real: names of the real pictures, at least ``protocol.length``.
        generated: names of the model's pictures, likewise; the same names where a pair shows the
            same subject.
        draw: makes the choices.
    """
    fakes = draw.sample(sorted(generated), protocol.length)
    truths = fakes if protocol.same_subject else draw.sample(sorted(real), protocol.length)
    if protocol.kind == "pairs":
        return [
            _pair(*names, fake_left=draw.random() < 0.5)
            for names in zip(fakes, truths, strict=True)
        ]
    shown = [
        each
        for count in (protocol.practice, protocol.trials)
        for each in draw.sample(_halves(count), count)
    ]
    pictures = zip(fakes, truths, shown, strict=True)
    return [Trial((fake if made else true,), (made,)) for fake, true, made in pictures]


def _pair(fake: str, true: str, *, fake_left: bool) -> Trial:
    if fake_left:
        return Trial((fake, true), (True, False))
    return Trial((true, fake), (False, True))


def _halves(count: int) -> Sequence[bool]:
    """As many of either as can be."""
    return [k % 2 == 0 for k in range(count)]
