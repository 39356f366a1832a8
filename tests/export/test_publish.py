"""From a run to a bundle or to nothing: what is written, and that nothing half-written is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import build, publish
from export.bundle import MANIFEST, Bundle, find_bundles, load_bundle
from export.draw import draw
from export.errors import BundleExists, InvalidChoice, NotWritable, ParityError
from export.manifest import Latent, Manifest, Size
from export.preview import LIMIT_BYTES
from export.publish import choose_version, export_bundle, place
from export.rows import Rows, cut, varied_rows
from export.runtime import onnx_run
from export.servable import Servable, offer, torch_run
from export.to_onnx import to_onnx
from tests.export.networks import (
    CLASSES,
    Convolutional,
    Perceptron,
    conditional_run,
    loaded_run,
    seeded,
)
from tests.tiny import tiny_bundle


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# --- What a bundle is. ---


def test_bundle_loads_and_says_what_it_is(animals: Bundle) -> None:
    manifest = animals.manifest
    assert (manifest.name, manifest.version) == ("animals", 1)
    assert manifest.tasks == {"generate": "generator"}
    graph = manifest.graph("generate")
    assert [entry.name for entry in graph.inputs] == ["z", "label", "truncation"]
    assert (graph.onnx, graph.torchscript) == ("generator.onnx", "generator.pt")
    assert manifest.description == "cgan trained on animals: 8x8 pictures, 3 classes."
    assert manifest.licence.name == "CC-BY-4.0"
    assert manifest.licence.attribution == "Photographs by A. Nonymous"


def test_bundle_says_where_it_comes_from(animals: Bundle) -> None:
    made = animals.manifest.provenance
    assert made is not None
    assert (made.preset, made.system, made.seed) == ("test", "cgan", 5)
    assert (made.dataset, made.dataset_images, made.images_seen) == ("animals", 120, 64_000)
    assert made.config["schedule"]["kimg"] == 64
    assert {"torch", "onnx"} <= made.versions.keys()


def test_bundle_records_its_parity(animals: Bundle) -> None:
    parity = animals.manifest.parity
    assert parity is not None
    assert parity.onnx_max_abs is not None
    assert parity.onnx_max_abs < 1e-4
    assert parity.torchscript_max_abs is not None
    assert (parity.max_levels, parity.row_max_abs) == (0, 0)


def test_folder_holds_the_listed_files_and_the_manifest(animals: Bundle) -> None:
    assert everything(animals.path) == sorted([*animals.manifest.files, MANIFEST])


def test_others_may_read_it(animals: Bundle) -> None:
    """The service runs as another user."""
    for path in (animals.path, *animals.path.iterdir()):
        assert path.stat().st_mode & stat.S_IROTH


def test_preview_is_small(animals: Bundle) -> None:
    assert animals.manifest.preview == "preview.png"
    assert animals.manifest.files["preview.png"].size_bytes <= LIMIT_BYTES


def test_nothing_of_this_machine_is_in_any_file(animals: Bundle) -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    for path in animals.path.iterdir():
        assert root not in path.read_bytes(), path.name


# --- One seed, one picture. ---


@pytest.fixture(scope="module")
def rows(animals: Bundle) -> Rows:
    return varied_rows(animals.manifest.graph("generate").inputs, range(40), 8, 8)


def test_graph_gives_what_the_trained_generator_gives(animals: Bundle, rows: Rows) -> None:
    servable = offer(conditional_run()).graphs["generator"]
    expected = torch_run(servable, servable.inputs, servable.names)(rows)["image"]
    given = onnx_run(animals.path / "generator.onnx")(rows)["image"]
    assert given.shape == (40, 8, 8, 3)
    assert len(np.unique(given)) > 50
    assert np.abs(given.astype(int) - expected).max() <= 1
    assert np.mean(given != expected) <= 1e-3


def test_seed_is_the_same_picture_alone_and_in_any_batch(animals: Bundle, rows: Rows) -> None:
    run = onnx_run(animals.path / "generator.onnx")
    together = run(rows)["image"]
    for count in (1, 3, 8, 16):
        for start in range(0, 40 - count, 7):
            part = run(cut(rows, start, start + count))["image"]
            np.testing.assert_array_equal(part, together[start : start + count])


def test_padding_changes_no_pixel(animals: Bundle, rows: Rows) -> None:
    run = onnx_run(animals.path / "generator.onnx")
    few = cut(rows, 0, 5)
    padded = {
        name: np.concatenate([array, np.zeros((3, *array.shape[1:]), array.dtype)])
        for name, array in few.items()
    }
    np.testing.assert_array_equal(run(padded)["image"][:5], run(few)["image"])


def test_z_is_the_draw_of_its_seed(animals: Bundle, rows: Rows) -> None:
    z = animals.manifest.graph("generate").inputs[0]
    assert isinstance(z, Latent)
    np.testing.assert_array_equal(rows["z"], draw(z, range(40), 8, 8))


# --- Choices. ---


def test_other_shapes_and_no_torchscript(tmp_path: Path) -> None:
    run = loaded_run(seeded(Perceptron()), "gan")
    bundle = export_bundle(run, tmp_path, "mlp", torchscript=False)
    assert bundle == load_bundle(tmp_path / "mlp" / "1")
    assert everything(bundle.path) == ["generator.onnx", MANIFEST, "preview.png"]
    parity = bundle.manifest.parity
    assert parity is not None
    assert parity.torchscript_max_abs is None


@pytest.mark.parametrize(("present", "expected"), [([], 1), (["1", "3", "10", "x", ".11"], 11)])
def test_version_left_out_is_the_next(tmp_path: Path, present: list[str], expected: int) -> None:
    for version in present:
        (tmp_path / "cats" / version).mkdir(parents=True)
    assert choose_version(tmp_path, "cats", None) == expected


def test_version_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, name="animals", version=4)
    before = (bundle.path / MANIFEST).read_bytes()
    steps: list[str] = []
    with pytest.raises(BundleExists, match="leave --version out"):
        export_bundle(conditional_run(), tmp_path, "animals", 4, progress=steps.append)
    assert steps == []
    assert (bundle.path / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("name", ["Cats", "../cats", "a/b", "", "a b"])
def test_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidChoice, match="not a model's name"):
        export_bundle(conditional_run(), tmp_path, name)
    assert everything(tmp_path) == []


def test_version_counts_from_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidChoice, match="1 or more"):
        export_bundle(conditional_run(), tmp_path, "cats", 0)


# --- Nothing half-written, ever. ---


def test_generator_that_fails_parity_leaves_nothing(tmp_path: Path) -> None:
    run = loaded_run(seeded(Convolutional()).train())
    with pytest.raises(ParityError, match="neighbours"):
        export_bundle(run, tmp_path / "models", "cats")
    assert everything(tmp_path) == []


def test_graph_that_is_not_the_generator_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(servable: Servable, size: Size) -> onnx.ModelProto:
        model = to_onnx(servable, size)
        weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
        array = onnx.numpy_helper.to_array(weight) * np.float32(1.001)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        return model

    monkeypatch.setattr(build, "to_onnx", wrong)
    with pytest.raises(ParityError, match="ONNX Runtime is not the generator at batch 1"):
        export_bundle(loaded_run(seeded(Convolutional())), tmp_path / "models", "cats")
    assert everything(tmp_path) == []


@pytest.fixture
def files(animals: Bundle) -> dict[str, bytes]:
    return {name: animals.file(name).read_bytes() for name in animals.manifest.files}


@pytest.fixture
def manifest(animals: Bundle) -> Manifest:
    return animals.manifest.model_copy(update={"version": 7})


@pytest.mark.parametrize("moment", ["first file", "manifest", "rename"])
def test_interrupt_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    manifest: Manifest,
    files: dict[str, bytes],
    moment: str,
) -> None:
    def interrupt(*arguments: object) -> None:
        assert find_bundles(tmp_path / "models") == []  # nobody is served a part
        raise KeyboardInterrupt

    patched = {"first file": (publish, "_write"), "manifest": (publish, "write_manifest")}
    owner, name = patched.get(moment, (Path, "rename"))
    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        place(tmp_path / "models", manifest, files)
    assert everything(tmp_path) == []


def test_interrupt_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Manifest, files: dict[str, bytes]
) -> None:
    tiny_bundle(tmp_path, name="animals", version=1)
    before = everything(tmp_path)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        place(tmp_path, manifest, files)
    assert everything(tmp_path) == before


def test_reader_sees_no_bundle_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Manifest, files: dict[str, bytes]
) -> None:
    seen: list[list[Path]] = []

    def watched(path: Path, content: bytes) -> None:
        seen.append(find_bundles(tmp_path))
        path.write_bytes(content)

    monkeypatch.setattr(publish, "_write", watched)
    bundle = place(tmp_path, manifest, files)
    assert seen == [[]] * len(files)
    assert find_bundles(tmp_path) == [bundle.path]
    assert load_bundle(bundle.path) == bundle


def test_somebody_elses_version_is_not_replaced(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes]
) -> None:
    theirs = tiny_bundle(tmp_path, name="animals", version=7)
    before = everything(tmp_path)
    with pytest.raises(BundleExists, match="published meanwhile"):
        place(tmp_path, manifest, files)
    assert everything(tmp_path) == before
    assert load_bundle(theirs.path) == theirs


def test_folder_that_cannot_be_written_is_told(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes]
) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(NotWritable, match="cannot write"):
        place(tmp_path / "models", manifest, files)
    assert everything(tmp_path) == ["models"]


def test_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Manifest, files: dict[str, bytes]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritable, match="No space left"):
        place(tmp_path / "models", manifest, files)
    assert everything(tmp_path) == []


def test_classes_are_the_data_sets(animals: Bundle) -> None:
    label = animals.manifest.graph("generate").inputs[1]
    assert label.model_dump()["classes"] == CLASSES
