"""From what a request says to a plan: is it something that the graph can answer?

Quick, and without a draw: a plan's ``key`` names the pictures, so that an ETag needs none.
"""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from export.dimension import resolve_shape
from export.draw import SEED_LIMIT, draw_label, image_seed
from export.manifest import Graph, Image, Label, Scalar, Size, Text
from export.tokens import Words
from service.errors import InvalidInput
from service.fields import CHOICES_SHOWN, FieldErrors, suggest
from service.fitting import asked_size, fit_picture
from service.images import Picture
from service.inputs import Floats, Plan, Source
from service.schemas import (
    GenerateQuery,
    GenerateRequest,
    ImageRequest,
    ModelQuery,
    PicturesQuery,
)
from service.texts import read_text

_NOTHING_MORE = GenerateRequest()
_CHANCE = random.Random()  # of seeds that nobody asked for: no secret, and quick


def plan(
    graph: Graph,
    size: Size,
    request: ModelQuery,
    *,
    limit: int,
    picture: Picture | None = None,
    words: Words | None = None,
    told: Container[str] = (),
) -> Plan:
    """Fit a request to a graph.

    Args:
        graph: the entry point that will answer.
        size: of the model's pictures.
        request: as parsed; a plain URL's, or a whole body's.
        limit: the most images that one request may ask for.
        picture: that the request starts from; its channels are those of ``image_input``.
        words: that the graph's text input understands.
        told: latents that do not come from the seed.

    Raises:
        InvalidInput: tells every field that does not fit, and what to change.
    """
    _refuse_what_cannot_be_filled(graph, given=picture is not None, words=words)
    body = request if isinstance(request, GenerateRequest) else _NOTHING_MORE
    errors = FieldErrors()
    source, height, width = _size(size, request, picture, errors)
    count = _count(request, body, limit, errors)
    drawn = _is_drawn(graph, request, told)
    if not drawn and not isinstance(request.label, list):
        _refuse_copies(count, errors)
    seed, was_drawn = _seed(request, body, errors) if drawn else (request.seed or 0, False)
    seeds = tuple(image_seed(seed, 0 if body.interpolate else k) for k in range(count))
    fitted = Plan(
        graph=graph,
        height=height,
        width=width,
        seeds=seeds,
        seed_was_drawn=was_drawn,
        labels=_labels(graph.label, request.label, seeds, errors),
        scalars=_scalars(graph, request, errors),
        latents=_latents(graph, body, (height, width), errors),
        interpolate=body.interpolate,
        source=source,
        reading=read_text(graph, words, request, errors),
        classes=graph.label.classes if graph.label else (),
    )
    errors.raise_if_any()
    return fitted


def image_input(graph: Graph) -> Image:
    """The one picture that a graph starts from.

    Raises:
        InvalidInput: it starts from none, or from several.
    """
    entries = [entry for entry in graph.inputs if isinstance(entry, Image)]
    if len(entries) == 1:
        return entries[0]
    names = ", ".join(entry.name for entry in entries) or "none"
    raise InvalidInput(
        f"one picture is sent, and this model starts from {len(entries)} (its image inputs: "
        f"{names}): ask another model"
    )


def _refuse_what_cannot_be_filled(graph: Graph, *, given: bool, words: Words | None) -> None:
    for entry in graph.inputs:
        if isinstance(entry, Text) and (words is None or entry is not graph.text):
            raise InvalidInput(
                f"this model's answers start from a text (its input {entry.name!r}), which is not "
                "taken here: ask another model",
            )
        if isinstance(entry, Image) and not given:
            raise InvalidInput(
                f"this model's pictures start from an image (its input {entry.name!r}), which "
                "/generate does not take: ask another model, or send one to POST /translate",
            )


def _size(
    size: Size, request: ModelQuery, picture: Picture | None, errors: FieldErrors
) -> tuple[Source | None, int, int]:
    """The picture that the request starts from, if any, and the height and width of the rows."""
    if picture is None:
        query = request if isinstance(request, GenerateQuery) else GenerateQuery()
        return None, *asked_size(size, query.height, query.width, errors)
    fit = request.fit if isinstance(request, ImageRequest) else None
    height, width = picture.pixels.shape[:2]
    fitting = fit_picture(size, height, width, fit, errors)
    return Source(picture, fitting), *fitting.outer


def _is_drawn(graph: Graph, request: ModelQuery, told: Container[str]) -> bool:
    """Whether the answer depends on the seed."""
    drawn = any(entry.name not in told for entry in graph.drawn)
    return drawn or (graph.label is not None and request.label is None)


def _refuse_copies(count: int, errors: FieldErrors) -> None:
    if count > 1:
        errors.add(
            "num_images",
            f"nothing that this model starts from is drawn, so that all {count} pictures would be "
            "the same: ask for one",
        )


def _count(request: ModelQuery, body: GenerateRequest, limit: int, errors: FieldErrors) -> int:
    """How many images: as said, or as many as there are latents, steps or labels."""
    counts: dict[str, int] = {}
    if isinstance(request, PicturesQuery) and request.num_images is not None:
        counts["num_images"] = request.num_images
    if body.latents is not None:
        counts["latents"] = len(body.latents)
    if body.interpolate is not None:
        counts["interpolate.steps"] = body.interpolate.steps
    if isinstance(request.label, list):
        counts["label"] = len(request.label)
    (first, count), *others = counts.items() or {"num_images": 1}.items()
    for name, other in others:
        if other != count:
            errors.add(name, f"is for {other} images, and {first} for {count}: make them agree")
    if count > limit:
        errors.add(first, f"asks for {count} images: at most {limit} in one request", limit=limit)
    return min(count, limit)


def _seed(request: ModelQuery, body: GenerateRequest, errors: FieldErrors) -> tuple[int, bool]:
    """The first image's seed, and whether it was drawn here."""
    if body.interpolate is not None:
        if body.latents is not None:
            errors.add("latents", "cannot be given together with interpolate: leave one out")
        if request.seed is not None:
            errors.add("seed", "leave it out: interpolate.from is the first image's seed")
        return body.interpolate.start, False
    if request.seed is not None:
        return request.seed, False
    return _CHANCE.randrange(SEED_LIMIT), True


def _labels(
    entry: Label | None,
    asked: int | str | list[int | str] | None,
    seeds: Sequence[int],
    errors: FieldErrors,
) -> tuple[int, ...] | None:
    if entry is None:
        if asked is not None:
            errors.add("label", "this model has no classes: leave it out")
        return None
    if asked is None:
        return tuple(draw_label(entry, seed) for seed in seeds)
    if isinstance(asked, list):
        found = [
            _class_index(entry.classes, value, f"label[{k}]", errors)
            for k, value in enumerate(asked[: len(seeds)])
        ]
        return tuple(found)
    return (_class_index(entry.classes, asked, "label", errors),) * len(seeds)


def _class_index(
    classes: tuple[str, ...], asked: int | str, field: str, errors: FieldErrors
) -> int:
    """A name is looked up as written, then in any case; a decimal that is no name is an index."""
    if isinstance(asked, str):
        if asked in classes:
            return classes.index(asked)
        folded = [name.casefold() for name in classes]
        if asked.casefold() in folded:
            return folded.index(asked.casefold())
        if not (asked.isascii() and asked.isdecimal()):
            if errors.full:
                return 0
            hint, more = suggest(asked, classes)
            choices = list(classes[:CHOICES_SHOWN])
            errors.add(field, f"no class {asked!r}{hint}", choices=choices, **more)
            return 0
        asked = int(asked)
    if asked < len(classes):
        return asked
    errors.add(
        field,
        f"there are {len(classes)} classes: an index must be in 0 to {len(classes) - 1}",
        choices=list(classes[:CHOICES_SHOWN]),
    )
    return 0


def _scalars(graph: Graph, request: ModelQuery, errors: FieldErrors) -> dict[str, float]:
    """Every scalar input's value; whatever else was given is a field that nobody reads."""
    given = request.scalars
    entries = graph.scalars
    defaults = {name: entry.default for name, entry in entries.items()}
    if not given:
        return defaults
    values: dict[str, float] = {}
    known = sorted({*type(request).model_fields, *entries})
    for name, value in given.items():
        if errors.full:
            break
        if name in entries:
            values[name] = _scalar(entries[name], value, errors)
        elif name in type(request).model_fields:
            others = f" (its scalars: {', '.join(entries)})" if entries else ""
            errors.add(name, f"this model has none: leave it out{others}")
        else:
            errors.add_unknown(name, known)
    return defaults | values


def _scalar(entry: Scalar, value: Any, errors: FieldErrors) -> float:  # noqa: ANN401
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and entry.low <= value <= entry.high:
        return float(value)
    errors.add(entry.name, f"must be a number in [{entry.low:g}, {entry.high:g}]")
    return entry.default


def _latents(
    graph: Graph, body: GenerateRequest, size: tuple[int, int], errors: FieldErrors
) -> Floats | None:
    entries = graph.latents
    if body.interpolate is not None and not entries:
        errors.add("interpolate", "this model has no latents: leave it out")
    if body.latents is None:
        return None
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries) or "none"
        errors.add("latents", f"are read for models with one latent input; this has {names}")
        return None
    shape = (len(body.latents), *resolve_shape(entries[0].shape, *size))
    latents = _as_floats(body.latents, shape)
    if latents is None:
        errors.add(
            "latents",
            f"must be finite numbers of shape {list(shape)}, a row for each image",
            shape=list(shape),
        )
    return latents


def _as_floats(nested: list[Any], shape: tuple[int, ...]) -> Floats | None:
    """The numbers as float32, unless they are ragged, not numbers, or too large."""
    try:
        raw = np.array(nested, dtype=object)
        if raw.shape != shape or not {type(value) for value in raw.flat} <= {int, float}:
            return None
        numbers = raw.astype(np.float64)
    except (ValueError, OverflowError):
        return None
    if np.abs(numbers).max() > np.finfo(np.float32).max or not np.isfinite(numbers).all():
        return None
    return numbers.astype(np.float32)
