"""The manifest: everything that a reader must know of a bundle, as data.

The service knows the roles of inputs below and no kind of GAN. Every tensor of a graph has
``batch`` as its first axis, and a row of the output depends on its own row of the input alone;
shapes here are the shapes of one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from export.dimension import Dimension, resolve_shape
from export.fields import Finite, Identifier, InsidePath
from export.fields import Name as Name
from export.fields import Sha256 as Sha256
from export.origin import Diagnosis as Diagnosis
from export.origin import File as File
from export.origin import Licence as Licence
from export.origin import Parity as Parity
from export.origin import Provenance as Provenance
from export.origin import Quality as Quality
from export.size import FixedSize as FixedSize
from export.size import FreeSize as FreeSize
from export.size import Frozen
from export.size import Size as Size

SCHEMA_VERSION = 1

Task = Literal["generate", "translate", "encode", "score"]
# The kind of output that a task's graph must have; the first of that kind is the answer.
ANSWERS = {"generate": "image", "translate": "image", "encode": "vector", "score": "score"}


Shape = tuple[Dimension, ...]


# --- Inputs, by role: the service knows these and no kind of GAN. ---


class Latent(Frozen):
    """Drawn from the seed: what makes one picture differ from another. float32 [*shape]."""

    role: Literal["latent"] = "latent"
    name: Identifier
    shape: Shape
    distribution: Literal["normal", "uniform"] = "normal"  # uniform: [-1, 1)


class Noise(Frozen):
    """Drawn from the seed: detail (noise maps, dropout masks), never interpolated. float32."""

    role: Literal["noise"] = "noise"
    name: Identifier
    shape: Shape
    distribution: Literal["normal", "uniform", "bernoulli"] = "normal"
    keep: float = Field(0.5, gt=0, le=1)  # bernoulli: P(1)


class Label(Frozen):
    """A class: its index in ``classes``. int64 []."""

    role: Literal["label"] = "label"
    name: Identifier
    classes: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _classes_differ(self) -> Label:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"two classes have the same name: {self.classes}")
        return self


class Text(Frozen):
    """A text as token ids, padded with zeros to ``length``. int64 [length]."""

    role: Literal["text"] = "text"
    name: Identifier
    tokenizer: InsidePath
    length: int = Field(gt=0)
    examples: tuple[str, ...] = ()  # of texts that it was made for: previews show them


class Image(Frozen):
    """An uploaded picture, scaled from uint8 to [low, high]. float32 [channels, height, width]."""

    role: Literal["image"] = "image"
    name: Identifier
    channels: Literal[1, 3, 4]
    low: float = -1.0
    high: float = 1.0


class Scalar(Frozen):
    """A knob of the caller's, such as truncation or strength. float32 []."""

    role: Literal["scalar"] = "scalar"
    name: Identifier
    low: Finite
    high: Finite
    default: float
    description: str = ""

    @model_validator(mode="after")
    def _default_in_range(self) -> Scalar:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"default {self.default} is outside [{self.low}, {self.high}]")
        return self


class Index(Frozen):
    """Integers below ``high``, for example which style feeds which layer. int64 [*shape]."""

    role: Literal["index"] = "index"
    name: Identifier
    shape: Shape
    high: int = Field(gt=0)
    default: int = 0


class Vector(Frozen):
    """Numbers of the caller's, zero unless given. float32 [*shape]."""

    role: Literal["vector"] = "vector"
    name: Identifier
    shape: Shape


Input = Annotated[
    Latent | Noise | Label | Text | Image | Scalar | Index | Vector, Field(discriminator="role")
]


# --- Outputs. ---


class ImageOutput(Frozen):
    """uint8 [height, width, channels] per row: denormalised inside the graph."""

    kind: Literal["image"] = "image"
    name: Identifier
    channels: Literal[1, 3, 4]


class VectorOutput(Frozen):
    """float32 [*shape] per row."""

    kind: Literal["vector"] = "vector"
    name: Identifier
    shape: Shape


class ScoreOutput(Frozen):
    """float32 [] per row."""

    kind: Literal["score"] = "score"
    name: Identifier


Output = Annotated[ImageOutput | VectorOutput | ScoreOutput, Field(discriminator="kind")]


class RowSize(NamedTuple):
    """What one row takes: integers have eight bytes, all other numbers four."""

    elements: int
    nbytes: int
    drawn_elements: int


def _row_size(inputs: Sequence[Input], height: int, width: int) -> RowSize:
    sizes = [(entry, _elements(entry, height, width)) for entry in inputs]
    return RowSize(
        elements=sum(size for _, size in sizes),
        nbytes=sum(size * (8 if isinstance(e, Label | Text | Index) else 4) for e, size in sizes),
        drawn_elements=sum(size for e, size in sizes if isinstance(e, Latent | Noise)),
    )


def _elements(entry: Input, height: int, width: int) -> int:
    """Numbers in one row of an input."""
    match entry:
        case Scalar() | Label():
            return 1
        case Image():
            return entry.channels * height * width
        case Text():
            return entry.length
        case _:
            return math.prod(resolve_shape(entry.shape, height, width))


class Graph(Frozen):
    """One entry point: its inputs in order, its outputs in order, and its files."""

    inputs: tuple[Input, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    onnx: InsidePath
    torchscript: InsidePath | None = None

    @cached_property
    def label(self) -> Label | None:
        """The input that takes a class, if there is one."""
        return next((entry for entry in self.inputs if isinstance(entry, Label)), None)

    @cached_property
    def text(self) -> Text | None:
        """The input that takes a text, if there is one."""
        return next((entry for entry in self.inputs if isinstance(entry, Text)), None)

    @cached_property
    def scalars(self) -> dict[str, Scalar]:
        """The inputs that are knobs of the caller's, by name."""
        return {entry.name: entry for entry in self.inputs if isinstance(entry, Scalar)}

    @cached_property
    def drawn(self) -> tuple[Latent | Noise, ...]:
        """The inputs that are random numbers."""
        return tuple(entry for entry in self.inputs if isinstance(entry, Latent | Noise))

    @cached_property
    def latents(self) -> tuple[Latent, ...]:
        """Those that a caller may give instead."""
        return tuple(entry for entry in self.drawn if isinstance(entry, Latent))

    @cached_property
    def row_size(self) -> Callable[[int, int], RowSize]:
        """What one row of all inputs takes, by the height and width of its pictures in pixels."""
        return lru_cache(maxsize=1024)(partial(_row_size, self.inputs))

    @model_validator(mode="after")
    def _names_differ(self) -> Graph:
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"inputs and outputs must have different names, got {names}")
        return self


# --- The whole. ---


class Manifest(Frozen):
    """Everything that a reader must know of a bundle. Unknown fields are refused."""

    schema_version: Literal[1] = 1
    name: Name
    version: int = Field(gt=0)
    created_utc: str
    description: str = ""
    tasks: dict[Task, Identifier] = Field(min_length=1)
    graphs: dict[Identifier, Graph] = Field(min_length=1)
    size: Size
    files: dict[InsidePath, File]
    preview: InsidePath | None = None
    opset: int
    parity: Parity | None = None
    licence: Licence
    provenance: Provenance | None = None
    quality: tuple[Quality, ...] = ()
    diagnosis: Diagnosis | None = None

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Manifest:
        for task, graph in self.tasks.items():
            if graph not in self.graphs:
                raise ValueError(f"task {task!r} names graph {graph!r}, which is not in graphs")
            if ANSWERS[task] not in {output.kind for output in self.graphs[graph].outputs}:
                raise ValueError(f"task {task!r} needs a graph with a {ANSWERS[task]} output")
        for path in self._paths():
            if path not in self.files:
                raise ValueError(f"{path!r} is used, but not listed in files")
        for height, width in self.size.examples():
            for shape in self._shapes():
                resolve_shape(shape, height, width)  # ValueError when not positive
        return self

    def _shapes(self) -> Iterator[Shape]:
        for graph in self.graphs.values():
            for tensor in (*graph.inputs, *graph.outputs):
                if isinstance(tensor, Latent | Noise | Index | Vector | VectorOutput):
                    yield tensor.shape

    def _paths(self) -> Iterator[str]:
        for graph in self.graphs.values():
            yield graph.onnx
            if graph.torchscript:
                yield graph.torchscript
            yield from (entry.tokenizer for entry in graph.inputs if isinstance(entry, Text))
        if self.preview:
            yield self.preview

    def graph(self, task: Task) -> Graph:
        """The graph that answers ``task``; KeyError when the bundle does not."""
        return self.graphs[self.tasks[task]]
