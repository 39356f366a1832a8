"""From a plan to the rows of a graph: every input is filled by its role."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.dimension import resolve_shape
from export.draw import draw, slerp
from export.manifest import Graph, Image, Input
from export.tokens import Reading
from service.fitting import Fitting
from service.images import Picture, Pixels
from service.rows import Rows
from service.schemas import Interpolation

Floats = NDArray[np.float32]

INLINE_ELEMENTS = 2**14  # to make these takes about as long as to hand them to a thread: 0.1 ms


@dataclass(frozen=True, slots=True)
class Expected:
    """Rows that are not made yet: what is known of them by their number and size."""

    graph: Graph
    height: int
    width: int
    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def row_elements(self) -> int:
        """Numbers in one row."""
        return self.graph.row_size(self.height, self.width).elements

    @property
    def nbytes(self) -> int:
        """Bytes of them all."""
        return self.count * self.graph.row_size(self.height, self.width).nbytes


@dataclass(frozen=True, eq=False)
class Source:
    """The picture that a request starts from, and how it comes to the graph's size."""

    picture: Picture
    fitting: Fitting


@dataclass(slots=True, eq=False)  # not frozen, as to make one would take several times as long
class Plan:
    """A request fitted to a graph: everything that its pictures depend on, before any draw."""

    graph: Graph
    height: int  # of the graph's rows
    width: int
    seeds: tuple[int, ...]  # one per image; the same for all on the way between two seeds
    seed_was_drawn: bool
    labels: tuple[int, ...] | None  # one class per image
    scalars: dict[str, float]
    latents: Floats | None  # [N, *shape]
    interpolate: Interpolation | None
    source: Source | None = None
    reading: Reading | None = None  # the text, as the graph takes it
    reference: Plan | None = None  # of another graph, whose answer is latents of this one
    told: Mapping[str, Floats] = field(repr=False, default_factory=dict)  # these, once it came
    classes: tuple[str, ...] = field(repr=False, default=())

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def told_seeds(self) -> tuple[int | None, ...]:
        """For each image, the seed that is this image when asked for alone, if there is one."""
        if self.latents is not None or self.interpolate is not None:
            return (None,) * len(self)
        return self.seeds

    @property
    def label_names(self) -> tuple[str | None, ...]:
        """For each image, its class, if the model has classes."""
        if self.labels is None:
            return (None,) * len(self)
        return tuple(self.classes[label] for label in self.labels)

    @property
    def picture_size(self) -> tuple[int, int]:
        """The height and width of the pictures that the client gets, if the graph keeps them."""
        return self.source.fitting.inner if self.source else (self.height, self.width)

    def cut_out(self, pictures: Pixels) -> Pixels:
        """The graph's pictures without what was laid around the one that they start from."""
        return self.source.fitting.cut_out(pictures) if self.source else pictures

    @property
    def drawn_elements(self) -> int:
        """How many random numbers ``bind`` will draw."""
        return len(self) * self.graph.row_size(self.height, self.width).drawn_elements

    @property
    def picture_elements(self) -> int:
        """How many numbers of pictures ``bind`` will scale."""
        if self.source is None:
            return 0
        channels: int = self.source.picture.pixels.shape[2]
        return len(self) * channels * self.height * self.width

    @property
    def is_large(self) -> bool:
        """Whether ``bind`` takes so long that it should not hold up other requests."""
        sent = self.source.picture.pixels.size if self.source else 0
        return self.drawn_elements + max(self.picture_elements, sent) > INLINE_ELEMENTS

    @property
    def expected(self) -> Expected:
        """The rows that ``bind`` will make."""
        return Expected(self.graph, self.height, self.width, len(self))

    def key(self) -> str:
        """Equal for two plans of one bundle exactly when their answers are equal."""
        explicit = (
            None if self.latents is None else hashlib.sha256(self.latents.tobytes()).hexdigest()
        )
        path = self.interpolate and (self.interpolate.end, self.interpolate.steps)
        knobs = sorted(self.scalars.items())
        source = self.source and (self.source.picture.digest, self.source.fitting)
        rows = (self.graph.onnx, self.height, self.width)
        ids = self.reading and self.reading.ids
        style = self.reference and self.reference.key()
        return repr((*rows, self.seeds, self.labels, knobs, explicit, path, source, ids, style))


def bind(plan: Plan) -> Rows:
    """Fill every input of the plan's graph, one row per image."""
    return Rows({entry.name: _fill(entry, plan) for entry in plan.graph.inputs})


def _fill(entry: Input, plan: Plan) -> NDArray[Any]:
    count, size = len(plan), (plan.height, plan.width)
    if entry.name in plan.told:
        return plan.told[entry.name]
    if entry.role == "latent":
        if plan.latents is not None:
            return plan.latents
        if plan.interpolate is not None:
            start, end = draw(entry, [plan.seeds[0], plan.interpolate.end], *size)
            return slerp(start, end, count)
        return draw(entry, plan.seeds, *size)
    if entry.role == "noise":
        return draw(entry, plan.seeds, *size)
    if entry.role == "label":
        return np.array(plan.labels, np.int64)
    if entry.role == "scalar":
        return np.full(count, plan.scalars[entry.name], np.float32)
    if entry.role == "index":
        return np.full((count, *resolve_shape(entry.shape, *size)), entry.default, np.int64)
    if entry.role == "vector":
        return np.zeros((count, *resolve_shape(entry.shape, *size)), np.float32)
    if entry.role == "text" and plan.reading is not None:
        return np.tile(np.array(plan.reading.ids, np.int64), (count, 1))
    if entry.role == "image" and plan.source is not None:
        row = _scaled(entry, plan.source.fitting.row(plan.source.picture.pixels))
        return np.repeat(row[None], count, axis=0) if count > 1 else row[None]
    raise AssertionError(f"plan() let the {entry.role} input {entry.name!r} through")


def _scaled(entry: Image, pixels: Pixels) -> Floats:
    """uint8 [H, W, C] -> float32 [C, H, W] in [low, high]."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    planes /= 255  # first, so that black and white are exactly low and high
    planes *= entry.high - entry.low
    planes += entry.low
    return planes
