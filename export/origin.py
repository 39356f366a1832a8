"""Where a bundle comes from, and how good it is: what its manifest says besides the graphs."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from export.fields import Sha256
from export.size import Frozen


class File(Frozen):
    """What a file of the bundle must be."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


# What parity allows, of exporting and of serving.
FLOAT_LIMIT = 1e-4  # of a float output
LEVEL_LIMIT = 1  # of 255
SHARE_LIMIT = 1e-3  # of the uint8 values that may differ at all


NO_PARITY = (
    "its manifest has no parity record: whether it is the generator that was trained is not known; "
    "export it again"
)


class Parity(Frozen):
    """How far the exported graphs are from the eager generator, worst case over ``batches``.

    An ONNX file that was brought along has no other implementation: None, and rows alone count.
    """

    batches: tuple[int, ...]
    onnx_max_abs: float | None  # float output before quantisation
    torchscript_max_abs: float | None
    max_levels: int  # of 255, after quantisation
    pixels_differing: float  # share of uint8 values that differ at all
    row_max_abs: float  # a row beside other neighbours; 0 is exact

    @property
    def excess(self) -> tuple[str, ...]:
        """What is past its limit, in words."""
        measured = (
            ("onnx_max_abs", self.onnx_max_abs, FLOAT_LIMIT),
            ("torchscript_max_abs", self.torchscript_max_abs, FLOAT_LIMIT),
            ("max_levels", self.max_levels, LEVEL_LIMIT),
            ("pixels_differing", self.pixels_differing, SHARE_LIMIT),
            ("row_max_abs", self.row_max_abs, FLOAT_LIMIT),
        )
        return tuple(
            f"{name} is {value:g}, more than {limit:g}"
            for name, value, limit in measured
            if value is not None and not value <= limit  # nor may it be no number
        )


class Licence(Frozen):
    """Inherited from the data the generator learnt from."""

    name: str
    attribution: str = ""


class Provenance(Frozen):
    """How to make this bundle again; None is not known, of a generator not trained here."""

    preset: str
    system: str
    dataset: str
    dataset_fingerprint: str | None
    dataset_images: int | None
    images_seen: int | None
    seed: int | None
    git_commit: str | None
    config: dict[str, Any]
    versions: dict[str, str]


class Quality(Frozen):
    """A measured number; ``reference`` is the same for real test images, where it exists.

    Where a figure has none of real images, a plain baseline stands there: the protocol says what.
    """

    metric: str
    value: float
    spread: float | None = None  # standard deviation, of what is a mean
    reference: float | None = None
    samples: int
    protocol: str


class Diagnosis(Frozen):
    """The named verdict of ``ganymede diagnose`` on the run."""

    verdict: str
    detail: str = ""
