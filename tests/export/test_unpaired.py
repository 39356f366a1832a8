"""What a translator between two domains offers: a label and a style beside the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from export.bundle import load_bundle
from export.draw import draw
from export.manifest import FreeSize, Image, ImageOutput, Label, Latent, VectorOutput
from export.provenance import provenance
from export.publish import export_bundle
from export.rows import varied_rows
from export.runtime import onnx_run
from export.servable import offer, torch_run
from export.to_torchscript import load_torchscript
from tests.export.networks import loaded_run
from training.config import validate
from training.recipe import Shape
from training.recipes import SYSTEMS
from training.run import LoadedRun

SMALL: dict[str, Any] = {"base_channels": 4, "hidden": 8, "d_base_channels": 4, "patch": 16}
SIZES = [(16, 16), (16, 24), (28, 20)]


def trained(side: int = 16, **settings: Any) -> LoadedRun:  # noqa: ANN401
    """Random weights, but always the same; domains ``drawn`` and ``flat``."""
    torch.manual_seed(0)
    recipe = {"system": "unpaired", **SMALL, "blocks": 1, "latent": 3, **settings}
    raw = {
        "recipe": recipe,
        "data": {"source": "x", "size": side, "pairing": "unpaired:/pictures/drawn"},
        "schedule": {"kimg": 1},
    }
    config = validate(raw, "test")
    shape = Shape(3, side, source_channels=3)
    built = next(SYSTEMS["unpaired"].stages(config.recipe, shape))
    run = loaded_run(built.generator.eval().requires_grad_(False), "unpaired")
    run.dataset.update(channels=3, source_channels=3, size=side, domains=["drawn", "flat"])
    return LoadedRun(run.path, config, run.recipe, run.images_seen, run.dataset)


def test_both_directions_are_one_graph_and_the_style_another() -> None:
    offered = offer(trained())
    assert offered.tasks == {"translate": "translator", "encode": "style"}
    picture, style = Image(name="image", channels=3), Latent(name="style", shape=(3,))
    translator, look = offered.graphs["translator"], offered.graphs["style"]
    assert translator.inputs == (picture, Label(name="label", classes=("drawn", "flat")), style)
    assert translator.outputs == (ImageOutput(name="translation", channels=3),)
    assert look.inputs == (picture,)
    assert look.outputs == (VectorOutput(name=style.name, shape=style.shape),)
    assert isinstance(offered.size, FreeSize)
    assert (offered.size.stride, offered.size.min_side) == (4, 16)


def test_pairs_have_domains_too() -> None:
    run = trained()
    del run.dataset["domains"]
    label = offer(run).graphs["translator"].inputs[1]
    assert cast(Label, label).classes == ("source", "target")


def test_the_bundle_gives_the_same_at_every_size(tmp_path: Path) -> None:
    run = trained(fold=2, halvings=1, kernel=3, stem=3)
    export_bundle(run, tmp_path, "drawings")
    bundle = load_bundle(tmp_path / "drawings" / "1")
    parity = bundle.manifest.parity
    assert parity is not None
    assert parity.batches == (1, 2, 3, 8, 17)
    for task, name in (("translate", "translation"), ("encode", "style")):
        graph = bundle.manifest.graph(cast(Any, task))
        servable = offer(run).graphs[bundle.manifest.tasks[cast(Any, task)]]
        assert graph.torchscript is not None
        script = load_torchscript(bundle.file(graph.torchscript).read_bytes())
        eager = torch_run(servable, servable.inputs, servable.names)
        others = onnx_run(bundle.file(graph.onnx)), torch_run(script, servable.inputs, [name])
        for height, width in SIZES:
            rows = varied_rows(graph.inputs, range(5), height, width)
            expected = eager(rows)[name]
            assert expected.shape == ((5, height, width, 3) if task == "translate" else (5, 3))
            for other in others:
                limit = 1 if task == "translate" else 1e-4
                assert np.abs(expected.astype(np.float64) - other(rows)[name]).max() <= limit


@pytest.mark.parametrize(("fold", "halvings", "least"), [(1, 2, 16), (2, 3, 32), (4, 2, 32)])
def test_the_least_size_leaves_content_that_can_be_normed(
    fold: int, halvings: int, least: int
) -> None:
    offered = offer(trained(side=32, fold=fold, halvings=halvings))
    assert isinstance(offered.size, FreeSize)
    assert offered.size.min_side == least
    image, label, style = torch.rand(1, 3, least, least), torch.tensor([1]), torch.zeros(1, 3)
    (made,) = offered.graphs["translator"](image, label, style)
    assert made.shape == (1, least, least, 3)


def test_what_is_served_is_the_network_s_own_answer() -> None:
    run = trained()
    network = cast(Any, run.recipe.generator)
    translator, look = (offer(run).graphs[name] for name in ("translator", "style"))
    image, label = torch.rand(2, 3, 16, 16) * 2 - 1, torch.tensor([0, 1])
    style = torch.from_numpy(draw(cast(Latent, translator.inputs[2]), [1, 2], 16, 16))
    (made,) = translator.floats(image, label, style)
    assert torch.equal(made, network(image, label, style))
    assert not torch.equal(made, translator.floats(image, 1 - label, style)[0])
    (told,) = look.floats(image)
    assert torch.equal(told, network.style(image))


def test_the_user_s_folders_stay_at_home() -> None:
    config = provenance(trained()).config
    assert "/pictures" not in str(config)
    assert config["data"]["pairing"] == "unpaired:a folder"
