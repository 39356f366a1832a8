"""From a bundle or a run to figures: by its tasks and roles, and into its manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from export import evaluate_command
from export.bundle import Bundle, load_bundle
from export.coding import pca_errors, reconstruction, separation
from export.errors import InvalidChoice
from export.evaluate import Wanted, evaluate, extractors, measurable, record, void
from export.manifest import (
    FixedSize,
    FreeSize,
    Graph,
    Image,
    ImageOutput,
    Input,
    Latent,
    Licence,
    Manifest,
    Output,
    Quality,
    ScoreOutput,
    Text,
    VectorOutput,
)
from export.reality import Labelled, Reality, halves
from export.rows import Rows
from export.scoring import EACH
from tests.export.compared import CLASSES, SIDE, write_stripes
from tests.tiny import tiny_bundle
from tests.training.tiny import Silent, never, tiny_config, write_npz
from training.data.dataset import Dataset, Images
from training.metrics.features import Extractor
from training.train import train


def pixels(images: Images) -> NDArray[np.float32]:
    """Features that need no package."""
    return images.reshape(len(images), -1).astype(np.float32)


EYES = Extractor("lite0", "pixels", pixels)
PICTURE = Image(name="picture", channels=1, low=0.0, high=1.0)
SHOWN = ImageOutput(name="shown", channels=1)


def manifest(**graphs: tuple[Sequence[Input], Sequence[Output]]) -> Manifest:
    """A manifest with a graph for each task."""
    return Manifest(
        name="it",
        version=1,
        created_utc="2026-01-01T00:00:00Z",
        tasks={task: task for task in graphs},
        graphs={
            task: Graph(inputs=tuple(inputs), outputs=tuple(outputs), onnx="it.onnx")
            for task, (inputs, outputs) in graphs.items()
        },
        size=FixedSize(height=2, width=2),
        files={"it.onnx": {"sha256": "0" * 64, "size_bytes": 1}},
        opset=17,
        licence=Licence(name="CC0-1.0"),
    )


CODER = manifest(
    encode=([PICTURE], [VectorOutput(name="code", shape=(4,))]),
    generate=([Latent(name="z", shape=(4,))], [SHOWN]),
)
SCORER = manifest(score=([PICTURE], [ScoreOutput(name="energy")]))


def reality(train: Any, test: Any) -> Reality:  # noqa: ANN401 - nested lists of levels
    learnt, asked = (
        Labelled(np.array(part, np.uint8).reshape(-1, 2, 2, 1), None) for part in (train, test)
    )
    return Reality("blocks", learnt, asked, True, halves(asked), (), None)


def test_tasks_and_roles_decide_what_is_measured() -> None:
    assert measurable(CODER) == {"generate", "encode"}
    assert measurable(SCORER) == {"score"}
    assert measurable(manifest(translate=([PICTURE], [SHOWN]))) == {"translate"}
    assert measurable(manifest(generate=([PICTURE], [SHOWN]))) == set()
    text = Text(name="text", tokenizer="it.onnx", length=4)
    told = manifest(generate=([text, Latent(name="z", shape=(4,))], [SHOWN]))
    assert measurable(told) == {"generate"}
    other = manifest(
        encode=([PICTURE], [VectorOutput(name="code", shape=(3,))]),
        generate=([Latent(name="z", shape=(4,))], [SHOWN]),
    )
    assert measurable(other) == {"generate"}  # its codes cannot be decoded
    free = FreeSize(stride=1, min_side=1, max_side=8, max_pixels=64, warm=((2, 2),))
    assert measurable(CODER.model_copy(update={"size": free})) == {"encode"}


def test_reconstruction_is_the_squared_error_beside_that_of_pca() -> None:
    real = reality(np.arange(80).reshape(20, 4) * 3, [[10, 20, 30, 40], [50, 60, 70, 80]])

    def encode(rows: Rows) -> Rows:
        assert rows["picture"].max() <= 1
        return {"code": rows["picture"].reshape(-1, 4)}

    def generate(rows: Rows) -> Rows:  # five levels too bright
        levels = np.round(rows["z"] * 255).astype(np.uint8).reshape(-1, 2, 2, 1)
        return {"shown": levels + np.uint8(5)}

    error, psnr = reconstruction(CODER, encode, generate, real)
    assert error.value == pytest.approx((5 / 255) ** 2)
    assert psnr.value == pytest.approx(20 * math.log10(255 / 5))
    assert error.reference == pytest.approx(0, abs=1e-20)  # four numbers hold four pixels
    assert error.samples == 2
    assert "PCA with 4 numbers, fitted on 20 training images" in error.protocol


def test_pca_is_clipped_to_what_a_picture_can_show() -> None:
    # One number for pictures along a line that leaves [0, 1]: at its ends PCA overshoots.
    learnt = Labelled(np.array([[0, 128], [255, 128], [0, 0], [255, 255]], np.uint8), None)
    asked = Labelled(np.array([[255, 255]], np.uint8), None)
    plain, clipped = (pca_errors(learnt, asked, 1, clipped=each) for each in (False, True))
    assert plain is not None
    assert clipped is not None
    assert clipped[0] < plain[0]


def test_a_score_is_asked_to_tell_pictures_apart() -> None:
    dark, bright = [[0] * 4, [10] * 4], [[200] * 4, [5] * 4, [220] * 4]
    strange = Labelled(np.array(bright, np.uint8).reshape(-1, 2, 2, 1), None)

    def score(rows: Rows) -> Rows:
        return {"energy": rows["picture"].mean((1, 2, 3))}

    known, *apart = separation(SCORER, score, reality(dark, dark), strange, "bright")
    assert known.value == 0.5  # the same pictures: it does not know which it learnt from
    assert [one.metric for one in apart] == ["AUROC of energy, bright", "AUPRC of energy, bright"]
    assert apart[0].value == pytest.approx(5 / 6)  # one pair of six is the wrong way round
    assert apart[1].value == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert "3 test images of bright against 2 test images of blocks" in apart[0].protocol


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "models", classes=CLASSES, size=SIDE)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:  # noqa: ANN401
    """The command, with a cache of its own."""
    monkeypatch.setenv("GANYMEDE_CACHE", str(tmp_path / "cache"))
    app = typer.Typer()
    app.command()(evaluate_command.command)

    def call(*arguments: object) -> Any:  # noqa: ANN401
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_a_bundle_gets_a_table_json_and_its_manifest(
    run: Any,  # noqa: ANN401
    bundle: Bundle,
    stripes: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "out" / "figures.json"
    said = run(bundle.path, "--data", stripes, "--samples", 150, "--json", file, "--write")
    assert said.exit_code == 0
    assert "coverage" in said.stdout
    assert "18 bins by K-means of the pixels of 360 training images" in said.stdout
    facts = json.loads(file.read_text())
    metrics = [figure["metric"] for figure in facts["figures"]]
    assert facts["complete"]
    assert facts["digest"] == bundle.digest
    assert {"judge accuracy", "label agreement", "FD-judge", "KD-judge", "NDB"} <= set(metrics)
    assert {"GAN-test", "GAN-train"} <= set(metrics)
    written = load_bundle(bundle.path).manifest
    assert [one.model_dump() for one in written.quality] == facts["figures"]
    assert written.model_copy(update={"quality": ()}) == bundle.manifest


def test_ctrl_c_keeps_what_was_measured(
    run: Any,  # noqa: ANN401
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def interrupted(*arguments: object) -> Any:  # noqa: ANN401
        yield Quality(metric="FD-judge", value=1.5, samples=10, protocol="of ten")
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_command, "evaluate", interrupted)
    file = tmp_path / "figures.json"
    said = run(bundle.path, "--data", "mnist-5k", "--json", file, "--write")
    assert said.exit_code == 130
    assert "FD-judge" in said.stdout
    facts = json.loads(file.read_text())
    assert (facts["complete"], len(facts["figures"])) == (False, 1)
    assert load_bundle(bundle.path).manifest.quality == ()


def test_a_run_is_measured_as_its_bundle_would_be(run: Any, tmp_path: Path) -> None:  # noqa: ANN401
    source, folder = write_stripes(tmp_path / "stripes.npz", train=160, test=60), tmp_path / "run"
    assert train(
        tiny_config(source, "ebgan", {"networks": "perceptrons", "hidden": 8}, kimg=0.016),
        folder,
        Silent(),
        never,
    )
    said = run(folder, "--data", source, "--samples", 30, "--json", tmp_path / "figures.json")
    assert said.exit_code == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    found = {one["metric"] for one in figures}
    assert {"FD-judge", "AUROC of energy, held out against learnt from"} <= found
    assert "label agreement" not in found  # it takes no label
    assert all(math.isfinite(one["value"]) for one in figures)
    with pytest.raises(InvalidChoice, match="is a run: export it, and --write into its bundle"):
        run(folder, "--write")


def test_a_generator_that_reads_text_is_asked_with_the_captions_of_its_data(
    run: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export.evaluate.lite0", lambda: EYES)
    source, folder = write_npz(tmp_path / "said.npz"), tmp_path / "run"
    assert train(tiny_config(source, "text", kimg=0.032), folder, Silent(), never)
    said = run(folder, "--data", source, "--json", tmp_path / "figures.json")
    assert said.exit_code == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    found = {one["metric"]: one for one in figures}
    assert {"FD-lite0", "KD-lite0", "coverage", "diversity within texts"} <= set(found)
    within = found["diversity within texts"]
    assert within["samples"] == 4 * EACH  # there are four captions
    assert within["value"] < within["reference"]  # a text chooses among the pictures


def test_a_translator_is_compared_with_the_truth_of_pairs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 2, 2, 1), np.uint8)
    pairs = Dataset("pairs", "", "", (), images, None, "0", sources=255 - images)
    asked: list[dict[str, Any]] = []

    def load(name: str, **wanted: Any) -> Dataset:  # noqa: ANN401
        asked.append({"name": name, **wanted})
        return pairs if name == "pairs" else replace(pairs, name=name, sources=None)

    monkeypatch.setattr("export.evaluate.lite0", lambda: EYES)
    monkeypatch.setattr("export.evaluate.data.load", load)
    monkeypatch.setattr(
        "export.evaluate.onnx_run",
        lambda _: (
            lambda rows: {
                "shown": np.rint(255 - 255 * rows["picture"]).astype(np.uint8).transpose(0, 2, 3, 1)
            }
        ),
    )
    inverts = Bundle(bundle.path, manifest(translate=([PICTURE], [SHOWN])), bundle.digest)
    found = {one.metric: one.value for one in evaluate(inverts, Wanted("pairs"))}
    assert (found["L1"], found["diversity within sources"]) == (0, 0)
    assert (asked[0]["split"], asked[0]["size"], asked[0]["channels"]) == ("test", 2, 1)
    with pytest.raises(InvalidChoice, match="digits has no pairs: add --data NAME of a set"):
        list(evaluate(inverts, Wanted("digits")))


def test_what_cannot_be_compared_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    plain = str(write_stripes(tmp_path / "plain.npz", labelled=False))
    with pytest.raises(InvalidChoice, match="does not say what it learnt from: add --data NAME"):
        list(evaluate(bundle, Wanted()))
    with pytest.raises(InvalidChoice, match="plain cannot teach a judge"):
        list(evaluate(bundle, Wanted(plain, ("judge",)), cache=tmp_path))
    with pytest.raises(InvalidChoice, match="no features 'lite1': there are judge, lite0"):
        extractors(("lite1",), reality([[0] * 4] * 2, [[0] * 4] * 2))
    alone = Bundle(bundle.path, manifest(generate=([PICTURE], [SHOWN])), bundle.digest)
    with pytest.raises(InvalidChoice, match="no figure is known for generate of it alone"):
        list(evaluate(alone, Wanted(plain)))


def test_a_weak_judge_voids_the_figures() -> None:
    weak = Quality(metric="judge accuracy", value=0.8, reference=0.9, samples=10, protocol="")
    assert void([weak]) == "VOID: the judge reaches 0.800 on 10 test images, and needs 0.90"
    assert void([weak.model_copy(update={"value": 0.95})]) == ""
    assert void([weak.model_copy(update={"reference": None})]) == ""


def test_new_figures_take_the_place_of_old_ones(bundle: Bundle) -> None:
    old = Quality(metric="FD-judge", value=1.0, samples=10, protocol="of ten")
    kept = Quality(metric="precision", value=0.5, samples=10, protocol="of ten")
    record(bundle, [old, kept])
    again = record(load_bundle(bundle.path), [old.model_copy(update={"value": 2.0})])
    assert [(one.metric, one.value) for one in again.manifest.quality] == [
        ("precision", 0.5),
        ("FD-judge", 2.0),
    ]
    assert load_bundle(bundle.path).digest == again.digest != bundle.digest
