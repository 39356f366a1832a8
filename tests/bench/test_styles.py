"""The figures of a translator: without a latent it shows no variety, and a copy no error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import styles
from bench.command import BenchError
from bench.styles import score_translator
from export.bundle import Bundle
from export.manifest import Image, ImageOutput, Latent
from tests.tiny import tiny_bundle
from training.data.dataset import Dataset
from training.data.progress import silent
from training.metrics.features import Extractor

EYES = Extractor("lite0", "means", lambda images: images.reshape(len(images), -1).astype("float32"))


def pairs(count: int = 24) -> Dataset:
    """Noise, and its negative as what it is made from."""
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    return Dataset("pairs", "", "", (), images, None, "0", sources=255 - images)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Of a translator that inverts, and adds what ``z`` says."""
    plain = tiny_bundle(tmp_path)
    graph = plain.manifest.graphs["generate"].model_copy(
        update={
            "inputs": (Image(name="image", channels=1), Latent(name="z", shape=(1,))),
            "outputs": (ImageOutput(name="translation", channels=1),),
        }
    )
    made = plain.manifest.model_copy(
        update={
            "graphs": {"translator": graph},
            "tasks": {"translate": "translator"},
            "provenance": type("Made", (), {"dataset": "pairs"})(),
        }
    )
    monkeypatch.setattr(styles, "lite0", lambda: EYES)
    monkeypatch.setattr("bench.styles.data.load", lambda *_, **__: pairs())
    return replace(plain, manifest=made)


def figures(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, variety: float) -> dict[str, float]:
    def inverted(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        moved = -rows["image"] + variety * rows["z"][:, :, None, None]
        levels = np.rint((moved.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
        return {"translation": levels.transpose(0, 2, 3, 1)}

    monkeypatch.setattr(styles, "onnx_run", lambda path: inverted)
    return {one.metric: one.value for one in score_translator(bundle, silent)}


def test_a_perfect_copy_has_no_error_and_no_variety(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = figures(bundle, monkeypatch, 0.0)
    assert found["L1"] == pytest.approx(0, abs=1e-6)
    assert found["pixel deviation"] == pytest.approx(0, abs=1e-9)
    assert found["diversity within sources"] == 0


def test_variety_is_seen_and_costs_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures(bundle, monkeypatch, 0.3)
    assert found["diversity within sources"] > 100
    assert 0.05 < found["pixel deviation"] < 0.15
    assert 0.05 < found["L1"] < 0.2


def test_data_without_pairs_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.styles.data.load", lambda *_, **__: replace(pairs(), sources=None))
    with pytest.raises(BenchError, match="pairs has no pairs"):
        figures(bundle, monkeypatch, 0.0)
