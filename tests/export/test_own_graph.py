"""An ONNX file of somebody's: what is taken, what is refused by name, and its new tail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportError, GraphRefused, ParityError, SpecMismatch
from export.own import export_graph
from export.own_graph import NEWEST_IR, NEWEST_OPSET, read_graph
from export.own_tail import finish
from export.rows import varied_rows
from export.runtime import onnx_run
from export.spec import Spec, load_spec
from tests.export.own_generators import write_spec
from tests.tiny import tiny_graph

SPEC = """
description: Flat pictures.
licence: {name: CC0-1.0}
tasks: [generate]
size: {kind: fixed, height: 2, width: 4}
inputs:
  - {role: latent, name: z, shape: [8]}
outputs:
  - {kind: image, name: image, channels: 1, low: 0, high: 1}
"""
FREE = """
description: The same picture.
licence: {name: CC0-1.0}
tasks: [translate]
size: {kind: free, min_side: 1, max_side: 16, max_pixels: 256, warm: [[4, 4]]}
inputs:
  - {role: image, name: image, channels: 3, low: 0, high: 255}
outputs:
  - {kind: image, name: picture, channels: 3, low: 0, high: 255}
"""
TINY = """
description: As our own tests make them.
licence: {name: CC0-1.0}
tasks: [generate]
size: {kind: fixed, height: 8, width: 8}
inputs:
  - {role: latent, name: z, shape: [8]}
  - {role: label, name: label, classes: [circle, square, star]}
  - {role: scalar, name: truncation, low: 0, high: 1, default: 1}
outputs:
  - {kind: image, name: image, channels: 1, values: uint8}
"""

node = helper.make_node
Change = Callable[[ModelProto], object]


def flat(*middle: NodeProto, last: str = "z", opset: int = 17, ir: int = 8) -> ModelProto:
    """Sigmoid of z as a picture [N, 1, 2, 4], through ``middle``, from its tensor ``last``."""
    value = helper.make_tensor_value_info
    shape = numpy_helper.from_array(np.array([-1, 1, 2, 4]), "picture_shape")
    graph = helper.make_graph(
        [
            *middle,
            node("Sigmoid", [last], ["unit"]),
            node("Reshape", ["unit", shape.name], ["image"]),
        ],
        "flat",
        [value("z", TensorProto.FLOAT, ["N", 8])],
        [value("image", TensorProto.FLOAT, ["N", 1, 2, 4])],
        [shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def identity(*axes: int | str, kind: int = TensorProto.FLOAT) -> ModelProto:
    """A picture as it came."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node("Identity", ["image"], ["picture"])],
        "identity",
        [value("image", kind, list(axes))],
        [value("picture", kind, list(axes))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(folder: Path, model: ModelProto) -> Path:
    path = folder / "theirs.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def spec_of(folder: Path, text: str = SPEC) -> Spec:
    return load_spec(write_spec(folder, text))


def read(folder: Path, model: ModelProto, text: str = SPEC) -> ModelProto:
    return read_graph(saved(folder, model), spec_of(folder, text))


# --- What is not taken. ---


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08"])
def test_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(GraphRefused, match="is not an ONNX file"):
        read_graph(tmp_path / "a.onnx", spec_of(tmp_path))


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="cannot be read: No such file"):
        read_graph(tmp_path / "a.onnx", spec_of(tmp_path))


@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../weights.bin"])
def test_tensors_outside_the_file_are_refused_and_not_read(tmp_path: Path, location: str) -> None:
    model = flat()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(GraphRefused, match=f"'{location}': put all into one file"):
        read(tmp_path, model)


def test_cure_that_is_told_works(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save_model(flat(), path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(GraphRefused, match=r"onnx\.save_model\(onnx\.load\(path\), path\)"):
        read_graph(path, spec_of(tmp_path))
    onnx.save_model(onnx.load(path), path)
    assert read_graph(path, spec_of(tmp_path))


def test_constant_in_a_branch_is_not_outside_either(tmp_path: Path) -> None:
    model = branching()
    branch = next(a.g for a in model.graph.node[2].attribute if a.name == "then_branch")
    constant = branch.node[0].attribute[0].t
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="weights.bin")
    with pytest.raises(GraphRefused, match="outside the file"):
        read(tmp_path, model)


@pytest.mark.parametrize("opset", [9, 10, NEWEST_OPSET + 1, 99])
def test_opset_that_not_every_service_reads_is_refused(tmp_path: Path, opset: int) -> None:
    with pytest.raises(GraphRefused, match=f"is of opset {opset}; .* with opset_version=20"):
        read(tmp_path, flat(opset=opset))


@pytest.mark.parametrize("opset", [11, 13, NEWEST_OPSET])
def test_opsets_between_are_taken(tmp_path: Path, opset: int) -> None:
    full = finish(read(tmp_path, flat(opset=opset)), spec_of(tmp_path))
    assert onnx_run(full.SerializeToString())({"z": np.zeros((1, 8), np.float32)})


def test_standard_operators_may_have_their_full_name(tmp_path: Path) -> None:
    model = flat()
    model.opset_import[0].domain = "ai.onnx"
    full = finish(read(tmp_path, model), spec_of(tmp_path))
    assert onnx_run(full.SerializeToString())({"z": np.zeros((1, 8), np.float32)})


def test_file_format_that_is_too_new_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match=f"set model.ir_version = {NEWEST_IR}"):
        read(tmp_path, flat(ir=NEWEST_IR + 1))


def test_no_opset_is_refused(tmp_path: Path) -> None:
    model = flat()
    del model.opset_import[:]
    with pytest.raises(GraphRefused, match="does not say its opset"):
        read(tmp_path, model)


def test_custom_operator_is_refused_by_name(tmp_path: Path) -> None:
    model = flat(node("Warp", ["z"], ["warped"], domain="org.example"), last="warped")
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    with pytest.raises(GraphRefused, match=r"custom operators, org\.example\.Warp"):
        read(tmp_path, model)


def test_operator_that_is_a_function_of_the_file_is_taken(tmp_path: Path) -> None:
    double = helper.make_function(
        "org.example", "Double", ["x"], ["y"], [node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    model = flat(node("Double", ["z"], ["twice"], domain="org.example"), last="twice")
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    model.functions.append(double)
    full = finish(read(tmp_path, model), spec_of(tmp_path))
    given = onnx_run(full.SerializeToString())({"z": np.ones((1, 8), np.float32)})
    np.testing.assert_allclose((given["image.float"] + 1) / 2, 1 / (1 + np.exp(-2.0)), rtol=1e-6)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_operator_that_does_not_exist_is_refused(tmp_path: Path, domain: str) -> None:
    with pytest.raises(GraphRefused, match=r"is not valid ONNX: .*Warp"):
        read(tmp_path, flat(node("Warp", ["z"], ["warped"], domain=domain), last="warped"))


# --- What draws. ---

RANDOM = {
    "RandomNormalLike": node("RandomNormalLike", ["z"], ["r"], name="/noise/Random"),
    "RandomUniformLike": node("RandomUniformLike", ["z"], ["r"], scale=0.0),
    "RandomNormal": node("RandomNormal", [], ["r"], shape=[1, 8]),
    "RandomUniform": node("RandomUniform", [], ["r"], shape=[1, 8]),
    "Bernoulli": node("Bernoulli", ["z"], ["r"]),
    "Multinomial": node("Multinomial", ["z"], ["r"], dtype=TensorProto.INT64),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_operator_is_refused_by_name_even_unused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GraphRefused, match=rf"is {name}: .* an input of role noise"):
        read(tmp_path, flat(RANDOM[name]))


def test_random_operator_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="'/noise/Random'"):
        read(tmp_path, flat(RANDOM["RandomNormalLike"]))


def branching(inner: str = "Identity") -> ModelProto:
    """Z doubled or ``inner``, by a branch that reads a tensor from outside."""
    constant = node(
        "Constant", [], ["two"], value=numpy_helper.from_array(np.array(2, np.float32), "two")
    )
    value = helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)
    then = helper.make_graph(
        [constant, node("Mul", ["outside", "two"], ["branch"])], "a", [], [value]
    )
    other = helper.make_graph([node(inner, ["outside"], ["branch"])], "b", [], [value])
    always = numpy_helper.from_array(np.array(True), "always")
    model = flat(
        node("Identity", ["z"], ["outside"]),
        node("Constant", [], ["always"], value=always),
        node("If", ["always"], ["chosen"], then_branch=then, else_branch=other),
        last="chosen",
    )
    return model


def test_random_operator_in_a_branch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="RandomNormalLike"):
        read(tmp_path, branching("RandomNormalLike"))


def test_random_operator_in_a_function_is_refused(tmp_path: Path) -> None:
    model = flat(node("Noisy", ["z"], ["noisy"], domain="org.example"), last="noisy")
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    body = [node("RandomNormalLike", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("org.example", "Noisy", ["x"], ["y"], body, opsets))
    with pytest.raises(GraphRefused, match="RandomNormalLike"):
        read(tmp_path, model)


def dropout(training: bool | None, *, computed: bool = False) -> ModelProto:
    inputs = ["z"] if training is None else ["z", "", "training"]
    model = flat(node("Dropout", inputs, ["dropped"]), last="dropped")
    if training is not None and not computed:
        model.graph.initializer.append(numpy_helper.from_array(np.array(training), "training"))
    if computed:
        constant = numpy_helper.from_array(np.array(training), "flag")
        model.graph.node.insert(0, node("Constant", [], ["flag"], value=constant))
        model.graph.node.insert(1, node("Not", ["flag"], ["training"]))
    return model


@pytest.mark.parametrize("model", [dropout(True), dropout(False, computed=True)])
def test_dropout_in_training_is_refused(tmp_path: Path, model: ModelProto) -> None:
    with pytest.raises(GraphRefused, match=r"Dropout in training mode: .* after \.eval\(\)"):
        read(tmp_path, model)


@pytest.mark.parametrize("model", [dropout(None), dropout(False)])
def test_dropout_at_rest_is_taken(tmp_path: Path, model: ModelProto) -> None:
    assert read(tmp_path, model)


# --- Names, types and shapes. ---


def test_other_names_are_refused_with_the_cure(tmp_path: Path) -> None:
    text = SPEC.replace("name: z", "name: latent")
    with pytest.raises(SpecMismatch, match=r"inputs z, and .* latent: .*`rename: \{z: latent\}`"):
        read(tmp_path, flat(), text)
    with pytest.raises(SpecMismatch, match=r"outputs image, and .*rename: \{image: picture\}"):
        read(tmp_path, flat(), SPEC.replace("name: image", "name: picture"))


def test_rename_is_the_cure(tmp_path: Path) -> None:
    """Even where the graph has a tensor of that name inside, or the two names are exchanged."""
    text = SPEC.replace("name: z", "name: image").replace(
        "kind: image, name: image", "kind: image, name: unit"
    )
    text += "rename: {z: image, image: unit}"
    full = finish(read(tmp_path, flat(), text), spec_of(tmp_path, text))
    given = onnx_run(full.SerializeToString())({"image": np.zeros((1, 8), np.float32)})
    np.testing.assert_array_equal(given["unit"], np.full((1, 2, 4, 1), 128, np.uint8))


def test_input_that_the_spec_leaves_out_is_refused(tmp_path: Path) -> None:
    model = flat()
    model.graph.input.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", 1]))
    with pytest.raises(SpecMismatch, match="inputs z, noise, and the spec declares z"):
        read(tmp_path, model)


@pytest.mark.parametrize("ir", [3, 8])
def test_weights_that_are_listed_as_inputs_are_weights(tmp_path: Path, ir: int) -> None:
    model = flat(ir=ir)
    model.graph.input.append(helper.make_tensor_value_info("picture_shape", TensorProto.INT64, [4]))
    full = finish(read(tmp_path, model), spec_of(tmp_path))
    assert onnx_run(full.SerializeToString())({"z": np.zeros((1, 8), np.float32)})


def test_output_that_the_spec_leaves_out_is_left_out(tmp_path: Path) -> None:
    model = flat()
    model.graph.output.append(helper.make_tensor_value_info("unit", TensorProto.FLOAT, ["N", 8]))
    full = finish(read(tmp_path, model), spec_of(tmp_path))
    assert [output.name for output in full.graph.output] == ["image", "image.float"]


@pytest.mark.parametrize(
    ("model", "text", "told"),
    [
        (flat(), SPEC.replace("[8]", "[9]"), r"float32 \[N, 8\], .* float32 \[batch, 9\]"),
        (flat(), SPEC.replace("[8]", "[8, 1]"), r"\[batch, 8, 1\]: change the spec"),
        (flat(), SPEC.replace("width: 4", "width: 3"), r"'image' .*\[N, 1, 2, 4\], .*1, 2, 3\]"),
        (flat(), SPEC.replace("low: 0, high: 1", "values: uint8"), r"as uint8 \[batch, 2, 4, 1\]"),
        (flat(), SPEC.replace("role: latent", "role: index, high: 3"), "as int64"),
        (identity(1, 3, "h", "w"), FREE, r"batch fixed at 1: .* free first axis"),
        (identity("n", 3, 4, 4), FREE, r"\[n, 3, 4, 4\], .*\[batch, 3, 1, 1\] at 1x1"),
        (identity("n", "h", "w", 3), FREE, r"\[n, h, w, 3\], .*\[batch, 3, 1, 1\]"),
        (identity("n", 3, "h", "w", kind=TensorProto.FLOAT16), FREE, "is float16"),
    ],
)
def test_tensor_that_is_not_as_declared_is_refused(
    tmp_path: Path, model: ModelProto, text: str, told: str
) -> None:
    with pytest.raises(SpecMismatch, match=told):
        read(tmp_path, model, text)


def test_graph_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    model = flat()
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 5
    with pytest.raises(GraphRefused, match="is not valid ONNX"):
        read(tmp_path, model)


def test_shape_that_the_graph_does_not_tell_is_found_out(tmp_path: Path) -> None:
    model, text = flat(), SPEC.replace("width: 4", "width: 5")
    model.graph.output[0].type.tensor_type.shape.dim[3].Clear()
    with pytest.raises(SpecMismatch, match="cannot give what the spec declares"):
        finish(read(tmp_path, model, text), spec_of(tmp_path, text))


# --- The tail, and what is left of the author's notes. ---


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255), (-3, 1)])
def test_floats_become_levels_with_the_ends_of_the_range_black_and_white(
    tmp_path: Path, low: int, high: int
) -> None:
    text = FREE.replace("low: 0, high: 255", f"low: {low}, high: {high}")
    full = finish(read(tmp_path, identity("n", 3, "h", "w"), text), spec_of(tmp_path, text))
    levels = np.arange(256, dtype=np.float32)
    image = np.tile((low + (high - low) * levels / 255).reshape(1, 1, 16, 16), (2, 3, 1, 1))
    image[1] += 2 * (high - low)  # beyond the range
    given = onnx_run(full.SerializeToString())({"image": image})
    assert given["picture"].dtype == np.uint8
    np.testing.assert_array_equal(given["picture"][0, :, :, 2].ravel(), levels)
    assert (given["picture"][1] == 255).all()
    np.testing.assert_allclose(given["picture.float"][0, 0].ravel(), levels / 127.5 - 1, atol=1e-6)


def test_branches_read_what_is_outside_them_still(tmp_path: Path) -> None:
    full = finish(read(tmp_path, branching()), spec_of(tmp_path))
    given = onnx_run(full.SerializeToString())({"z": np.ones((1, 8), np.float32)})
    np.testing.assert_allclose((given["image.float"] + 1) / 2, 1 / (1 + np.exp(-2.0)), rtol=1e-6)


def test_notes_of_the_author_are_gone(tmp_path: Path) -> None:
    model = branching()
    secret = "/somewhere/of/the/author"
    branch = model.graph.node[2].attribute[0].g
    for owner in (model, model.graph, model.graph.node[0], branch, branch.node[0]):
        owner.doc_string = secret
        owner.metadata_props.add(key="source", value=secret)
    model.graph.input[0].doc_string = secret
    assert secret.encode() not in read(tmp_path, model).SerializeToString()


# --- All the way. ---


def test_graph_of_finished_pictures_is_a_bundle_of_the_same(tmp_path: Path) -> None:
    model = tiny_graph(classes=3, size=8)
    bundle = export_graph(saved(tmp_path, model), spec_of(tmp_path, TINY), tmp_path, "tiny")
    graph = bundle.manifest.graph("generate")
    rows = varied_rows(graph.inputs, range(5), 8, 8)
    expected = onnx_run(model.SerializeToString())(rows)["image"]
    np.testing.assert_array_equal(onnx_run(bundle.file(graph.onnx))(rows)["image"], expected)
    assert bundle.manifest.preview == "preview.png"


def mixing() -> ModelProto:
    return flat(
        node("ReduceMean", ["z"], ["mean"], axes=[0], keepdims=1),
        node("Sub", ["z", "mean"], ["apart"]),
        last="apart",
    )


def fixed_inside() -> ModelProto:
    model = flat()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.array([2, 1, 2, 4]), "picture_shape")
    )
    return model


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        (mixing(), ParityError, "depend on their neighbours"),
        (flat(node("Log", ["z"], ["log"]), last="log"), ParityError, "NaN or infinity"),
        (fixed_inside(), SpecMismatch, "does not take 3 rows of 2x4"),
    ],
)
def test_graph_that_cannot_be_served_is_not_published(
    tmp_path: Path, model: ModelProto, kind: type[ExportError], told: str
) -> None:
    models = tmp_path / "models"
    with pytest.raises(kind, match=told):
        export_graph(saved(tmp_path, model), spec_of(tmp_path), models, "x")
    assert not models.exists()


def test_operators_that_onnx_runtime_adds_are_taken(tmp_path: Path) -> None:
    model = flat(node("Gelu", ["z"], ["g"], domain="com.microsoft"), last="g")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert export_graph(saved(tmp_path, model), spec_of(tmp_path), tmp_path, "x")
