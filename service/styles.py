"""The style of a reference picture, in the place of one that is drawn from the seed.

A bundle reads styles where its encode graph tells what its translate graph draws: one of its
vectors has the name and the shape of a latent. Which kind of GAN that is makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from export.manifest import Graph, Image, Latent, Manifest, Size, VectorOutput
from service.errors import InferenceFailed
from service.fields import FieldErrors
from service.fitting import fit_picture
from service.images import Picture
from service.inputs import Plan, Source
from service.rows import Rows
from service.schemas import Fit


def told_latents(manifest: Manifest) -> tuple[str, ...]:
    """The latents of the translate graph that the encode graph tells of a picture; often none."""
    if not {"translate", "encode"} <= manifest.tasks.keys():
        return ()
    return _told(manifest.graph("encode"), manifest.graph("translate"))


def require_told_latents(manifest: Manifest) -> tuple[str, ...]:
    """The same, where there are some.

    Raises:
        InvalidInput: the model takes no reference; tells what it lacks.
    """
    told = told_latents(manifest)
    if not told:
        errors = FieldErrors()
        errors.add("reference", _lack(manifest))
        raise errors.error()
    return told


def _lack(manifest: Manifest) -> str:
    needed = (
        "leave it out: a style is read where the encode graph tells, of a picture (and its class), "
        "a vector with the name and the shape of a latent of the translate graph. "
    )
    if "encode" not in manifest.tasks:
        return needed + "This model has no encode graph"
    encoder, translator = manifest.graph("encode"), manifest.graph("translate")
    if not _reads_a_picture(encoder, translator):
        return needed + "This model's encode graph asks for more, or has classes of its own"
    vectors, latents = _vectors(encoder), translator.latents
    return (
        needed + f"Of this model the one tells {_named(vectors)}, the other has {_named(latents)}"
    )


def _told(encoder: Graph, translator: Graph) -> tuple[str, ...]:
    if not _reads_a_picture(encoder, translator):
        return ()
    vectors = {(each.name, each.shape) for each in _vectors(encoder)}
    return tuple(
        entry.name
        for entry in translator.latents
        # What grows with a picture is told of one of the same size alone: no style.
        if (entry.name, entry.shape) in vectors and all(isinstance(n, int) for n in entry.shape)
    )


def _reads_a_picture(encoder: Graph, translator: Graph) -> bool:
    """Whether the encoder needs one picture, at most its class, and nothing that is drawn."""
    images = [entry for entry in encoder.inputs if isinstance(entry, Image)]
    classes = encoder.label and encoder.label.classes
    known = classes is None or (translator.label and translator.label.classes) == classes
    return len(images) == 1 and known and not encoder.drawn and encoder.text is None


def _vectors(graph: Graph) -> list[VectorOutput]:
    return [each for each in graph.outputs if isinstance(each, VectorOutput)]


def _named(entries: Iterable[VectorOutput | Latent]) -> str:
    return ", ".join(f"{each.name} {list(each.shape)}" for each in entries) or "none"


def with_reference(
    fitted: Plan, encoder: Graph, size: Size, picture: Picture, fit: Fit | None
) -> Plan:
    """The plan of pictures that get the style of a reference.

    Args:
        fitted: the plan without it.
        encoder: the graph that tells the style.
        size: of the model's pictures.
        picture: the reference; its channels are those of the encoder's image.
        fit: how it comes to the model's size.

    Raises:
        InvalidInput: it does not come to one that the model takes.
    """
    errors = FieldErrors()
    height, width = picture.pixels.shape[:2]
    fitting = fit_picture(size, height, width, fit, errors, "reference")
    errors.raise_if_any()
    labels = fitted.labels if encoder.label else None
    rows = len(fitted) if len(set(labels or ())) > 1 else 1  # classes may differ in their styles
    asked = Plan(
        graph=encoder,
        height=fitting.outer[0],
        width=fitting.outer[1],
        seeds=fitted.seeds[:rows],
        seed_was_drawn=fitted.seed_was_drawn,
        labels=labels and labels[:rows],
        scalars={name: entry.default for name, entry in encoder.scalars.items()},
        latents=None,
        interpolate=None,
        source=Source(picture, fitting),
    )
    return replace(fitted, reference=asked)


def with_style(fitted: Plan, answer: Rows) -> Plan:
    """The plan, now that its reference was read.

    Args:
        fitted: a plan of ``with_reference``.
        answer: what the encoder told: a row for all pictures, or one for each.

    Raises:
        InferenceFailed: the style is not finite.
    """
    assert fitted.reference is not None
    styles = {name: answer[name] for name in _told(fitted.reference.graph, fitted.graph)}
    if not all(np.isfinite(style).all() for style in styles.values()):
        raise InferenceFailed("the model's style is not finite: tell who runs the service")
    times = len(fitted) // len(answer)
    return replace(fitted, told={name: np.repeat(rows, times, 0) for name, rows in styles.items()})
