"""What a translator offers: a picture and its dropout in, a picture of the same size out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from export.bundle import load_bundle
from export.draw import draw
from export.manifest import FreeSize, Image, ImageOutput, Noise
from export.publish import export_bundle
from export.rows import varied_rows
from export.runtime import onnx_run
from export.servable import offer, torch_run
from export.to_torchscript import load_torchscript
from tests.export.networks import loaded_run, seeded
from training.config import validate
from training.recipe import Shape
from training.recipes import SYSTEMS
from training.run import LoadedRun
from training.unet import KEEP

SMALL: dict[str, Any] = {"base_channels": 4, "max_channels": 8, "d_base_channels": 4, "patch": 16}
SIZES = [(8, 8), (8, 16), (24, 16)]


def trained(**settings: Any) -> LoadedRun:  # noqa: ANN401
    raw = {
        "recipe": {"system": "pix2pix", **SMALL, "depth": 3, "dropout_levels": 2, **settings},
        "data": {"source": "x", "size": 16},
        "schedule": {"kimg": 1},
    }
    shape = Shape(3, 16, (), source_channels=1)
    recipe = next(SYSTEMS["pix2pix"].stages(validate(raw, "test").recipe, shape))
    run = loaded_run(seeded(recipe.generator), "pix2pix")
    run.dataset.update(channels=3, source_channels=1, size=16)
    return run


def test_a_translator_takes_a_picture_and_its_dropout() -> None:
    offered = offer(trained())
    graph = offered.graphs[offered.tasks["translate"]]
    assert set(offered.tasks) == {"translate"}
    picture, *masks = graph.inputs
    assert picture == Image(name="image", channels=1)
    shapes = [(8, "height//4", "width//4"), (4, "height//2", "width//2")]
    assert masks == [
        Noise(name=f"dropout_{k}", shape=shape, distribution="bernoulli", keep=KEEP)
        for k, shape in enumerate(shapes, 1)
    ]
    assert graph.outputs == (ImageOutput(name="translation", channels=3),)
    assert isinstance(offered.size, FreeSize)
    assert (offered.size.stride, offered.size.warm) == (8, ((16, 16),))


def test_a_translator_without_dropout_takes_a_picture_alone() -> None:
    offered = offer(trained(dropout_levels=0))
    assert [entry.role for entry in offered.graphs["translator"].inputs] == ["image"]


def test_the_bundle_gives_the_translator_s_pictures_at_every_size(tmp_path: Path) -> None:
    run = trained()
    export_bundle(run, tmp_path, "shades")
    bundle = load_bundle(tmp_path / "shades" / "1")
    graph = bundle.manifest.graph("translate")
    parity = bundle.manifest.parity
    assert parity is not None
    assert parity.batches == (1, 2, 3, 8, 17)
    assert graph.torchscript is not None
    servable = offer(run).graphs["translator"]
    eager = torch_run(servable, servable.inputs, servable.names)
    onnx = onnx_run(bundle.file(graph.onnx))
    script = load_torchscript(bundle.file(graph.torchscript).read_bytes())
    scripted = torch_run(script, servable.inputs, servable.names)
    for height, width in SIZES:
        rows = varied_rows(graph.inputs, range(5), height, width)
        expected = eager(rows)["translation"]
        assert expected.shape == (5, height, width, 3)
        for given in (onnx(rows)["translation"], scripted(rows)["translation"]):
            assert np.abs(expected.astype(int) - given).max() <= 1


def test_the_dropout_that_is_served_is_that_of_training() -> None:
    """Zeros and ones in the shares that the network was trained with, and its own answer."""
    run = trained()
    graph = offer(run).graphs["translator"]
    image = torch.rand(2, 1, 16, 16) * 2 - 1
    masks = [draw(cast(Noise, entry), [1, 2], 16, 16) for entry in graph.inputs[1:]]
    drawn = np.concatenate([mask.ravel() for mask in masks])
    assert set(np.unique(drawn)) == {0, 1}
    assert abs(drawn.mean() - KEEP) < 0.1
    tensors = [torch.from_numpy(mask) for mask in masks]
    shapes = [mask.shape for mask in cast(Any, run.recipe.generator).masks(image)]
    assert [mask.shape for mask in tensors] == shapes
    (made,) = graph.floats(image, *tensors)
    assert torch.equal(made, run.recipe.generator(image, *tensors))
    (other,) = graph.floats(image, *(1 - mask for mask in tensors))
    assert not torch.equal(made, other)
