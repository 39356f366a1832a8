"""Every system against the same expectations, and what is particular to each."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tests.training.tiny import CLASSES, tiny_batch, tiny_config, tiny_recipe
from training.data.batches import Batches
from training.errors import ConfigError
from training.layers import ConditionalBatchNorm2d
from training.log import Log
from training.losses import OBJECTIVES
from training.recipe import Batch, Recipe, Shape
from training.recipes import SYSTEMS
from training.recipes.cgan import other_labels
from training.recipes.gan import GAN
from training.train import begin
from training.trainer import step

CONVOLUTIONAL = ["dcgan", "cgan"]
ADVERSARIAL = ["gan", *CONVOLUTIONAL]
BY_OBJECTIVE = ["gan", "dcgan", "cgan"]  # the systems whose game is chosen by name
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("gan", {}),
    ("gan", {"discriminator": "maxout", "dropout": 0.5, "prior": "uniform"}),
    ("dcgan", {}),
    ("dcgan", {"upsampling": "transposed", "d_norm": "batch", "d_stem": False}),
    ("dcgan", {"d_norm": "none", "r1": 1.0, "r2": 1.0}),
    ("cgan", {}),
    ("cgan", {"conditioning": "concatenated", "initial_std": 0.02, "d_norm": "none"}),
    ("cgan", {"mismatch": 0.5, "r1": 1.0}),
    ("cgan", {"mode_seeking": 1.0}),
    ("cgan", {"mode_seeking": 0.1, "objective": "relativistic", "r2": 1.0, "mismatch": 0.5}),
    ("dcgan", {"minibatch_kernels": 4, "minibatch_dims": 2, "minibatch_deviation": True}),
    ("dcgan", {"packing": 2, "r1": 1.0}),
]


def each_option() -> list[object]:
    named = [(system, settings, f"{system}-{'-'.join(settings)}") for system, settings in OPTIONS]
    return [pytest.param(*case[:2], id=case[2].rstrip("-")) for case in named]


def networks(recipe: Recipe) -> GAN:
    return cast(GAN, recipe)


def losses(recipe: Recipe, seed: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        f"{phase.name}/{name}": term
        for phase in recipe.phases()
        for name, term in phase.loss(tiny_batch(), 0).items()
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 28, 32, 48])
@pytest.mark.parametrize(("system", "settings"), each_option())
def test_pictures_have_the_shape_and_range_of_the_data(
    system: str, settings: dict[str, Any], size: int, channels: int
) -> None:
    recipe = networks(tiny_recipe(system, Shape(channels, size, CLASSES), **settings))
    batch = tiny_batch(4, channels, size)
    pictures = recipe.generator(*recipe.inputs(batch))
    assert pictures.shape == (4, channels, size, size)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    assert recipe.logits(pictures, batch).shape == (4 // settings.get("packing", 1),)


@pytest.mark.parametrize("system", ADVERSARIAL)
def test_generator_says_what_it_takes(system: str) -> None:
    recipe = tiny_recipe(system, latent=7)
    z, *label = recipe.inputs(tiny_batch(5))
    assert recipe.generator.latent == 7
    assert z.shape == (5, 7)
    assert bool(label) == SYSTEMS[system].conditional
    assert getattr(recipe.generator, "classes", 0) == len(CLASSES) * SYSTEMS[system].conditional


@pytest.mark.parametrize("system", ADVERSARIAL)
def test_prior_is_drawn_as_configured(system: str) -> None:
    torch.manual_seed(0)
    normal, *_ = tiny_recipe(system, latent=64).inputs(tiny_batch(256))
    uniform, *_ = tiny_recipe(system, latent=64, prior="uniform").inputs(tiny_batch(256))
    assert normal.std().item() == pytest.approx(1, abs=0.02)
    assert normal.abs().max() > 2
    assert uniform.std().item() == pytest.approx(1 / 3**0.5, abs=0.02)
    assert uniform.min().item() == pytest.approx(-1, abs=0.01)
    assert uniform.max().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("system", BY_OBJECTIVE)
def test_every_term_is_named_and_finite(system: str, objective: str) -> None:
    settings: dict[str, Any] = {"objective": objective, "r1": 0.5, "r2": 0.5}
    expected = {"d/adversarial", "d/r1", "d/r2", "g/adversarial"}
    if system == "cgan":
        settings["mismatch"] = 0.5
        expected |= {"d/mismatch"}
    terms = losses(tiny_recipe(system, **settings))
    assert set(terms) == expected
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())


@pytest.mark.parametrize(("system", "settings"), each_option())
def test_same_seed_gives_the_same_losses_bit_for_bit(system: str, settings: dict[str, Any]) -> None:
    one = losses(tiny_recipe(system, **settings))
    again = losses(tiny_recipe(system, **settings))
    other = losses(tiny_recipe(system, **settings), seed=6)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in again.items()}
    assert one["d/adversarial"].item() != other["d/adversarial"].item()


class OneBatch(Batches):
    """The same batch for ever."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def batch(self, k: int) -> Batch:
        return tiny_batch()


@pytest.mark.parametrize("phase_index", [0, 1])
@pytest.mark.parametrize(("system", "settings"), each_option())
def test_one_step_changes_exactly_what_the_phase_learns(
    system: str, settings: dict[str, Any], phase_index: int
) -> None:
    config = tiny_config("none", system, settings)
    recipe = tiny_recipe(system, **settings)
    state = begin(recipe, config.schedule.ema_kimg, 0, torch.device("cpu"))
    phase = recipe.phases()[phase_index]
    before = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    learnt = {id(p) for p in phase.learns.parameters()}
    step(phase, state, OneBatch(), config.schedule, Fabric(devices=1), Log())
    changed = {n for n, p in recipe.named_parameters() if not torch.equal(p, before[n])}
    may_change = {n for n, p in recipe.named_parameters() if id(p) in learnt}
    weights = {n for n in may_change if before[n].ndim > 1}
    assert weights <= changed <= may_change
    assert weights


@pytest.mark.parametrize(("system", "settings"), each_option())
def test_signals_are_probabilities(system: str, settings: dict[str, Any]) -> None:
    signals = tiny_recipe(system, **settings).eval().signals(tiny_batch())
    assert all(0 < signals[name] < 1 for name in ("d_real", "d_fake"))
    assert all(0 <= signals[name] <= 1 for name in ("accuracy_real", "accuracy_fake"))
    assert 0 <= signals["jsd"] <= math.log(2)
    assert all(signals[name] > 0 for name in ("diversity", "near_fake", "near_real", "left_out"))


@pytest.mark.parametrize("system", BY_OBJECTIVE)
def test_r1_looks_at_real_images_and_r2_at_generated_ones(system: str) -> None:
    recipe = networks(
        tiny_recipe(system, d_norm="none", r1=2.0, r2=4.0)
        if system in CONVOLUTIONAL
        else tiny_recipe(system, r1=2.0, r2=4.0)
    )
    batch = tiny_batch()
    torch.manual_seed(5)
    terms = recipe.d_loss(batch, 0)
    torch.manual_seed(5)
    fake = recipe.generator(*recipe.inputs(batch)).detach()
    for name, images, gamma in (("r1", batch.x, 2.0), ("r2", fake, 4.0)):
        images = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(recipe.logits(images, batch).sum(), images)
        expected = gamma / 2 * slope.square().flatten(1).sum(1).mean()
        torch.testing.assert_close(terms[name], expected)


@pytest.mark.parametrize("steps", [1, 3])
def test_discriminator_takes_k_steps(steps: int) -> None:
    d, g = tiny_recipe("gan", d_steps=steps).phases()
    assert (d.name, d.repeats, g.name, g.repeats) == ("d", steps, "g", 1)


@pytest.mark.parametrize("classes", [(), ("only",)])
def test_cgan_refuses_data_without_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(
        ConfigError, match="subfolder of its name, or train the unconditional dcgan"
    ):
        tiny_recipe("cgan", Shape(1, 16, classes))


@pytest.mark.parametrize("system", CONVOLUTIONAL)
def test_a_size_that_does_not_halve_is_refused(system: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.size=28"):
        tiny_recipe(system, Shape(1, 30, CLASSES))


def test_perceptrons_take_any_size() -> None:
    recipe = tiny_recipe("gan", Shape(3, 30))
    assert recipe.generator(torch.zeros(2, 4)).shape == (2, 3, 30, 30)


def test_initial_std_is_that_of_the_paper() -> None:
    recipe = tiny_recipe(
        "dcgan", Shape(3, 64), initial_std=0.02, d_norm="batch", base_channels=16,
        max_channels=64, d_base_channels=16, upsampling="transposed",
    )  # fmt: skip
    for module in recipe.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)


# Conditioning.


@pytest.mark.parametrize("conditioning", ["modulated", "concatenated"])
def test_discriminator_hears_the_label(conditioning: str) -> None:
    recipe = networks(tiny_recipe("cgan", conditioning=conditioning)).eval()
    x = tiny_batch().x
    zeros, ones = (recipe.logits(x, Batch(x, torch.full((8,), k))) for k in (0, 1))
    assert (zeros - ones).abs().min() > 0


def test_modulated_generator_learns_the_label_in_its_norms() -> None:
    recipe = tiny_recipe("cgan")
    norms = [m for m in recipe.generator.modules() if isinstance(m, ConditionalBatchNorm2d)]
    assert len(norms) == 3  # after the first layer and after each of two blocks
    z, y = torch.randn(8, 4), torch.arange(8) % 4
    recipe.generator(z, y).square().sum().backward()
    assert all(n.scale.weight.grad is not None and n.scale.weight.grad.any() for n in norms)


def test_concatenated_generator_hears_the_label() -> None:
    generator = tiny_recipe("cgan", conditioning="concatenated").eval().generator
    z = torch.randn(1, 4).expand(2, -1)
    one, other = generator(z, torch.tensor([0, 1]))
    assert (one - other).abs().max() > 0


def test_other_labels_are_all_the_others_and_never_the_same() -> None:
    torch.manual_seed(0)
    y = torch.arange(5).repeat(200)
    wrong = other_labels(y, 5)
    pairs = torch.bincount(y * 5 + wrong, minlength=25).reshape(5, 5)
    assert (pairs.diagonal() == 0).all()
    assert ((pairs + torch.eye(5, dtype=torch.long) * 50) > 25).all()


def test_mismatch_term_makes_d_reject_real_images_with_the_wrong_label() -> None:
    """Fakes carry the labels of the batch: without the term a label never gives anything away."""
    assert wrong_label_logit(mismatch=0) > 2
    assert wrong_label_logit(mismatch=1) < -2


def wrong_label_logit(mismatch: float) -> float:
    """The mean of D(x, wrong label) after 80 steps; the place of a stripe is its class."""
    recipe = networks(
        tiny_recipe("cgan", mismatch=mismatch, d_norm="none", conditioning="concatenated")
    )
    optimizer = torch.optim.Adam(recipe.discriminator.parameters(), 1e-3, (0.5, 0.99))
    x = torch.full((16, 1, 16, 16), -0.8)
    y = torch.arange(16) % 4
    for picture, label in zip(x, y, strict=True):
        picture[:, :, 4 * label : 4 * label + 4] = 0.8
    batch = Batch(x, y)
    torch.manual_seed(1)
    for _ in range(80):
        optimizer.zero_grad()
        torch.autograd.backward(list(recipe.d_loss(batch, 0).values()))
        optimizer.step()
    with torch.no_grad():
        return float(recipe.logits(x, Batch(x, (y + 1) % 4)).mean())
