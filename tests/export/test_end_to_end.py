"""Real images to a bundle, through the public doors of training and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.bundle import load_bundle
from export.manifest import Label
from export.publish import export_bundle
from export.rows import varied_rows
from export.runtime import onnx_run
from export.servable import offer, torch_run
from export.verify import verify
from tests.training.tiny import Silent
from training.config import validate
from training.run import LoadedRun, load_run
from training.train import train

CLASSES = ("bright", "dark")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """A conditional generator after three steps on a few small pictures."""
    folder = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = random.integers(0, 128, (40, 16, 16, 1)) + 127 * (1 - labels[:, None, None, None])
    np.savez(folder / "shades.npz", images=images.astype(np.uint8), labels=labels, classes=CLASSES)
    config = validate(
        {
            "preset": "tiny",
            "recipe": {
                "system": "cgan",
                "latent": 8,
                "base_channels": 4,
                "d_base_channels": 4,
            },
            "data": {"source": str(folder / "shades.npz"), "size": 16},
            "schedule": {"kimg": 0.024, "batch": 8, "seed": 3, "precision": "float32"},
        },
        "test",
    )
    path = folder / "runs" / "00001-tiny"
    assert train(config, path, Silent(), lambda: False)
    return load_run(path)


def test_trained_run_becomes_a_bundle_that_gives_its_pictures(
    run: LoadedRun, tmp_path: Path
) -> None:
    written = export_bundle(run, tmp_path, "shades")
    bundle = load_bundle(tmp_path / "shades" / "1")
    assert bundle == written
    graph = bundle.manifest.graph("generate")
    assert Label(name="label", classes=CLASSES) in graph.inputs

    made = bundle.manifest.provenance
    assert made is not None
    assert (made.preset, made.images_seen, made.dataset_images) == ("tiny", 24, 40)
    assert str(tmp_path.parent) not in bundle.manifest.model_dump_json()

    servable = offer(run).graphs["generator"]
    rows = varied_rows(graph.inputs, range(20), 16, 16)
    expected = torch_run(servable, servable.inputs, servable.names)(rows)["image"]
    given = onnx_run(bundle.file(graph.onnx))(rows)["image"]
    assert given.shape == (20, 16, 16, 1)
    assert np.abs(given.astype(int) - expected).max() <= 1
    assert list(verify(bundle.path))
