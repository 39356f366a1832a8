"""Each experiment against its closed form; the command around them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import ganymede
from training.data import load
from training.errors import ConfigError, Diverged
from training.lab import (
    categories,
    modes,
    optimal_discriminator,
    plateau,
    stacked,
    two_modes,
    vanishing,
)
from training.lab.bilinear import RATE, conserved, play
from training.lab.commands import lab
from training.lab.experiments import EXPERIMENTS
from training.lab.finding import Finding
from training.lab.mixtures import Mixture, ring
from training.lab.pairs import PAIR_BATCH, plane_gans, train_on
from training.lab.stacked import Stacks
from training.metrics.divergence import jensen_shannon, kullback_leibler
from training.metrics.judge import Judge
from training.recipe import Sgd
from training.recipes.gan import ObjectiveConfig

LOG2 = math.log(2)


def number(row: object, column: str) -> float:
    assert isinstance(row, dict)
    return float(row[column])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# The quadrature itself.


def test_divergences_of_gaussians_are_the_closed_form() -> None:
    x = np.arange(-15, 20, 0.001)
    p = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    q = np.exp(-((x - 1) ** 2) / 8) / math.sqrt(8 * math.pi)
    assert kullback_leibler(p, q, 0.001) == pytest.approx(LOG2 + (1 + 1) / 8 - 0.5, abs=1e-6)
    assert jensen_shannon(p, p, 0.001) == 0


def test_disjoint_supports_are_log_2_and_infinity_apart() -> None:
    p, q = np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])
    assert jensen_shannon(p, q, 0.5) == pytest.approx(LOG2)
    assert kullback_leibler(p, q, 0.5) == math.inf


# One experiment each.


def test_the_loss_of_the_optimal_discriminator_tells_the_divergence() -> None:
    for row in optimal_discriminator.experiment(1).rows:
        known = number(row, "JSD by quadrature")
        assert number(row, "from optimal D") == pytest.approx(known, abs=1e-4)
        assert number(row, "from learnt D") == pytest.approx(known, abs=2e-3)
        assert number(row, "mean |D - D*|") < 0.01


def test_the_divergence_stays_at_log_2_where_supports_are_apart() -> None:
    rows = plateau.experiment(1).rows
    for row in rows:
        known = min(number(row, "shift"), 1) * LOG2
        assert number(row, "JSD, closed form") == pytest.approx(known)
        assert number(row, "by quadrature") == pytest.approx(known, abs=1e-9)
        assert -1e-5 < known - number(row, "from learnt D") < 0.03  # a lower bound
    far = [number(row, "from learnt D") for row in rows if number(row, "shift") > 1]
    assert far == pytest.approx([LOG2] * 3, abs=1e-3)


def test_the_best_discriminator_gives_the_slopes_of_the_closed_form() -> None:
    x = np.arange(-12, 18, 0.001)
    for row in vanishing.slopes_at_the_best():
        distance = number(row, "at")
        p, q = np.exp(-(x**2) / 2), np.exp(-((x - distance) ** 2) / 2)
        expected = distance * (p * q / (p + q)).sum() * 0.001 / math.sqrt(2 * math.pi)
        assert number(row, "minimax, closed form") == pytest.approx(expected, rel=1e-6)
        assert number(row, "minimax") == pytest.approx(expected, rel=1e-2)
        assert number(row, "non-saturating") == pytest.approx(distance - expected, rel=0.01)
        assert number(row, "minimax") <= distance / 2 * math.exp(-(distance**2) / 8)


def test_a_slope_is_that_of_a_linear_discriminator() -> None:
    class Twice(nn.Module):
        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return 2 * y

    minimax, other = vanishing.slopes(Twice(), torch.tensor([-5.0]))
    probability = 1 / (1 + math.exp(10))
    assert minimax == pytest.approx(2 * probability, rel=1e-4)
    assert other == pytest.approx(2 * (1 - probability), rel=1e-4)


def test_the_minimax_slope_vanishes_as_d_learns_and_the_other_does_not() -> None:
    rows = vanishing.slopes_while_learning(1_000)
    first, last = rows[1], rows[-1]
    assert number(first, "at") == 10
    assert number(last, "minimax") < number(first, "minimax") * 1e-3
    assert number(last, "non-saturating") > 1


@pytest.mark.parametrize("start", [-2.0, 2.0])
@pytest.mark.parametrize("loss", [two_modes.forward_kl, two_modes.reverse_kl])
def test_kl_covers_both_modes_and_reverse_kl_picks_one(loss: two_modes.Loss, start: float) -> None:
    q, known = two_modes.fit(loss, start), two_modes.expected(loss, start)
    assert float(q.mean) == pytest.approx(known.mean, abs=1e-3)
    assert float(q.deviation) == pytest.approx(known.deviation, abs=1e-3)
    assert loss(q).item() == pytest.approx(known.divergence, abs=1e-3)


def test_simultaneous_updates_spiral_out_as_the_closed_form_says() -> None:
    radii = [math.hypot(*point) for point in play("simultaneous", 60)]
    assert radii == pytest.approx([(1 + RATE**2) ** (k / 2) for k in range(60)], rel=1e-5)


def test_alternating_updates_stay_on_their_ellipse() -> None:
    path = play("alternating", 100)
    assert [conserved(*point) for point in path] == pytest.approx([1.0] * 100, rel=1e-5)
    assert max(math.hypot(*point) for point in path) < 1.1
    assert path[1] == pytest.approx((1 - RATE * RATE, RATE))  # x answers the new y


# Modes.


def test_pairs_side_by_side_do_not_feel_each_other() -> None:
    torch.manual_seed(0)
    recipe = plane_gans(ObjectiveConfig(latent=2), 3)
    z = torch.randn(12, 2)
    before = recipe.discriminator(recipe.generator(z))
    changed = z.clone()
    changed[4:8] += 1
    after = recipe.discriminator(recipe.generator(changed))
    assert (before != after).nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_a_few_steps_bring_the_points_to_the_ring() -> None:
    clouds = train_on(ring(), modes.OBJECTIVES["relativistic, R1 + R2"], 2, 100)
    assert clouds.shape == (2, 2_500, 2)
    radii = np.linalg.norm(clouds, axis=2)
    assert 0.8 < np.median(radii) < 1.1
    angles = np.arctan2(clouds[..., 1], clouds[..., 0])
    eighths = [len(np.unique(np.floor(a / (math.pi / 4)))) for a in angles]
    assert eighths == [8, 8]


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_modes_come_with_a_perfect_sampler_and_the_literature(name: str) -> None:
    finding = modes.experiment(name, 2, iterations=2, games=("minimax",))
    who = [str(row["who"]) for row in finding.rows]
    assert who[:2] == ["ours: minimax", "perfect sampler"]
    assert len([w for w in who if w.startswith("published")]) == 4
    assert str(finding.rows[1]["modes"]).startswith("8" if name == "ring" else "25")


def test_the_games_of_the_plane_are_those_that_are_compared() -> None:
    played = {name: game.objective for name, game in modes.OBJECTIVES.items()}
    assert set(played.values()) == {
        "minimax",
        "nonsaturating",
        "maximum_likelihood",
        "relativistic",
    }
    alike = {"objective", "updates", "r1", "r2"}
    rest = [game.model_dump(exclude=alike) for game in modes.OBJECTIVES.values()]
    assert all(settings == rest[0] for settings in rest)  # the same optimisers for all


def test_a_game_that_diverged_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ruined = modes.GAME.model_copy(
        update={"objective": "maximum_likelihood", "g_optimizer": Sgd(lr=1e20)}
    )
    monkeypatch.setattr(modes, "OBJECTIVES", {"maximum likelihood": ruined})
    finding = modes.experiment("ring", 1, iterations=20, games=("maximum likelihood",))
    assert finding.rows[0]["who"] == "ours: maximum likelihood"
    assert finding.rows[0]["modes"] == "diverged"


def test_stacks_are_three_digits_as_colours() -> None:
    digits = load("fashion-mnist-subset", split="test")
    stacks = Stacks(digits, 4, 0, torch.device("cpu"))
    pictures = stacks.pictures(4, 2)
    assert pictures.shape == (4, 28, 28, 3)
    known = {image.tobytes() for image in digits.images[..., 0]}
    assert all(picture[..., c].tobytes() in known for picture in pictures for c in range(3))
    assert stacks.batch(2).x.shape == (4, 3, 28, 28)


def test_where_one_pair_diverges_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:

    def fragile(mixture: Mixture, game: Any, copies: int, iterations: int, seed: int = 0) -> Any:  # noqa: ANN401
        if copies > 1 or seed == 1:
            raise Diverged("the loss is not finite")
        return train_on(mixture, game, copies, iterations, seed)

    monkeypatch.setattr(modes, "train_on", fragile)
    finding = modes.experiment("ring", 3, iterations=2, games=("minimax",))
    assert str(finding.rows[0]["modes"]).endswith(", 1 of 3 diverged")
    assert finding.images_seen == 3 * 2 * PAIR_BATCH


def test_a_stacked_pair_learns_and_is_sampled() -> None:
    digits = load("fashion-mnist-subset", split="test")
    stacks = Stacks(digits, stacked.BATCH, 0, torch.device("cpu"))
    small = {"base_channels": 4, "d_base_channels": 4}
    game = stacked.GAMES["relativistic, R1 + R2"].model_copy(update=small)
    state = stacked.train_on(stacks, game, kimg=0.128)
    assert state.images == 128
    assert set(state.log.sums) == set()  # the last tick was taken
    pictures = stacked.samples(state, stacks, 7)
    assert pictures.shape == (7, 28, 28, 3)
    assert pictures.dtype == np.uint8


def test_games_together_differ_in_how_d_sees_a_batch_alone() -> None:
    alone, *others = (game.model_dump() for game in stacked.TOGETHER.values())
    for game in others:
        changed = {name for name in game if game[name] != alone[name]}
        assert changed in ({"minibatch_kernels"}, {"minibatch_deviation"}, {"packing"})


# Categories.


def test_a_mixed_set_has_as_many_of_each_class() -> None:
    three = categories.SETS["three: and trousers, bags"]
    found = categories.mixed(three, "test", 60).images
    real = load("fashion-mnist-subset", split="test")
    assert real.labels is not None
    for position, label in enumerate((7, 1, 8)):
        known = {image.tobytes() for image in real.images[real.labels == label]}
        mine = {image.tobytes() for image in found[position::3]}
        assert len(mine) == 20
        assert mine <= known


def test_patches_are_all_there_in_their_range() -> None:
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[1] = 255
    found = categories.patches(images)
    assert found.shape == (2 * 8 * 8, 49)
    assert set(found.mean(1)) == {-1, 1}


def test_texture_is_told_from_shape() -> None:
    """Halves that change places have nearly the same patches, and are other pictures."""
    images = load("fashion-mnist-subset", split="test").images[:400]
    real, other = np.asarray(images[::2]), np.asarray(images[1::2])
    torch.manual_seed(0)
    judge = Judge(28, 1, 20)
    swapped = np.roll(other, 14, axis=2)
    fair, torn = (categories.compared(judge, real, made) for made in (other, swapped))
    assert torn["coverage"] < fair["coverage"] / 2
    assert torn["patches"] < 0.1
    assert categories.compared(judge, real, 255 - other)["patches"] > 0.5


def test_a_pair_learns_a_set_and_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"base_channels": 4, "d_base_channels": 4}
    monkeypatch.setattr(categories, "GAME", categories.GAME.model_copy(update=small))
    known = categories.mixed(categories.SETS["one: sneakers"], "test", 64)
    made = categories.learnt(known, 0, kimg=0.128)
    assert made.shape == (categories.ASKED, 28, 28, 1)
    assert made.dtype == np.uint8


# The command.


def test_an_experiment_leaves_a_figure_and_its_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab("two-modes", out=tmp_path)
    told = capsys.readouterr().out
    assert "KL(q || p)" in told
    assert (tmp_path / "two-modes.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads((tmp_path / "two-modes.json").read_text())
    assert facts["experiment"] == "two-modes"
    assert [row["from"] for row in facts["rows"]] == [-2, 2, -2, 2]


def test_every_experiment_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lab()
    told = capsys.readouterr().out
    assert all(name in told for name in EXPERIMENTS)


def test_unknown_experiments_and_needless_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bilinear'"):
        lab("bilinaer")
    with pytest.raises(ConfigError, match="chance has no say in bilinear"):
        lab("bilinear", seeds=2)


def test_the_command_line_knows_the_lab() -> None:
    done = CliRunner().invoke(ganymede.build("lab"), ["lab", "--help"])
    assert done.exit_code == 0
    assert "experiment" in done.stdout


def test_a_table_has_the_same_columns_in_every_row() -> None:
    findings: list[Finding] = [two_modes.experiment(1), modes.experiment("ring", 1, 1, ())]
    for finding in findings:
        assert len({tuple(row) for row in finding.rows}) == 1
