"""What a run offers, and how its pictures leave the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.build import build
from export.errors import NotServable
from export.manifest import (
    FixedSize,
    Image,
    ImageOutput,
    Label,
    Latent,
    Scalar,
    Vector,
    VectorOutput,
)
from export.scores import Scored
from export.servable import SERVABLES, Probe, Servable, offer, torch_run
from tests.export.networks import (
    CLASSES,
    LATENT,
    Conditional,
    Convolutional,
    Perceptron,
    conditional_run,
    loaded_run,
    seeded,
)
from tests.training.tiny import SHAPE, tiny_config, tiny_recipe
from training.layers import to_uint8
from training.recipes import SYSTEMS
from training.run import LoadedRun


def test_levels_of_the_ends_the_middle_and_beyond() -> None:
    x = torch.tensor([-1.0, 1.0, 0.0, -1e-6, -7.0, 7.0, 1 / 127.5 - 1, 0.4 / 127.5 - 1])
    levels = to_uint8(x.reshape(1, 1, 1, -1)).flatten().tolist()
    assert levels == [0, 255, 128, 127, 0, 255, 1, 0]  # 127.5 goes to the even 128


def test_pictures_leave_as_nhwc_bytes() -> None:
    x = torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    given = to_uint8(x)
    assert (given.dtype, tuple(given.shape)) == (torch.uint8, (2, 4, 5, 3))
    expected = np.rint((x.numpy() + 1) * np.float32(127.5)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(given.numpy(), expected)


def test_every_system_has_a_row() -> None:
    assert SERVABLES.keys() == SYSTEMS.keys()


def test_unconditional_offer() -> None:
    offered = offer(loaded_run(seeded(Perceptron()), "gan"))
    servable = offered.graphs[offered.tasks["generate"]]
    z, truncation = servable.inputs
    assert z == Latent(name="z", shape=(LATENT,))
    assert isinstance(truncation, Scalar)
    assert (truncation.low, truncation.high, truncation.default) == (0, 1, 1)
    assert "multiplied" in truncation.description
    assert servable.outputs == (ImageOutput(name="image", channels=1),)
    assert offered.size == FixedSize(height=4, width=6)


def test_conditional_offer() -> None:
    offered = offer(conditional_run())
    inputs = offered.graphs["generator"].inputs
    assert [entry.name for entry in inputs] == ["z", "label", "truncation"]
    assert inputs[1] == Label(name="label", classes=CLASSES)
    assert offered.graphs["generator"].outputs == (ImageOutput(name="image", channels=3),)


def test_latent_has_the_distribution_that_was_trained_on() -> None:
    run = loaded_run(seeded(Convolutional()), "dcgan", prior="uniform")
    assert offer(run).graphs["generator"].inputs[0] == Latent(
        name="z", shape=(LATENT,), distribution="uniform"
    )


def test_classes_without_names_are_numbered() -> None:
    offered = offer(loaded_run(seeded(Conditional()), "cgan"))
    assert offered.graphs["generator"].inputs[1] == Label(name="label", classes=("0", "1", "2"))


def test_wrong_number_of_class_names_is_refused() -> None:
    with pytest.raises(NotServable, match="3 classes, its data set 2 names"):
        offer(loaded_run(seeded(Conditional()), "cgan", ("cat", "dog")))


def test_unknown_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SERVABLES, "cgan")
    with pytest.raises(NotServable, match=r"'cgan'.*did you mean 'dcgan'|'cgan'.*'gan'"):
        offer(conditional_run())


def test_truncation_scales_z_in_its_own_row() -> None:
    generator = seeded(Convolutional())
    servable = offer(loaded_run(generator)).graphs["generator"]
    z = torch.randn(3, LATENT, generator=torch.Generator().manual_seed(0))
    (given,) = servable.floats(z, torch.tensor([1.0, 0.5, 0.0]))
    scaled = torch.stack([z[0], z[1] / 2, torch.zeros(LATENT)])
    assert torch.equal(given, generator(scaled))


def test_probe_adds_the_float_pictures() -> None:
    servable = offer(loaded_run(seeded(Convolutional()))).graphs["generator"]
    probe = Probe(servable)
    rows = {"z": np.ones((2, LATENT), np.float32), "truncation": np.ones(2, np.float32)}
    given = torch_run(probe, servable.inputs, probe.names)(rows)
    assert list(given) == ["image", "image.float"]
    np.testing.assert_array_equal(
        given["image"], to_uint8(torch.from_numpy(given["image.float"])).numpy()
    )


class Two(nn.Module):
    """A network with two outputs, of which one is a picture."""

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return w * 2, w.reshape(-1, 1, 2, 2)


def test_vectors_leave_as_they_are() -> None:
    outputs = (VectorOutput(name="doubled", shape=(4,)), ImageOutput(name="image", channels=1))
    servable = Servable(Two(), [Vector(name="w", shape=(4,))], outputs)
    w = torch.tensor([[0.0, 0.25, 0.5, 1.0]])
    doubled, image = servable(w)
    assert torch.equal(doubled, w * 2)
    assert image.dtype == torch.uint8
    assert Probe(servable).names == ["doubled", "image", "image.float"]


class Halved(nn.Module):
    """Makes a picture again at half its brightness."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images / 2, images.flatten(1)


def mean_distance(images: Tensor, made: Tensor) -> Tensor:
    return (images - made).abs().flatten(1).mean(1)


def test_share_below_is_where_an_energy_stands_among_the_known_ones() -> None:
    scored = Scored(Halved(), mean_distance, torch.linspace(0, 0.4, 1000))
    x = torch.tensor([0.0, 0.2, 0.4, 0.8, 1.0]).reshape(5, 1, 1, 1).expand(5, 1, 2, 2)
    energy, share, error = scored(x)
    torch.testing.assert_close(energy, torch.tensor([0.0, 0.1, 0.2, 0.4, 0.5]))
    torch.testing.assert_close(share, torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(error, x[:, 0] / 4)  # half of a difference, as pixels span 2


def test_equal_energies_are_no_cliff() -> None:
    scored = Scored(Halved(), mean_distance, torch.full((50,), 0.2))
    _, share, _ = scored(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1))
    assert share.tolist() == [0, 1]


@pytest.mark.parametrize("settings", [{}, {"code": None, "d_norm": "batch"}])
def test_an_energy_based_pair_generates_and_scores(settings: dict[str, Any]) -> None:
    recipe = tiny_recipe("ebgan", **settings).eval().requires_grad_(False)
    config = tiny_config("none", "ebgan", settings)
    offered = offer(LoadedRun(Path("run"), config, recipe, 0, {"classes": []}))
    assert offered.tasks == {"generate": "generator", "score": "energy"}
    scored = offered.graphs["energy"]
    assert scored.inputs == (Image(name="image", channels=SHAPE.channels),)
    assert scored.names == ["energy", "share_below", "error"]
    assert scored.outputs[-1] == VectorOutput(name="error", shape=(16, 16))
    built = build(scored, offered.size, torchscript=True, progress=lambda step: None)
    assert built.findings.onnx is not None  # and nothing was refused
    assert len(scored.state_dict()) < len(recipe.state_dict())  # the generator is not in it
