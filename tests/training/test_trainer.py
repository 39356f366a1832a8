"""The loop: what a step is, what a tick tells, when it stops; and that it knows no system."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tests.training.tiny import after, never, tiny_batch, tiny_config, tiny_recipe
from training import trainer
from training.checkpoint import State
from training.config import ScheduleConfig
from training.data.batches import Batches
from training.data.dataset import Dataset
from training.errors import Diverged
from training.log import Log
from training.recipe import Adam, Batch, Phase, Recipe, Sgd, Terms
from training.recipes import SYSTEMS
from training.train import begin
from training.trainer import build_optimizer, fit, iterate, split, step, watch

SCHEDULE = tiny_config("none").schedule
CPU = torch.device("cpu")


def dataset(count: int = 48) -> Dataset:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)
    return Dataset("noise", "", "", ("a", "b", "c", "d"), images, np.arange(count) % 4, "0")


def batches(size: int = 8) -> Batches:
    return Batches(dataset(), size, seed=0)


def fabric() -> Fabric:
    return Fabric(devices=1, accelerator="cpu")


def tiny_state(system: str = "gan", **settings: Any) -> State:  # noqa: ANN401
    return begin(tiny_recipe(system, **settings), SCHEDULE.ema_kimg, 0, CPU)


def schedule(**changes: Any) -> ScheduleConfig:  # noqa: ANN401
    return tiny_config("none", **changes).schedule


def test_trainer_knows_no_system() -> None:
    source = Path(trainer.__file__).read_text()
    modules = [n.module or "" for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    assert not [module for module in modules if module.startswith("training.recipes")]
    words = {w.value for w in ast.walk(ast.parse(source)) if isinstance(w, ast.Constant)}
    assert not words & {*SYSTEMS, "d", "g", "generator", "discriminator", "adversarial"}


# One step.


class Pull(Recipe):
    """One number that is pulled to 3; its loss remembers what it was given."""

    generator: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(1, 1, bias=False)
        self.other = nn.Linear(1, 1)
        self.seen: list[tuple[float, int]] = []
        self.repeats = 1
        nn.init.zeros_(self.generator.weight)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("pull", self.generator, self.pull, Sgd(lr=0.25), self.repeats),)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        return (batch.x.flatten(1)[:, :1],)

    def pull(self, batch: Batch, images: int) -> Terms:
        self.seen.append((batch.x.sum().item(), images))
        weight = self.generator.weight
        return {"half": (weight - 3).square().sum() / 2, "extra": weight.sum() * 2}


def test_a_step_follows_the_sum_of_the_terms() -> None:
    recipe = Pull()
    state = begin(recipe, 1, 0, CPU)
    step(recipe.phases()[0], state, batches(), SCHEDULE, fabric(), state.log)
    # The slope of (w - 3)^2 / 2 + 2 w at 0 is -3 + 2; one step of 0.25 against it.
    assert recipe.generator.weight.item() == pytest.approx(0.25)
    assert state.log.means() == {"pull/half": 4.5, "pull/extra": 0}


def test_each_repeat_sees_a_batch_of_its_own_and_the_images_of_the_run() -> None:
    recipe = Pull()
    recipe.repeats = 3
    state = begin(recipe, 1, 0, CPU)
    ticks = list(fit(state, batches(), schedule(kimg=0.016), fabric(), never))
    given = batches()
    expected = [given.batch(k).x.sum().item() for k in range(6)]
    assert recipe.seen == [(total, 8 * (k // 3)) for k, total in enumerate(expected)]
    assert state.batches == 6
    assert state.images == 16
    assert [tick.images for tick in ticks] == [16]


@pytest.mark.parametrize("phase_index", [0, 1])
@pytest.mark.parametrize("system", ["gan", "dcgan"])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    system: str, phase_index: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch norm; z is taken from the pictures, so that both draw the same."""
    answers = []
    for accumulate in (1, parts):
        settings = {"d_norm": "none", "r1": 1.0} if system == "dcgan" else {}
        state = tiny_state(system, **settings)
        recipe = state.recipe
        if system == "dcgan":
            recipe.generator.eval()  # its batch norm would tell the parts apart
        monkeypatch.setattr(recipe, "inputs", lambda batch: (batch.x[:, 0, 3, :4],))
        phase = recipe.phases()[phase_index]
        step(phase, state, batches(), schedule(accumulate=accumulate), fabric(), state.log)
        gradients = [p.grad for p in phase.learns.parameters()]
        answers.append((gradients, state.log.means()))
    (whole, whole_terms), (summed, summed_terms) = answers
    for one, other in zip(whole, summed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert summed_terms == pytest.approx(whole_terms, rel=1e-5)


def test_a_phase_leaves_the_gradients_of_another_alone() -> None:
    """They are what the next tick reports as that one's norm."""
    state = tiny_state()
    d, g = state.recipe.phases()
    step(d, state, batches(), SCHEDULE, fabric(), state.log)
    kept = [p.grad.clone() for p in d.learns.parameters() if p.grad is not None]
    step(g, state, batches(), SCHEDULE, fabric(), state.log)
    found = [p.grad for p in d.learns.parameters() if p.grad is not None]
    assert len(found) == len(kept) > 0
    assert all(torch.equal(one, other) for one, other in zip(found, kept, strict=True))


def test_split_keeps_every_row_and_its_label() -> None:
    batch = tiny_batch(8)
    parts = split(batch, 4)
    assert [len(part) for part in parts] == [2, 2, 2, 2]
    assert torch.equal(torch.cat([part.x for part in parts]), batch.x)
    assert batch.y is not None
    assert torch.equal(torch.cat([part.y for part in parts if part.y is not None]), batch.y)


def test_optimizers_are_built_as_the_recipe_says() -> None:
    network = nn.Linear(2, 2)
    adam = build_optimizer(Adam(lr=0.1, beta1=0.2, beta2=0.3), network)
    sgd = build_optimizer(Sgd(lr=0.4, momentum=0.5), network)
    assert isinstance(adam, torch.optim.Adam)
    assert isinstance(sgd, torch.optim.SGD)
    assert (adam.defaults["lr"], adam.defaults["betas"]) == (0.1, (0.2, 0.3))
    assert (sgd.defaults["lr"], sgd.defaults["momentum"]) == (0.4, 0.5)


@pytest.mark.parametrize(
    ("progress", "rate"), [(0, 0.4), (0.5, 0.4), (0.75, 0.2), (1, 0), (1.2, 0)]
)
def test_learning_rate_falls_in_a_line_after_its_plateau(progress: float, rate: float) -> None:
    assert Sgd(lr=0.4, decay_from=0.5).rate(progress) == pytest.approx(rate)
    assert Sgd(lr=0.4).rate(min(progress, 1)) == 0.4


def test_the_rate_of_the_schedule_is_the_rate_of_the_step() -> None:
    state = tiny_state(g_optimizer={"lr": 0.4, "decay_from": 0.5})
    state.images = 96  # of 128
    step(state.recipe.phases()[1], state, batches(), SCHEDULE, fabric(), state.log)
    assert state.optimizers["g"].param_groups[0]["lr"] == pytest.approx(0.2)
    assert state.log.rate["g"] == pytest.approx(0.2)


# Ticks.


def test_a_tick_every_so_many_images_and_one_at_the_end() -> None:
    state = tiny_state()
    ticks = list(fit(state, batches(), schedule(kimg=0.1, tick_kimg=0.03), fabric(), never))
    assert [tick.images for tick in ticks] == [32, 64, 96, 104]


def test_a_tick_is_the_mean_of_its_own_steps() -> None:
    each_step = schedule(tick_kimg=0.008)
    single = [t.terms for t in fit(tiny_state(), batches(), each_step, fabric(), never)]
    ticks = list(fit(tiny_state(), batches(), SCHEDULE, fabric(), never))
    assert len(single) == 16
    for k, tick in enumerate(ticks):
        steps = single[4 * k : 4 * k + 4]
        for name, value in tick.terms.items():
            assert value == pytest.approx(sum(row[name] for row in steps) / 4, rel=1e-5)


def test_a_tick_tells_norms_rates_and_signals() -> None:
    state = tiny_state()
    *_, tick = fit(state, batches(), SCHEDULE, fabric(), never)
    for phase in state.recipe.phases():
        gradients = [p.grad.flatten() for p in phase.learns.parameters() if p.grad is not None]
        assert tick.grad_norm[phase.name] == pytest.approx(torch.cat(gradients).norm().item())
        assert tick.rate[phase.name] == 2e-4
    assert set(tick.signals) >= {"d_real", "d_fake", "jsd", "diversity"}


def test_watching_leaves_no_trace() -> None:
    state = tiny_state("dcgan")
    before = {k: v.clone() for k, v in state.recipe.state_dict().items()}
    random = torch.get_rng_state()
    watch(state, batches())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[k], v) for k, v in state.recipe.state_dict().items())
    assert all(module.training for module in state.recipe.modules())


def test_a_stop_between_two_ticks_yields_nothing_and_the_tick_goes_on() -> None:
    whole = [tick.terms for tick in fit(tiny_state(), batches(), SCHEDULE, fabric(), never)]
    state = tiny_state()
    first = [tick.terms for tick in fit(state, batches(), SCHEDULE, fabric(), after(6))]
    assert state.images == 48
    assert len(first) == 1
    rest = [tick.terms for tick in fit(state, batches(), SCHEDULE, fabric(), never)]
    assert first + rest == whole


# Divergence.


class Diverging(Pull):
    """Turns bad at 24 images."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def pull(self, batch: Batch, images: int) -> Terms:
        weight = self.generator.weight
        terms = super().pull(batch, images)
        if images == 24 and self.how == "loss":
            terms["bad"] = weight.sum() * float("nan")
        if images == 24 and self.how == "gradient":
            terms["bad"] = (weight * 0).sum().sqrt()  # 0, with the slope inf * 0
        return terms

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        return {"watched": torch.tensor(float("inf" if self.how == "signal" else 1))}


@pytest.mark.parametrize(
    ("how", "name"),
    [("loss", "pull/bad became nan"), ("gradient", "pull/gradient norm became nan"),
     ("signal", "watched became inf")],
)  # fmt: skip
@pytest.mark.parametrize("stop_after", [4, 100])
def test_what_is_not_finite_stops_the_run_and_is_named(
    how: str, name: str, stop_after: int
) -> None:
    """At the tick, and before a stop that would otherwise keep it."""
    state = begin(Diverging(how), 1, 0, CPU)
    tick_kimg = 0.032 if stop_after == 100 else 0.064
    with pytest.raises(Diverged, match=f"{name} before 32 images"):
        list(fit(state, batches(), schedule(tick_kimg=tick_kimg), fabric(), after(stop_after)))


def test_log_starts_anew_after_a_tick() -> None:
    log = Log()
    log.add("d", {"a": torch.tensor(2.0)})
    log.add("d", {"a": torch.tensor(4.0)})
    assert log.means() == {"d/a": 3}
    log.clear()
    log.add("d", {"a": torch.tensor(1.0)})
    assert log.means() == {"d/a": 1}


# Simultaneous updates.


class Chase(Recipe):
    """x goes to y and y to x, each remembering where the other was."""

    generator: nn.Linear

    def __init__(self, *, joined: bool, repeats: int = 1) -> None:
        super().__init__()
        self.generator, self.other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.generator.weight, 0.0)
        nn.init.constant_(self.other.weight, 8.0)
        self.joined, self.repeats = joined, repeats
        self.seen: list[float] = []

    def phases(self) -> tuple[Phase, ...]:
        rate = Sgd(lr=0.5)
        other = Phase("other", self.other, self.chase, rate, self.repeats, self.joined)
        return other, Phase("own", self.generator, self.chase, rate)

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        return (batch.x.flatten(1)[:, :1],)

    def chase(self, batch: Batch, images: int) -> Terms:
        self.seen.append(batch.x.sum().item())
        return {"gap": (self.generator.weight - self.other.weight).square().sum() / 2}


@pytest.mark.parametrize(
    ("joined", "repeats", "ends"),
    [(False, 1, (2.0, 4.0)), (True, 1, (4.0, 4.0)), (True, 2, (2.0, 2.0))],
    ids=["one after the other", "at once", "only the last of two at once"],
)
def test_a_joined_phase_moves_together_with_the_next(
    joined: bool, repeats: int, ends: tuple[float, float]
) -> None:
    recipe = Chase(joined=joined, repeats=repeats)
    state = begin(recipe, 1, 0, CPU)
    list(fit(state, batches(), schedule(kimg=0.008), fabric(), never))
    assert (recipe.generator.weight.item(), recipe.other.weight.item()) == ends
    given = batches()  # a batch of its own for each, joined or not
    assert recipe.seen == [given.batch(k).x.sum().item() for k in range(repeats + 1)]


def test_a_phase_that_joins_nothing_steps_at_the_end() -> None:
    recipe = Pull()
    phase = dataclasses.replace(recipe.phases()[0], joined=True)
    state = begin(recipe, 1, 0, CPU)
    recipe.phases = lambda: (phase,)  # type: ignore[method-assign]
    iterate(state, batches(), SCHEDULE, fabric())
    assert recipe.generator.weight.item() == pytest.approx(0.25)


@pytest.mark.parametrize("system", ["gan", "dcgan"])
def test_simultaneous_updates_change_what_g_answers(system: str) -> None:
    """D goes where it goes anyway; G answers D as it was before."""
    ends: dict[str, dict[str, Tensor]] = {}
    for updates in ("simultaneous", "alternating"):
        torch.manual_seed(1)
        sgd = {"kind": "sgd", "lr": 0.1}
        state = tiny_state(system, updates=updates, g_optimizer=sgd, d_optimizer=sgd)
        iterate(state, batches(), SCHEDULE, fabric())
        ends[updates] = dict(state.recipe.named_parameters())  # spectral norm's buffers move
    one, other = ends["simultaneous"], ends["alternating"]
    moved = {name.partition(".")[0] for name in one if not torch.equal(one[name], other[name])}
    assert moved == {"generator"}
