"""Unpaired translation: content and style, the two directions, and what each term is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from tests.training.test_recipes import OneBatch
from tests.training.tiny import (
    Silent,
    after,
    never,
    newest,
    same,
    tiny_batch,
    tiny_config,
    tiny_recipe,
)
from training import losses
from training.config import load_preset
from training.errors import ConfigError
from training.log import Log
from training.patches import PatchPyramid, receptive_field
from training.recipe import Batch, Shape
from training.recipes import SYSTEMS
from training.recipes.unpaired import Unpaired
from training.styles import AdaptiveNorm2d, StyleTranslator
from training.train import begin, resume, train
from training.trainer import step

BOTH = Shape(3, 16, source_channels=3, domains=("drawn", "flat"))
TERMS = {"d/adversarial", "g/adversarial", "g/image", "g/content", "g/style"}


def unpaired(shape: Shape = BOTH, **settings: Any) -> Unpaired:  # noqa: ANN401
    return cast(Unpaired, tiny_recipe("unpaired", shape, **settings))


def two_sides(count: int = 4) -> Batch:
    x, source = (tiny_batch(count, 3, seed=seed).x for seed in (0, 1))
    return Batch(x, None, source)


def drawn(recipe: Unpaired, count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, the domain of each in turns, and styles."""
    torch.manual_seed(2)
    images = tiny_batch(count, 3).x
    return images, torch.arange(count) % 2, torch.randn(count, recipe.generator.latent)


def terms(recipe: Unpaired, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        f"{phase.name}/{name}": term
        for phase in recipe.phases()
        for name, term in phase.loss(batch, 0).items()
    }


# --- The networks. ---


def test_an_adaptive_norm_is_equation_8_of_huang_and_belongie() -> None:
    norm, x, condition = AdaptiveNorm2d(3, 5), torch.rand(2, 3, 4, 6), torch.randn(2, 5)
    made = norm(x, condition)
    scale, shift = norm.affine(condition).chunk(2, 1)
    torch.testing.assert_close(made.mean((2, 3)), shift)
    spread = x.var((2, 3), unbiased=False)
    expected = (1 + scale).abs() * (spread / (spread + 1e-5)).sqrt()
    torch.testing.assert_close(made.std((2, 3), unbiased=False), expected)


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 32), (32, 16)])
def test_pictures_of_any_size_that_the_stride_divides(fold: int, height: int, width: int) -> None:
    network = unpaired(fold=fold, halvings=3 - fold).generator
    images, label, style = torch.rand(2, 3, height, width), torch.tensor([0, 1]), torch.randn(2, 4)
    assert network.stride == 4
    assert network.content(images).shape[2:] == (height // 4, width // 4)
    assert network.style(images).shape == (2, 4)
    made = network(images, label, style)
    assert made.shape == images.shape
    assert made.dtype == torch.float32
    assert made.abs().max() <= 1


def test_the_style_and_the_label_and_the_picture_are_each_seen() -> None:
    recipe = unpaired()
    images, label, style = drawn(recipe)
    made = recipe.generator(images, label, style)
    for other in ((images.flip(0), label, style), (images, 1 - label, style),
                  (images, label, style.flip(0))):  # fmt: skip
        assert ((recipe.generator(*other) - made).abs().amax((1, 2, 3)) > 1e-4).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_row_does_not_depend_on_its_neighbours(training: bool) -> None:
    recipe = unpaired()
    network = recipe.generator.train(training)
    images, label, style = drawn(recipe)
    together, told = network(images, label, style), network.style(images)
    for row in range(4):
        one = slice(row, row + 1)
        alone = network(images[one], label[one], style[one])
        torch.testing.assert_close(alone, together[one], atol=1e-5, rtol=0)
        torch.testing.assert_close(network.style(images[one]), told[one], atol=1e-5, rtol=0)


def test_content_does_not_tell_contrast_and_style_does() -> None:
    """Instance norm takes away what a picture has everywhere; the style encoder has none."""
    network, images = unpaired().generator, drawn(unpaired())[0]
    faint = images * 0.5
    torch.testing.assert_close(network.content(images), network.content(faint), atol=2e-3, rtol=0)
    apart = (network.style(images) - 2 * network.style(faint)).abs()
    assert (network.style(images) - network.style(faint)).abs().amax(1).min() > 0.05
    torch.testing.assert_close(apart, torch.zeros_like(apart), atol=1e-4, rtol=0)  # no bias yet


def test_styles_of_pictures_differ_from_the_first_step_on() -> None:
    styles = unpaired(base_channels=16).generator.style(drawn(unpaired(), 8)[0])
    assert styles.std(0).mean() > 0.02


def test_the_faithful_networks_are_the_paper_s() -> None:
    """Appendix B.2: c7s1-64, d128, d256, R256 x 4; c7s1-64, d128, d256, d256, d256, GAP, fc8."""
    with torch.device("meta"):
        config = load_preset("unpaired-faithful").recipe
        shape = Shape(3, 256, source_channels=3)
        recipe = cast(Unpaired, next(SYSTEMS["unpaired"].stages(config, shape)))
    network = recipe.generator
    content = [(m.out_channels, m.kernel_size[0]) for m in convolutions(network.places)]
    assert content == [(64, 7), (128, 4), (256, 4), *[(256, 3)] * 8]
    style = [(m.out_channels, m.kernel_size[0]) for m in convolutions(network.look)]
    assert style == [(64, 7), (128, 4), (256, 4), (256, 4), (256, 4)]
    ups = [(m.out_channels, m.kernel_size[0]) for m in convolutions(network.ups)]
    assert ups == [(128, 5), (64, 5)]
    assert (network.last.out_channels, network.last.kernel_size) == (3, (7, 7))
    assert sum(m.out_features for m in network.look.modules() if isinstance(m, nn.Linear)) == 8
    assert [len(cast(PatchPyramid, d).judges) for d in recipe.discriminators] == [3, 3]
    assert recipe.config.adversarial_weight == 2 * 3  # of halves of squares, and of a mean of three


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


def test_a_pyramid_judges_halves_of_the_picture() -> None:
    pyramid, images = PatchPyramid(3, 1, 2, 16, "none"), torch.rand(2, 1, 64, 64)
    found = pyramid(images)
    assert len(found) == 3
    assert receptive_field(pyramid.judges[2]) == 16
    torch.testing.assert_close(found[0], pyramid.judges[0](images))
    torch.testing.assert_close(found[2], pyramid.judges[2](avg_pool2d(images, 4)))


# --- The losses. ---


def test_terms_are_those_that_weigh_something() -> None:
    assert set(terms(unpaired(), two_sides())) == TERMS
    found = terms(unpaired(cycle_weight=1.0, mode_seeking=0.5, scales=1), two_sides())
    assert set(found) == TERMS | {"g/cycle", "g/mode_seeking"}
    assert all(term.ndim == 0 and term.isfinite() for term in found.values())
    without = unpaired(image_weight=0, content_weight=0, style_weight=0)
    assert set(terms(without, two_sides())) == {"d/adversarial", "g/adversarial"}


def test_each_term_is_its_equation() -> None:
    """MUNIT, eq. 2 to 5, by hand; each a mean over the two directions."""
    recipe, batch = unpaired(cycle_weight=3.0, image_weight=7.0), two_sides()
    found, network = terms(recipe, batch), recipe.generator
    torch.manual_seed(1)
    torch.randn(4, 4), torch.randn(4, 4)  # what the judges' step drew
    styles = torch.randn(4, 4), torch.randn(4, 4)
    sides = cast(Tensor, batch.source), batch.x
    sums = dict.fromkeys(("image", "content", "style", "cycle", "adversarial"), torch.zeros(()))
    for domain, (images, style) in enumerate(zip(sides, styles, strict=True)):
        here, there = torch.full((4,), domain), torch.full((4,), 1 - domain)
        content, own = network.content(images), network.style(images)
        made = network.decode(content, there, style)
        back = network.decode(network.content(made), here, own)
        (fake,) = recipe.discriminators[1 - domain](made)
        parts = {
            "image": (network.decode(content, here, own) - images).abs().mean(),
            "content": (network.content(made) - content).abs().mean(),
            "style": (network.style(made) - style).abs().mean(),
            "cycle": (back - images).abs().mean(),
            "adversarial": (fake - 1).square().mean() / 2,
        }
        sums = {name: sums[name] + part / 2 for name, part in parts.items()}
    weights = {"image": 7.0, "cycle": 3.0}
    for name, total in sums.items():
        torch.testing.assert_close(found[f"g/{name}"], weights.get(name, 1.0) * total)


def test_judges_see_the_pictures_of_their_own_domain() -> None:
    recipe, batch = unpaired(mode_seeking=1.0), two_sides()
    seen: list[tuple[int, Tensor]] = []
    for domain, judge in enumerate(recipe.discriminators):
        judge.register_forward_pre_hook(lambda _m, given, k=domain: seen.append((k, given[0])))
    recipe.d_loss(batch, 0)
    real, fake = seen[:2], seen[2:]
    assert [domain for domain, _ in seen] == [0, 1, 0, 1]
    assert torch.equal(real[0][1], cast(Tensor, batch.source))
    assert torch.equal(real[1][1], batch.x)
    assert [len(pictures) for _, pictures in fake] == [8, 8]  # of two styles each


def test_mode_seeking_compares_two_styles_of_one_picture_in_one_domain() -> None:
    recipe, batch = unpaired(mode_seeking=0.5), two_sides()
    torch.manual_seed(3)
    found = recipe.g_loss(batch, 0)["mode_seeking"]
    torch.manual_seed(3)
    styles = torch.cat([torch.randn(4, 4) for _ in range(4)])
    pictures = torch.cat([cast(Tensor, batch.source), batch.x])
    label = torch.tensor([1] * 4 + [0] * 4)
    one, other = (recipe.generator(pictures, label, part) for part in styles.chunk(2))
    expected = losses.mode_seeking(one, other, *styles.chunk(2))
    torch.testing.assert_close(found, 0.5 * expected)


def test_what_is_asked_of_a_sample_is_the_second_domain() -> None:
    recipe, batch = unpaired(), two_sides(64)
    source, label, style = recipe.inputs(batch)
    assert torch.equal(source, cast(Tensor, batch.source))
    assert (label == 1).all()
    assert style.shape == (64, 4)
    assert style.std().item() == pytest.approx(1, abs=0.2)
    assert recipe.generator(source, label, style).shape == batch.x.shape


@pytest.mark.parametrize("settings", [{}, {"mode_seeking": 1.0, "objective": "relativistic"}])
@pytest.mark.parametrize("phase_index", [0, 1])
def test_one_step_changes_exactly_what_the_phase_learns(
    settings: dict[str, Any], phase_index: int
) -> None:
    config, recipe = tiny_config("none", "unpaired", settings), unpaired(**settings)
    state = begin(recipe, config.schedule.ema_kimg, 0, torch.device("cpu"))
    phase = recipe.phases()[phase_index]
    before = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    learnt = {id(p) for p in phase.learns.parameters()}
    step(phase, state, TwoSides(), config.schedule, Fabric(devices=1), Log())
    changed = {n for n, p in recipe.named_parameters() if not torch.equal(p, before[n])}
    may_change = {n for n, p in recipe.named_parameters() if id(p) in learnt}
    assert {n for n in may_change if before[n].ndim > 1} <= changed <= may_change


class TwoSides(OneBatch):
    def batch(self, k: int) -> Batch:
        return two_sides()


def test_signals_are_errors_and_probabilities() -> None:
    signals = unpaired().eval().signals(two_sides())
    assert set(signals) == {"image_error", "style_error", "d_real", "d_fake"}
    assert all(0 < signals[name] < 1 for name in ("d_real", "d_fake"))
    assert all(signals[name] > 0 for name in ("image_error", "style_error"))


def test_a_picture_is_learnt_by_heart() -> None:
    """Content, style and domain suffice to make a picture again: the error falls to a fraction."""
    recipe, batch = unpaired(base_channels=8), two_sides(2)
    optimizer = torch.optim.Adam(recipe.generator.parameters(), 5e-3)
    errors = []
    for _ in range(30):
        pictures, domains = recipe.sides(batch)
        content, style = recipe.generator.content(pictures), recipe.generator.style(pictures)
        error = losses.mean_absolute_error(
            recipe.generator.decode(content, domains, style), pictures
        )
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.7 * errors[0]


# --- The data, and a run. ---


def test_data_of_one_domain_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has one: name .*data\.pairing=unpaired:FOLDER"):
        unpaired(Shape(3, 16))


def test_domains_of_different_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 channels and of the other 3: choose data\.channels"):
        unpaired(Shape(3, 16, source_channels=1))


def test_a_size_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"18 pixels: .*multiple of 4, and 8 .*data\.size=16"):
        unpaired(Shape(3, 18, source_channels=3), halvings=2)


def test_pix2pix_refuses_what_nobody_has_paired() -> None:
    with pytest.raises(ConfigError, match=r"pictures of drawn and flat are none: .*unpaired"):
        tiny_recipe("pix2pix", BOTH)


def test_pairs_are_good_enough_for_unpaired() -> None:
    assert isinstance(unpaired(Shape(3, 16, source_channels=3)).generator, StyleTranslator)


def test_a_run_goes_on_bit_for_bit(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train.write_report", lambda run: None)
    config = tiny_config(npz, "unpaired", {"mode_seeking": 1.0}, kimg=0.032, checkpoint_kimg=0.016)
    assert train(config, tmp_path / "whole", Silent(), never)
    assert not train(config, tmp_path / "halves", Silent(), after(2))
    assert resume(tmp_path / "halves", Silent(), never)
    assert same(newest(tmp_path / "whole"), newest(tmp_path / "halves"))
    assert len(list((tmp_path / "whole" / "samples").glob("*.png"))) == 1
