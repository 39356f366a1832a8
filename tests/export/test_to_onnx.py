"""The ONNX graph: its names, its free axes, what is not in it, and that it is quiet."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from export.errors import ConversionFailed
from export.manifest import FixedSize, FreeSize, Image, ImageOutput, Latent, Noise
from export.rows import varied_rows
from export.runtime import onnx_run
from export.servable import FLOAT, Offer, Servable, offer, torch_run
from export.to_onnx import OPSET, opset, published, to_onnx
from tests.export.networks import conditional_run


@pytest.fixture(scope="module")
def offered() -> Offer:
    return offer(conditional_run())


@pytest.fixture(scope="module")
def full(offered: Offer) -> onnx.ModelProto:
    return to_onnx(offered.graphs["generator"], offered.size)


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_param or axis.dim_value for axis in axes]


def test_names_and_axes(full: onnx.ModelProto) -> None:
    inputs = {value.name: shape(value) for value in full.graph.input}
    outputs = {value.name: shape(value) for value in full.graph.output}
    assert inputs == {"z": ["batch", 6], "label": ["batch"], "truncation": ["batch"]}
    assert outputs == {"image": ["batch", 8, 8, 3], "image.float": ["batch", 3, 8, 8]}


def test_published_graph_has_the_bytes_alone(full: onnx.ModelProto) -> None:
    graph = published(full)
    (image,) = graph.graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert FLOAT.encode() not in image.SerializeToString()
    assert len(full.graph.output) == 2  # the graph it came from is untouched


def test_opset_is_the_one_asked_for(full: onnx.ModelProto) -> None:
    assert opset(full) == OPSET
    assert [entry.domain for entry in full.opset_import] == [""]


def test_one_file_holds_all_weights(full: onnx.ModelProto) -> None:
    for tensor in full.graph.initializer:
        assert tensor.data_location == onnx.TensorProto.DEFAULT


def test_no_randomness_in_the_graph(full: onnx.ModelProto) -> None:
    assert not {node.op_type for node in full.graph.node if "Random" in node.op_type}


def test_nothing_of_this_machine_is_in_the_file(full: onnx.ModelProto) -> None:
    raw = full.SerializeToString()
    here = Path(__file__).resolve()
    folders = {str(here.parents[2]), sys.prefix, str(Path(torch.__file__).parent), here.stem}
    for text in (*folders, "site-packages", ".py", "stack_trace", "pkg.torch", "networks"):
        assert text.encode() not in raw, text
    assert not full.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in full.graph.node)


def test_graph_is_not_much_more_than_its_weights(full: onnx.ModelProto, offered: Offer) -> None:
    weights = sum(p.numel() * 4 for p in offered.graphs["generator"].parameters())
    assert len(published(full).SerializeToString()) < weights + 8_000


def test_equal_exports_are_equal_bytes(full: onnx.ModelProto, offered: Offer) -> None:
    again = to_onnx(offered.graphs["generator"], offered.size)
    assert again.SerializeToString(deterministic=True) == full.SerializeToString(deterministic=True)


def test_conversion_says_nothing(
    offered: Offer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are errors in tests, so that silence on the terminal is what is left to check."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    to_onnx(offered.graphs["generator"], offered.size)
    assert tuple(capfd.readouterr()) == ("", "")
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
    assert registry.level == level


class Frozen(nn.Module):
    """A network that knows how many rows it was traced with."""

    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(2, 1, 2, 2).tanh()


def test_network_with_a_fixed_batch_is_refused() -> None:
    servable = Servable(
        Frozen(), [Latent(name="z", shape=(4,))], [ImageOutput(name="image", channels=1)]
    )
    with pytest.raises(ConversionFailed, match="batch size"):
        to_onnx(servable, FixedSize(height=2, width=2))


class Pyramid(nn.Module):
    """Noise maps at two scales to a picture of any size, as SinGAN has them."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.coarse, self.fine = nn.Conv2d(2, 4, 3, 1, 1), nn.Conv2d(4, 1, 3, 1, 1)
        for parameter in self.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=random) / 3)

    def forward(self, noise_0: Tensor, noise_1: Tensor) -> Tensor:
        x = nn.functional.interpolate(
            self.coarse(noise_0).relu(), size=noise_1.shape[2:], mode="bilinear"
        )
        picture: Tensor = self.fine(x + noise_1).tanh()
        return picture


def test_sizes_are_free_where_declared() -> None:
    inputs = (
        Noise(name="noise_0", shape=(2, "height//2", "width//2")),
        Noise(name="noise_1", shape=(4, "height", "width")),
    )
    servable = Servable(Pyramid(), inputs, [ImageOutput(name="image", channels=1)])
    size = FreeSize(min_side=8, max_side=64, max_pixels=4096, stride=2, warm=((16, 12), (8, 20)))
    run = onnx_run(published(to_onnx(servable, size)).SerializeToString())
    eager = torch_run(servable, inputs, servable.names)
    for height, width in (*size.warm, (30, 64)):
        rows = varied_rows(inputs, range(3), height, width)
        given, expected = run(rows)["image"], eager(rows)["image"]
        assert given.shape == (3, height, width, 1)
        assert np.abs(given.astype(int) - expected).max() <= 1


def test_uploaded_pictures_are_an_input_like_any_other() -> None:
    source = Image(name="source", channels=3)
    servable = Servable(nn.Conv2d(3, 3, 1), [source], [ImageOutput(name="image", channels=3)])
    run = onnx_run(to_onnx(servable, FixedSize(height=6, width=4)).SerializeToString())
    rows = varied_rows([source], range(5), 6, 4)
    assert run(rows)["image"].shape == (5, 6, 4, 3)
