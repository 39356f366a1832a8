"""What an autoencoder and a VAE offer: the halves are the coder, blocks are its blocks."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from export.coders import Blocks
from export.manifest import (
    FixedSize,
    FreeSize,
    Image,
    ImageOutput,
    Latent,
    Noise,
    Scalar,
    VectorOutput,
)
from export.servable import Offer, offer
from tests.export.networks import loaded_run, seeded
from training.config import validate
from training.recipe import Shape
from training.recipes import SYSTEMS
from training.run import LoadedRun


def trained(system: str, channels: int = 1, **settings: Any) -> LoadedRun:  # noqa: ANN401
    raw = {
        "recipe": {"system": system, "latent": 3, **settings},
        "data": {"source": "x", "size": 8},
        "schedule": {"kimg": 1},
    }
    recipe = next(SYSTEMS[system].stages(validate(raw, "test").recipe, Shape(channels, 8)))
    run = loaded_run(seeded(recipe.generator), system, latent=3, **settings)
    run.dataset.update(channels=channels, size=8)
    return run


def answer(offered: Offer, task: str, *rows: torch.Tensor) -> torch.Tensor:
    servable = offered.graphs[offered.tasks[cast(Any, task)]]
    assert len(servable.inputs) == len(rows)
    (given,) = servable.floats(*rows)
    return given


X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_autoencoder_answers_three_tasks_with_its_halves() -> None:
    run = trained("autoencoder")
    offered = offer(run)
    assert offered.size == FixedSize(height=8, width=8)
    assert set(offered.tasks) == {"encode", "generate", "translate"}
    encoder, decoder, coder = (
        offered.graphs[offered.tasks[cast(Any, task)]]
        for task in ("encode", "generate", "translate")
    )
    picture = Image(name="image", channels=1)
    assert encoder.inputs == coder.inputs == (picture,)
    assert encoder.outputs == (VectorOutput(name="z", shape=(3,)),)
    assert decoder.inputs == (Latent(name="z", shape=(3,), distribution="uniform"),)
    assert decoder.outputs == (ImageOutput(name="reconstruction", channels=1),)
    code = answer(offered, "encode", X)
    assert torch.equal(answer(offered, "generate", code), answer(offered, "translate", X))
    assert torch.equal(answer(offered, "translate", X), run.recipe.generator(X))


@pytest.mark.parametrize(("code", "drawn"), [("tanh", "uniform"), ("linear", "normal")])
def test_latents_are_drawn_where_the_codes_are(code: str, drawn: str) -> None:
    offered = offer(trained("autoencoder", code=code))
    (z,) = offered.graphs["decoder"].inputs
    assert isinstance(z, Latent)
    assert z.distribution == drawn


@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_are_coded_each_for_itself_and_laid_where_they_were(channels: int) -> None:
    run = trained("autoencoder", channels, blocks=True)
    offered = offer(run)
    assert isinstance(offered.size, FreeSize)
    assert offered.size.stride == 8
    shape = (3, "height//8", "width//8")
    assert offered.graphs["encoder"].outputs == (VectorOutput(name="z", shape=shape),)
    whole = torch.rand(2, channels, 16, 24) * 2 - 1
    codes, found = answer(offered, "encode", whole), answer(offered, "translate", whole)
    assert codes.shape == (2, 3, 2, 3)
    assert found.shape == whole.shape
    coder = cast(Any, run.recipe.generator)
    for row in range(2):
        for column in range(3):
            block = whole[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            there = found[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            torch.testing.assert_close(codes[:, :, row, column], coder.encode(block))
            torch.testing.assert_close(there, coder(block))
    assert torch.equal(answer(offered, "generate", codes), found)
    assert torch.equal(Blocks(coder, 8)(whole), found)


def test_vae_takes_its_noise_as_an_input_and_scales_it_per_row() -> None:
    run = trained("vae", hidden=[5])
    offered = offer(run)
    assert set(offered.tasks) == {"encode", "generate", "translate"}
    image, noise, strength = offered.graphs[offered.tasks["translate"]].inputs
    assert isinstance(image, Image)
    assert noise == Noise(name="noise", shape=(3,))
    assert isinstance(strength, Scalar)
    coder = cast(Any, run.recipe.generator)
    mean, log_variance = coder.posterior(X)
    assert torch.equal(answer(offered, "encode", X), mean)
    drawn = torch.tensor([[1.0, -2, 0.5]]).repeat(2, 1)
    found = answer(offered, "translate", X, drawn, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found[0], coder(mean)[0])
    torch.testing.assert_close(found[1], coder(mean + (log_variance / 2).exp() * drawn)[1])
    assert [entry.name for entry in offered.graphs["generator"].inputs] == ["z", "truncation"]
    z = torch.randn(2, 3)
    torch.testing.assert_close(answer(offered, "generate", z, torch.ones(2)), coder(z))
