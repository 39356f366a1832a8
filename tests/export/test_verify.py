"""A bundle is looked at again: files, graphs, rows and preview."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from export.bundle import Bundle, ChecksumMismatch, load_bundle, write_manifest
from export.errors import ParityError, RuntimeFailed, VerifyFailed
from export.publish import PREVIEW
from export.verify import verify
from tests.tiny import tiny_bundle


@pytest.fixture
def copy(animals: Bundle, tmp_path: Path) -> Bundle:
    """A bundle that a test may spoil."""
    shutil.copytree(animals.path, tmp_path / "animals" / "1")
    return load_bundle(tmp_path / "animals" / "1")


def replace(bundle: Bundle, name: str, content: bytes) -> None:
    """Change a file and the manifest's checksum of it: the bundle is whole, and wrong."""
    from export.bundle import fingerprint

    bundle.file(name).write_bytes(content)
    files = bundle.manifest.files | {name: fingerprint(bundle.file(name))}
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"files": files}))


def test_good_bundle_passes_every_check(animals: Bundle) -> None:
    lines = list(verify(animals.path))
    assert len(lines) == 4
    assert "checksums" in lines[0]
    assert lines[2].endswith("the same, exactly")
    assert lines[3] == "the preview's seeds give the preview's pictures"


def test_bundle_of_another_maker_passes(tmp_path: Path) -> None:
    assert len(list(verify(tiny_bundle(tmp_path).path))) == 3


def test_changed_file_fails(copy: Bundle) -> None:
    copy.file("generator.onnx").write_bytes(b"")
    with pytest.raises(ChecksumMismatch):
        list(verify(copy.path))


def test_file_that_is_no_graph_fails(copy: Bundle) -> None:
    replace(copy, "generator.onnx", b"not a graph")
    with pytest.raises(RuntimeFailed, match="cannot load"):
        list(verify(copy.path))


def spoiled(copy: Bundle, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(copy.file("generator.onnx"))
    change(model)
    replace(copy, "generator.onnx", model.SerializeToString())
    return copy.path


def test_input_of_another_name_fails(copy: Bundle) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "latent"
        for node in model.graph.node:
            node.input[:] = ["latent" if name == "z" else name for name in node.input]

    with pytest.raises(RuntimeFailed, match="cannot run"):
        list(verify(spoiled(copy, rename)))


def test_output_of_another_name_fails(copy: Bundle) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node("Identity", ["image"], ["picture"]))
        model.graph.output[0].name = "picture"

    with pytest.raises(VerifyFailed, match="no output 'image'"):
        list(verify(spoiled(copy, rename)))


def test_output_of_another_type_fails(copy: Bundle) -> None:
    def as_floats(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["bytes" if name == "image" else name for name in node.output]
        cast = helper.make_node("Cast", ["bytes"], ["image"], to=TensorProto.FLOAT)
        model.graph.node.append(cast)
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT

    with pytest.raises(VerifyFailed, match=r"float32 \[3, 8, 8, 3\], declared as uint8"):
        list(verify(spoiled(copy, as_floats)))


def test_rows_that_mix_fail(copy: Bundle) -> None:
    def mix(model: onnx.ModelProto) -> None:
        """The mean of the batch is added to z."""
        axes = onnx.numpy_helper.from_array(np.array([0]), "first_axis")
        model.graph.initializer.append(axes)
        for node in model.graph.node:
            node.input[:] = ["mixed" if name == "z" else name for name in node.input]
        mean = helper.make_node("ReduceMean", ["z", "first_axis"], ["mean"], keepdims=1)
        model.graph.node.insert(0, helper.make_node("Add", ["z", "mean"], ["mixed"]))
        model.graph.node.insert(0, mean)

    with pytest.raises(ParityError, match="depend on their neighbours"):
        list(verify(spoiled(copy, mix)))


def test_seeds_that_give_other_pictures_fail(copy: Bundle) -> None:
    with Image.open(copy.file(PREVIEW)) as image:
        inverted = Image.fromarray(255 - np.asarray(image))
    file = io.BytesIO()
    inverted.save(file, "PNG")
    replace(copy, PREVIEW, file.getvalue())
    with pytest.raises(VerifyFailed, match="other pictures"):
        list(verify(copy.path))


def test_preview_of_another_layout_is_left_alone(copy: Bundle) -> None:
    file = io.BytesIO()
    Image.new("RGB", (7, 5)).save(file, "PNG")
    replace(copy, PREVIEW, file.getvalue())
    assert list(verify(copy.path))[-1].endswith("left alone")
