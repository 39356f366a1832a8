"""The autoencoder and the variational one: what they learn, and what they must be equal to."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from sklearn.decomposition import PCA
from torch import Tensor, nn

from tests.training.tiny import CLASSES, tiny_batch, tiny_config, tiny_recipe
from training.data import Split, load
from training.data.batches import Batches
from training.losses import gaussian_kl
from training.metrics.reconstruction import largest_angle_degrees, psnr_db
from training.recipe import Batch, Shape
from training.recipes.autoencoder import Autoencoder
from training.recipes.vae import LEAST_LOG_STD, VAE, bounded, reparameterise
from training.train import begin
from training.trainer import step

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("autoencoder", {}),
    ("autoencoder", {"activation": "linear", "code": "linear", "output": "linear"}),
    ("autoencoder", {"network": "convolutional", "base_channels": 4, "hidden": [8]}),
    ("vae", {}),
    ("vae", {"likelihood": "gaussian", "activation": "tanh"}),
    ("vae", {"network": "convolutional", "base_channels": 4, "beta": 4.0}),
]
each_option = pytest.mark.parametrize(
    ("system", "settings"), OPTIONS, ids=[f"{name}-{'-'.join(told)}" for name, told in OPTIONS]
)


def autoencoder(**settings: Any) -> Autoencoder:  # noqa: ANN401
    return cast(Autoencoder, tiny_recipe("autoencoder", **settings))


def vae(**settings: Any) -> VAE:  # noqa: ANN401
    return cast(VAE, tiny_recipe("vae", **settings))


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 28)])
@each_option
def test_pictures_have_the_shape_of_the_data(
    system: str, settings: dict[str, Any], channels: int, size: int
) -> None:
    recipe = tiny_recipe(system, Shape(channels, size, CLASSES), **settings)
    batch = tiny_batch(5, channels, size)
    pictures = recipe.generator(*recipe.inputs(batch))
    assert pictures.shape == batch.x.shape
    assert pictures.dtype == torch.float32
    assert cast(Any, recipe.generator).encode(batch.x).shape == (5, 4)
    assert cast(Any, recipe.generator).latent == 4
    if settings.get("output") != "linear":
        assert pictures.abs().max() <= 1


@each_option
def test_one_step_changes_every_weight_and_same_seed_gives_the_same_loss(
    system: str, settings: dict[str, Any]
) -> None:
    found = []
    for _ in range(2):
        recipe = tiny_recipe(system, **settings)
        config = tiny_config("none", system, settings)
        state = begin(recipe, 0, 0, torch.device("cpu"))
        before = {name: p.detach().clone() for name, p in recipe.named_parameters()}
        (phase,) = recipe.phases()
        torch.manual_seed(3)
        step(phase, state, _OneBatch(), config.schedule, Fabric(devices=1), state.log)
        changed = {n for n, p in recipe.named_parameters() if not torch.equal(p, before[n])}
        assert changed == set(before)
        found.append(state.log.means())
    assert found[0] == found[1]
    assert all(math.isfinite(value) for value in found[0].values())


class _OneBatch(Batches):
    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def batch(self, k: int) -> Batch:
        return tiny_batch()


def test_code_is_bounded_where_it_is_asked_to_be() -> None:
    x = 100 * tiny_batch().x
    assert autoencoder().generator.encode(x).abs().max() <= 1
    assert autoencoder(code="linear").generator.encode(x).abs().max() > 1


def test_signals_say_how_near_a_reconstruction_is() -> None:
    recipe = autoencoder().eval()
    x = tiny_batch().x
    error = (recipe.generator(x) - x).square().mean().item()
    told = recipe.signals(Batch(x))["psnr_db"].item()
    assert told == pytest.approx(10 * math.log10(4 / error), rel=1e-5)


# Linear: principal component analysis, learnt by descent.


def test_linear_autoencoder_is_principal_component_analysis_on_photographs() -> None:
    """Its error is within 2 % of PCA's, on blocks it never saw too, and it spans the same space."""
    seen, unseen = (_flat(load("photograph-blocks", split=split).images) for split in SPLITS)
    recipe = _descended(seen)
    analysis = PCA(16).fit(seen)
    for pixels in (seen, unseen):
        optimum = np.square(analysis.inverse_transform(analysis.transform(pixels)) - pixels).mean()
        with torch.no_grad():
            found = recipe.generator(_pictures(pixels)).flatten(1).numpy()
        assert np.square(found - pixels).mean() <= 1.02 * optimum
    last = next(m for m in recipe.generator.decoder if isinstance(m, nn.Linear))
    spanned = last.weight.detach().numpy().T
    assert largest_angle_degrees(spanned, analysis.components_) < 5


SPLITS: tuple[Split, ...] = ("train", "test")


def _flat(images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (images.reshape(len(images), -1) / np.float32(127.5) - 1).astype(np.float32)


def _pictures(pixels: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
    return torch.from_numpy(pixels).reshape(-1, 1, 8, 8)


def _descended(pixels: np.ndarray[Any, np.dtype[np.float32]], steps: int = 4_000) -> Autoencoder:
    """By Adam, whose rate falls to zero: the space turns slowly, its error is there long before."""
    linear = {"activation": "linear", "code": "linear", "output": "linear"}
    recipe = cast(Autoencoder, tiny_recipe("autoencoder", Shape(1, 8), latent=16, **linear))
    optimizer = torch.optim.Adam(recipe.parameters(), 3e-2, (0.9, 0.99), fused=True)
    pictures, random = _pictures(pixels), torch.Generator().manual_seed(0)
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-2 * min(1.0, 2 - 2 * k / steps)
        batch = Batch(pictures[torch.randint(len(pictures), (512,), generator=random)])
        optimizer.zero_grad()
        torch.autograd.backward(recipe.loss(batch, 0)["reconstruction"])
        optimizer.step()
    return recipe


# Variational.


def test_reparameterised_noise_has_the_posterior_s_moments_and_passes_the_slope_on() -> None:
    mean = torch.tensor([[2.0, -1.0]], requires_grad=True)
    log_variance = torch.tensor([[0.0, math.log(4)]], requires_grad=True)
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparameterise(mean, log_variance, noise)
    torch.testing.assert_close(z.mean(0), mean[0].detach(), atol=0.02, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([1.0, 2.0]), atol=0.02, rtol=0)
    torch.autograd.backward(reparameterise(mean, log_variance, torch.tensor([[3.0, 0.5]])).sum())
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert mean.grad.tolist() == [[1, 1]]
    torch.testing.assert_close(log_variance.grad, torch.tensor([[1.5, 0.5]]))  # std * noise / 2


def test_terms_are_the_bound_and_beta_weighs_its_divergence_alone() -> None:
    found = []
    for beta in (1.0, 4.0):
        recipe = vae(beta=beta)
        torch.manual_seed(1)
        found.append(recipe.loss(tiny_batch(), 0))
    torch.testing.assert_close(found[0]["reconstruction"], found[1]["reconstruction"])
    torch.testing.assert_close(4 * found[0]["divergence"], found[1]["divergence"])
    mean, log_variance = vae().generator.posterior(tiny_batch().x)
    torch.testing.assert_close(found[0]["divergence"], gaussian_kl(mean, log_variance))


def test_bernoulli_picture_is_the_probability_that_the_likelihood_uses() -> None:
    recipe = vae()
    z, x = torch.randn(3, 4), torch.where(tiny_batch(3).x > 0, 1.0, -1.0)
    probability = (recipe.generator(z) + 1) / 2
    expected = torch.where(x > 0, probability, 1 - probability).log().flatten(1).sum(1).mean()
    torch.testing.assert_close(recipe.generator.nll(z, x), -expected, rtol=1e-4, atol=1e-3)


def test_learnt_standard_deviation_comes_to_the_error_of_the_pictures() -> None:
    """Minimised over its standard deviation, a Gaussian's likelihood has that of the residual."""
    network = vae(likelihood="gaussian").generator
    z, x = torch.randn(8, 4), tiny_batch().x
    assert network.log_std is not None
    optimizer = torch.optim.Adam([network.log_std], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(network.nll(z, x))
        optimizer.step()
    residual = (network(z) - x).square().mean().sqrt()
    torch.testing.assert_close(bounded(network.log_std).exp(), residual, rtol=1e-2, atol=0)


def test_a_standard_deviation_below_the_least_has_a_way_back() -> None:
    network = vae(likelihood="gaussian").generator
    assert network.log_std is not None
    torch.nn.init.constant_(network.log_std, LEAST_LOG_STD - 2)
    torch.autograd.backward(network.nll(torch.randn(8, 4), tiny_batch().x))
    assert network.log_std.grad is not None
    assert network.log_std.grad < 0  # the errors are larger: a step makes it greater
    assert bounded(torch.tensor(-1.0)).item() == pytest.approx(-1, abs=0.03)


def test_likelihood_of_a_perfect_reconstruction_is_bounded() -> None:
    network = vae(likelihood="gaussian").generator
    assert network.log_std is not None
    with torch.no_grad():
        network.log_std.fill_(-50)
    z = torch.randn(2, 4)
    pixels = 16 * 16
    least = pixels * (LEAST_LOG_STD + math.log(2 * math.pi) / 2)
    assert network.nll(z, network(z).detach()).item() == pytest.approx(least, rel=1e-5)


def test_a_vae_learns_two_pictures_and_draws_them_from_its_prior() -> None:
    recipe = vae(latent=2, hidden=[32])
    x = torch.full((16, 1, 16, 16), -1.0)
    x[::2, :, :8], x[1::2, :, 8:] = 1.0, 1.0
    optimizer = torch.optim.Adam(recipe.parameters(), 1e-2)
    torch.manual_seed(2)
    for _ in range(400):
        optimizer.zero_grad()
        torch.autograd.backward(list(recipe.loss(Batch(x), 0).values()))
        optimizer.step()
    with torch.no_grad():
        drawn = recipe.generator(*recipe.inputs(Batch(x.repeat(8, 1, 1, 1))))
        signals = recipe.signals(Batch(x))
    upper = drawn[:, :, :8].mean((1, 2, 3)) > 0
    clear = (drawn.abs().mean((1, 2, 3)) > 0.9).float().mean()
    assert 0.25 < upper.float().mean() < 0.75
    assert clear > 0.5
    assert signals["elbo"] > -20  # of 256 log 2 = 177 nats before; log 2 is the least that it costs
    assert signals["kl"] > math.log(2) / 2
    assert 1 <= signals["active"] <= 2


def test_psnr_of_known_errors() -> None:
    black = np.zeros((2, 4, 4, 1), np.uint8)
    assert psnr_db(black, np.full_like(black, 255)) == pytest.approx(0)
    assert psnr_db(black, np.full_like(black, 51)) == pytest.approx(20 * math.log10(5))
    assert psnr_db(black, black) == math.inf


def test_angles_between_spaces() -> None:
    plane = np.eye(5)[:2]
    turned = np.array([[1.0, 1, 0, 0, 0], [0, 1, 0, 0, 0]])
    assert largest_angle_degrees(plane, turned) == pytest.approx(0, abs=1e-5)
    tilted = np.array([[1.0, 0, 0, 0, 0], [0, 1, 1, 0, 0]])
    assert largest_angle_degrees(plane, tilted) == pytest.approx(45)
    assert largest_angle_degrees(plane, np.eye(5)[3:]) == pytest.approx(90)
