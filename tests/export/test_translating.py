"""The figures of a translator: without a latent it shows no variety, and a copy no error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from export.bundle import Bundle
from export.errors import InvalidChoice
from export.evaluate import Wanted, evaluate
from export.manifest import (
    FixedSize,
    Graph,
    Image,
    ImageOutput,
    Input,
    Label,
    Latent,
    Licence,
    Manifest,
    Provenance,
    Quality,
)
from export.rows import Rows
from export.translating import translation
from training.data.dataset import Dataset
from training.metrics.features import Extractor

EYES = Extractor("lite0", "means", lambda images: images.reshape(len(images), -1).astype("float32"))
SIDES = Label(name="to", classes=("light", "dark"))


def pairs(count: int = 24) -> Dataset:
    """Noise, and its negative as what it is made from."""
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    return Dataset("pairs", "", "", (), images, None, "0", sources=255 - images)


def manifest(*others: Input) -> Manifest:
    """Of a translator of pictures, and of what else it takes."""
    graph = Graph(
        inputs=(Image(name="image", channels=1), Latent(name="z", shape=(1,)), *others),
        outputs=(ImageOutput(name="translation", channels=1),),
        onnx="it.onnx",
    )
    return Manifest(
        name="it",
        version=1,
        created_utc="2026-01-01T00:00:00Z",
        tasks={"translate": "translator"},
        graphs={"translator": graph},
        size=FixedSize(height=8, width=8),
        files={"it.onnx": {"sha256": "0" * 64, "size_bytes": 1}},
        opset=17,
        licence=Licence(name="CC0-1.0"),
    )


def figures(variety: float, *others: Input) -> dict[str, float]:
    """Of a translator that inverts, and adds what ``z`` says; asked for another side, it copies."""

    def run(rows: Rows) -> Rows:
        sign = 1 - 2 * rows.get("to", np.ones(1))[:, None, None, None]
        moved = sign * rows["image"] + variety * rows["z"][:, :, None, None]
        levels = np.rint((moved.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
        return {"translation": levels.transpose(0, 2, 3, 1)}

    known = np.asarray(pairs().images)
    found = translation(manifest(*others), run, pairs(), known, EYES)
    return {one.metric: one.value for one in found}


@pytest.mark.parametrize("others", [(), (SIDES,)])
def test_a_perfect_copy_has_no_error_and_no_variety(others: tuple[Input, ...]) -> None:
    found = figures(0.0, *others)
    assert found["L1"] == pytest.approx(0, abs=1e-6)
    assert found["pixel deviation"] == pytest.approx(0, abs=1e-9)
    assert found["diversity within sources"] == 0


def test_variety_is_seen_and_costs_error() -> None:
    found = figures(0.3)
    assert found["diversity within sources"] > 100
    assert 0.05 < found["pixel deviation"] < 0.15
    assert 0.05 < found["L1"] < 0.2


def test_truths_that_are_sorted_are_near_to_one_another() -> None:
    dark_then_light = np.repeat(np.array([20, 220], np.uint8), 12)[:, None, None, None]
    truths = dark_then_light + pairs().images // 8
    run = lambda _: {"translation": pairs().images}  # noqa: E731
    figures = translation(manifest(), run, replace(pairs(), images=truths), truths, EYES)
    _, distance = islice(figures, 2)
    assert distance.reference is not None
    assert distance.reference < 0.05 * distance.value  # unbiased, so it may be negative


def test_one_picture_for_every_source_fills_few_bins() -> None:
    levels = np.repeat(np.array([20, 120, 220], np.uint8), 20)[:, None, None, None]
    known = levels + pairs(60).images // 16
    held_out = replace(pairs(60), images=known, sources=255 - known)

    def found(run: Callable[[Rows], Rows]) -> dict[str, Quality]:
        told = translation(manifest(), run, held_out, known, EYES)
        return {one.metric: one for one in told if one.metric in ("NDB", "JSD")}

    def inverted(rows: Rows) -> Rows:
        levels = np.rint((1 - rows["image"]) * 127.5).astype(np.uint8)
        return {"translation": levels.transpose(0, 2, 3, 1)}

    def first(rows: Rows) -> Rows:
        return {"translation": np.repeat(known[:1], len(rows["image"]), axis=0)}

    alike, one = found(inverted), found(first)
    assert alike["NDB"].value == alike["NDB"].reference == 0
    assert alike["JSD"].value == pytest.approx(0, abs=1e-9)
    assert one["NDB"].value == 3
    assert one["JSD"].value > 0.2


def test_the_source_as_it_is_stands_beside_the_error() -> None:
    images = np.asarray(pairs().images)
    l1 = next(translation(manifest(), lambda _: {"translation": images}, pairs(), images, EYES))
    images = images.astype(float)
    assert l1.reference == pytest.approx(np.abs(255 - 2 * images).mean() / 255)


@pytest.mark.parametrize(
    ("learnt", "source", "said", "used"),
    [
        ("greyscale", None, None, "greyscale"),
        ("left", None, None, "left"),
        (None, None, None, None),
        ("greyscale", "others", None, "greyscale"),
        ("left", "others", None, None),
        ("greyscale", None, "mask", "mask"),
    ],
)
def test_a_translator_is_asked_to_undo_what_it_learnt_to(
    monkeypatch: pytest.MonkeyPatch,
    learnt: str | None,
    source: str | None,
    said: str | None,
    used: str | None,
) -> None:
    asked: list[tuple[str, str | None]] = []
    colours = np.zeros((4, 8, 8, 3), np.uint8)

    def load(name: str, *, pairing: str | None, **_: object) -> Dataset:
        asked.append((name, pairing))
        return replace(pairs(), images=colours, sources=colours)

    monkeypatch.setattr("export.evaluate.data.load", load)
    monkeypatch.setattr("export.evaluate.onnx_run", lambda _: None)
    made = Provenance(
        preset="",
        system="pix2pix",
        dataset="glyphs",
        dataset_fingerprint="0",
        dataset_images=4,
        images_seen=4,
        seed=0,
        git_commit=None,
        config={"data": {"pairing": learnt}},
        versions={},
    )
    bundle = Bundle(Path(), manifest().model_copy(update={"provenance": made}), "")
    with pytest.raises(InvalidChoice, match=r"1 channels, and .* have 3: add the --pairing"):
        list(evaluate(bundle, Wanted(source, pairing=said)))
    assert asked == [(source or "glyphs", used)]
