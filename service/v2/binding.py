"""From tensors and parameters to rows: what was sent is checked, the rest filled by its role.

What is left out is drawn as ``POST /generate`` draws it: the rest of the graph is planned and bound
like a graph of its own. This is the one file here that knows how that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from export.manifest import (
    FixedSize,
    Graph,
    Image,
    Index,
    Input,
    Label,
    Latent,
    Noise,
    Scalar,
    Size,
    Text,
)
from service.config import ServiceConfig
from service.errors import InvalidInput, TooLarge
from service.fields import NAME_SHOWN, FieldErrors, suggest
from service.fitting import asked_size
from service.inputs import Expected
from service.making import filled
from service.planning import plan
from service.rows import Array, Rows
from service.schemas import GenerateRequest
from service.v2.datatypes import Misfit, from_bytes, from_json, row_shape, tensor_type
from service.v2.parsing import Sent
from service.v2.schemas import Parameters, RequestInput


@dataclass(frozen=True, eq=False)
class Taken:
    """The tensors that were sent, checked, and what is known of the rest."""

    graph: Graph
    tensors: dict[str, Array]
    rows: int | None  # None when no tensor says so
    height: int
    width: int

    def expected(self, parameters: Parameters) -> Expected:
        """All rows, with what was left out."""
        count = self.rows or parameters.num_images or 1
        return Expected(self.graph, self.height, self.width, count)


@dataclass(frozen=True, eq=False)
class Bound:
    """Rows that fit the graph, and the first one's seed if any input was drawn."""

    rows: Rows
    seed: int | None


def take(graph: Graph, size: Size, sent: Sent, config: ServiceConfig) -> Taken:
    """Check what was sent against the graph, and turn it into arrays.

    Raises:
        InvalidInput: tells the input, and what to change.
        TooLarge: the rows would never fit into the queue.
    """
    entries = {entry.name: entry for entry in graph.inputs}
    inputs = {entry.name: entry for entry in sent.request.inputs}
    for name in inputs:
        if name not in entries:
            hint, _ = suggest(name[:NAME_SHOWN], list(entries))
            raise InvalidInput(
                f"there is no input {name[:NAME_SHOWN]!r}{hint or ':'} there are "
                f"{', '.join(entries)}"
            )
    height, width = _size(entries, size, inputs, sent.request.parameters)
    rows = _row_count(inputs, sent.request.parameters, config.max_images)
    nbytes = Expected(graph, height, width, rows or 1).nbytes
    if nbytes > config.queue_bytes:
        raise TooLarge(
            f"{rows} rows have {nbytes} bytes, and at most {config.queue_bytes} may wait: send "
            "fewer",
            limit_bytes=config.queue_bytes,
        )
    tensors = {}
    for name, each in inputs.items():
        try:
            tensors[name] = _array(entries[name], each, sent, height, width)
        except Misfit as misfit:
            raise InvalidInput(f"input {name!r} {misfit}") from None
    return Taken(graph, tensors, rows, height, width)


async def bind(
    taken: Taken,
    size: Size,
    parameters: Parameters,
    config: ServiceConfig,
    admit: Callable[[], None] | None = None,
) -> Bound:
    """Fill what was left out.

    Args:
        taken: what was not.
        size: of the model's pictures.
        parameters: what to fill it from.
        config: the bounds of the queue.
        admit: raises when the rows would be refused; asked where it takes long to make them.

    Raises:
        InvalidInput: an input that nothing can fill is missing, or a parameter is wrong.
        TooLarge: the rows would never fit into the queue.
    """
    graph, tensors = taken.graph, taken.tensors
    left_out = tuple(entry for entry in graph.inputs if entry.name not in tensors)
    for entry in left_out:
        if isinstance(entry, Image | Text):
            raise InvalidInput(f"input {entry.name!r} is missing: only the caller can fill it")
    _refuse_twice_given(graph, tensors, parameters)
    drawn = any(
        isinstance(entry, Latent | Noise) or (isinstance(entry, Label) and parameters.label is None)
        for entry in left_out
    )
    # What is not drawn is the same in every row.
    count = taken.rows if drawn or taken.rows is None else 1
    asked = GenerateRequest.model_construct(
        seed=parameters.seed,
        label=parameters.label,
        num_images=count or parameters.num_images,
        height=taken.height,
        width=taken.width,
    ).model_copy(update=_scalars(parameters))
    # Not a copy of the graph, which may remember what it has found out about all its inputs.
    rest = Graph.model_construct(inputs=left_out, outputs=graph.outputs, onnx=graph.onnx)
    fitted = plan(rest, size, asked, limit=config.max_images)
    if not left_out:
        return Bound(Rows(tensors), None)
    rows = await filled(fitted, config, admit)
    if taken.rows is not None and not drawn:
        rows = rows.repeat(taken.rows)
    arrays = {**rows.arrays, **tensors}
    ordered = {entry.name: arrays[entry.name] for entry in graph.inputs}
    return Bound(Rows(ordered), fitted.seeds[0] if drawn else None)


def _size(
    entries: Mapping[str, Input],
    size: Size,
    inputs: Mapping[str, RequestInput],
    parameters: Parameters,
) -> tuple[int, int]:
    """The height and width: of the images that were sent, or as the parameters say."""
    said = {(parameters.height, parameters.width)} - {(None, None)}
    for name, each in inputs.items():
        if isinstance(entries[name], Image):
            if len(each.shape) != 4:
                raise InvalidInput(
                    f"input {name!r} has the shape {each.shape}: send [rows, channels, height, "
                    "width]"
                )
            said.add((each.shape[2], each.shape[3]))
    if len(said) > 1:
        raise InvalidInput(f"height and width are {' and '.join(map(str, said))}: make them agree")
    errors = FieldErrors()
    height, width = asked_size(size, *said.pop() if said else (None, None), errors)
    errors.raise_if_any()
    return height, width


def _row_count(
    inputs: Mapping[str, RequestInput], parameters: Parameters, limit: int
) -> int | None:
    """The rows that every tensor has."""
    counts = {f"input {name!r}": (each.shape or [0])[0] for name, each in inputs.items()}
    if not counts:
        return None
    if parameters.num_images is not None:
        counts["num_images"] = parameters.num_images
    (first, count), *others = counts.items()
    for name, other in others:
        if other != count:
            raise InvalidInput(f"{name} is for {other} rows, and {first} for {count}: they differ")
    if not 1 <= count <= limit:
        raise InvalidInput(f"{first} is for {count} rows: send 1 to {limit} in one request")
    return count


def _array(entry: Input, given: RequestInput, sent: Sent, height: int, width: int) -> Array:
    """A tensor that was sent, as the graph takes it."""
    shape = (given.shape[0], *row_shape(entry, height, width))
    if tuple(given.shape) != shape:
        raise Misfit(f"has the shape {given.shape[:8]}: send {list(shape)}")
    wanted, _ = tensor_type(entry, FixedSize(height=height, width=width))
    if given.name in sent.binary:
        array = from_bytes(wanted, given.datatype, shape, sent.binary[given.name])
    else:
        array = from_json(wanted, given.datatype, shape, given.data or [])
    _check_values(entry, array)
    return array


def _check_values(entry: Input, array: Array) -> None:
    match entry:
        case Label():
            high, what = len(entry.classes) - 1, "class"
        case Index():
            high, what = entry.high - 1, "index"
        case Text():
            high, what = np.iinfo(np.int64).max, "token"
        case Scalar():
            if not ((entry.low <= array) & (array <= entry.high)).all():  # also false for NaN
                raise Misfit(f"must be numbers in [{entry.low:g}, {entry.high:g}]")
            return
        case _:
            if not np.isfinite(array).all():
                raise Misfit("must be finite numbers that FP32 can hold")
            return
    if not ((array >= 0) & (array <= high)).all():
        limit = f"in 0 to {high}" if what != "token" else "not negative"
        raise Misfit(f"has a {what} out of range: each must be {limit}")


def _refuse_twice_given(graph: Graph, tensors: Mapping[str, Array], parameters: Parameters) -> None:
    for entry in graph.inputs:
        named = {*_scalars(parameters)}
        by_label = isinstance(entry, Label) and parameters.label is not None
        if entry.name in tensors and (entry.name in named or by_label):
            raise InvalidInput(
                f"input {entry.name!r} is given as a tensor and as a parameter: give it once"
            )


def _scalars(parameters: Parameters) -> dict[str, object]:
    """The parameters that are for the model alone; ``plan`` refuses those that it does not have.

    Raises:
        InvalidInput: a name that says something in other requests, and nothing here.
    """
    named = dict(parameters.model_extra or {})
    for name in named:
        if name in GenerateRequest.model_fields and name != "truncation":
            raise InvalidInput(f"parameter {name!r} is not read here: leave it out")
    return named
