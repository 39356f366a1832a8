"""The presets that ship: short, explained, valid, and what they claim to be."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
import torch
from torch import nn

from training.config import load_preset, preset_names
from training.data.named import NAMED
from training.recipe import Recipe, Shape
from training.recipes import SYSTEMS

PRESETS = preset_names()
FAITHFUL = [name for name in PRESETS if name.endswith("-faithful")]


def text(name: str) -> str:
    return (resources.files("training") / "presets" / f"{name}.yaml").read_text()


def built(name: str, channels: int = 1) -> Recipe:
    """The recipe of a preset, without memory or draws for its weights."""
    config = load_preset(name)
    classes = tuple("0123456789")
    shape = Shape(channels, config.data.size, classes, source_channels=1, vocabulary=50)
    with torch.device("meta"):
        return next(SYSTEMS[config.recipe.system].stages(config.recipe, shape))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", ["fast", "good", "faithful"])
def test_every_system_has_presets_of_three_kinds(system: str, kind: str) -> None:
    assert [n for n in PRESETS if n.startswith(f"{system}-") and n.endswith(f"-{kind}")]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_short_and_says_what_it_is(name: str) -> None:
    lines = text(name).splitlines()
    assert len(lines) <= 30
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_its_networks_fit_its_pictures(name: str) -> None:
    config = load_preset(name)
    assert config.preset == name
    assert config.recipe.system == name.split("-")[0]
    assert config.data.source in NAMED
    built(name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_saved_and_watched_often_enough(name: str) -> None:
    schedule = load_preset(name).schedule
    assert schedule.tick_kimg * 20 <= schedule.kimg
    assert schedule.checkpoint_kimg * 3 <= schedule.kimg


@pytest.mark.parametrize("name", FAITHFUL)
def test_a_faithful_preset_keeps_the_latest_weights_in_float32(name: str) -> None:
    schedule = load_preset(name).schedule
    assert schedule.precision == "float32"
    assert schedule.ema_kimg == 0


def widths(network: nn.Module, kind: type[nn.Conv2d | nn.ConvTranspose2d]) -> list[tuple[int, int]]:
    return [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, kind)]


@pytest.mark.parametrize("name", ["dcgan-faithful", "cgan-faithful"])
def test_every_kernel_of_the_faithful_convolutions_is_5x5(name: str) -> None:
    recipe = built(name)
    kinds = nn.Conv2d | nn.ConvTranspose2d
    found = [m for m in recipe.modules() if isinstance(m, kinds)]
    assert {m.kernel_size for m in found} == {(5, 5)}
    assert {m.stride for m in found} == {(2, 2)}


def test_faithful_dcgan_is_figure_1_of_radford_et_al() -> None:
    recipe = built("dcgan-faithful", channels=3)
    assert isinstance(recipe.discriminator, nn.Module)
    up = [(1024, 512), (512, 256), (256, 128), (128, 3)]
    assert widths(recipe.generator, nn.ConvTranspose2d) == up
    down = [(3, 128), (128, 256), (256, 512), (512, 1024)]
    assert widths(recipe.discriminator, nn.Conv2d) == down
    first = next(m for m in recipe.generator.modules() if isinstance(m, nn.Linear))
    assert (first.in_features, first.out_features) == (100, 4 * 4 * 1024)
    # Batch norm everywhere but at the generator's output and the discriminator's input.
    norms = [m.num_features for m in recipe.generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [1024, 512, 256, 128]
    norms = [
        m.num_features for m in recipe.discriminator.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert norms == [256, 512, 1024]
    config = load_preset("dcgan-faithful")
    settings: Any = config.recipe
    for optimizer in (settings.g_optimizer, settings.d_optimizer):
        assert optimizer.kind == "adam"
        assert (optimizer.lr, optimizer.beta1, optimizer.beta2) == (2e-4, 0.5, 0.999)
    assert config.schedule.batch == 128
    assert settings.prior == "uniform"


def test_faithful_gan_is_that_of_the_code_published_beside_goodfellow_et_al() -> None:
    config, recipe = load_preset("gan-faithful"), built("gan-faithful")
    linear = [(m.in_features, m.out_features) for m in recipe.modules() if isinstance(m, nn.Linear)]
    maxout = [(784, 240 * 5), (240, 240 * 5), (240, 1)]
    assert linear == [(100, 1200), (1200, 1200), (1200, 784), *maxout]
    assert [m.p for m in recipe.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    settings: Any = config.recipe
    for optimizer in (settings.g_optimizer, settings.d_optimizer):
        assert optimizer.kind == "sgd"
        assert (optimizer.lr, optimizer.momentum) == (0.1, 0.5)
    assert config.schedule.batch == 100
    assert settings.prior == "normal"
    assert settings.objective == "nonsaturating"
