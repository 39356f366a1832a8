"""Pictures from text: the networks, the losses, and a run from captions to a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric

from tests.training.data.glyphs import write_openmoji
from tests.training.test_recipes import OneBatch
from tests.training.tiny import Silent, never, newest, same, tiny_batch, tiny_config, tiny_recipe
from training import losses
from training.errors import ConfigError
from training.layers import shifted
from training.log import Log
from training.recipe import Batch, Shape
from training.recipes.mode_seeking import twice
from training.recipes.text import TextGAN
from training.run import load_run
from training.texts import Encoder
from training.train import begin, resume, train
from training.trainer import step

WORDS = 12
SHAPE = Shape(1, 16, vocabulary=WORDS)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"contrast": 0.5, "shift": 2, "mismatch": 0},
    {"mode_seeking": 0.5, "contrast": 1.0, "word_dropout": 0.5},
    {"objective": "relativistic", "mode_seeking": 0.5, "r1": 1.0, "r2": 0.5, "d_norm": "none"},
]


def small(**settings: Any) -> TextGAN:  # noqa: ANN401
    return cast(TextGAN, tiny_recipe("text", SHAPE, **settings))


def captioned(count: int = 8) -> Batch:
    """Noise, each with a text of one to four words."""
    text = torch.randint(2, WORDS, (count, 6), generator=torch.Generator().manual_seed(1))
    lengths = torch.arange(count) % 4 + 1
    return replace(tiny_batch(count), y=None, text=text * (torch.arange(6) < lengths[:, None]))


class OneText(OneBatch):
    def batch(self, k: int) -> Batch:
        return captioned()


# The losses.


def test_matching_is_the_cross_entropy_of_the_own_text() -> None:
    similarity = torch.tensor([[2.0, 0], [0, 0]])
    shares = [torch.tensor([2.0, 0]).softmax(0)[0], torch.tensor(0.5)]
    expected = -(shares[0].log() + shares[1].log()) / 2
    torch.testing.assert_close(losses.matching(similarity, torch.arange(2)), expected)


def test_two_pictures_of_a_text_are_matched_with_it_each() -> None:
    recipe, batch = small(contrast=1.0).eval(), captioned(4)
    again = twice(batch)
    both, once = recipe.judged(again.x, again), recipe.judged(batch.x, batch)
    torch.testing.assert_close(recipe.contrast(both, 4), recipe.contrast(once, 4))


# The networks.


@pytest.mark.parametrize("settings", OPTIONS)
def test_every_term_is_named_and_finite(settings: dict[str, Any]) -> None:
    recipe = small(**settings)
    d, g = recipe.d_loss(captioned(), 0), recipe.g_loss(captioned(), 0)
    options = {name for name in ("contrast", "mode_seeking") if settings.get(name)}
    named = {"mismatch": 0.5} | settings
    wanted = {name for name in ("mismatch", "contrast", "r1", "r2") if named.get(name)}
    assert set(d) == {"adversarial"} | wanted
    assert set(g) == {"adversarial"} | options
    assert all(term.ndim == 0 and term.isfinite() for term in (*d.values(), *g.values()))


@pytest.mark.parametrize("phase_index", [0, 1])
@pytest.mark.parametrize("settings", OPTIONS)
def test_one_step_changes_exactly_what_the_phase_learns(
    settings: dict[str, Any], phase_index: int
) -> None:
    config, recipe = tiny_config("none", "text", settings), small(**settings)
    state = begin(recipe, config.schedule.ema_kimg, 0, torch.device("cpu"))
    phase = recipe.phases()[phase_index]
    before = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    learnt = {id(p) for p in phase.learns.parameters()}
    step(phase, state, OneText(), config.schedule, Fabric(devices=1), Log())
    changed = {n for n, p in recipe.named_parameters() if not torch.equal(p, before[n])}
    may_change = {n for n, p in recipe.named_parameters() if id(p) in learnt}
    unused = {n for n in may_change if ".shown." in n and not settings.get("contrast")}
    weights = {n for n in may_change - unused if before[n].ndim > 1}
    assert weights <= changed <= may_change
    assert any("encoder.words" in name for name in changed)


def test_a_text_is_the_same_whatever_padding_or_neighbours_it_has() -> None:
    encoder = Encoder(WORDS, 8).eval()
    short, padded = torch.tensor([[3, 4, 0]]), torch.tensor([[3, 4, 0, 0, 0, 0]])
    torch.testing.assert_close(encoder(short), encoder(padded))
    torch.testing.assert_close(encoder(torch.cat([padded, padded + 1]))[:1], encoder(padded))
    assert encoder(torch.zeros(1, 6, dtype=torch.int64)).isfinite().all()


def test_a_text_hears_its_words_and_their_order() -> None:
    encoder = Encoder(WORDS, 8).eval()
    said, turned, other = (encoder(torch.tensor([each])) for each in ([3, 4], [4, 3], [3, 5]))
    assert (said - turned).abs().max() > 1e-4
    assert (said - other).abs().max() > 1e-2


def test_the_picture_depends_on_the_text_and_the_latent() -> None:
    generator = small().generator.eval()
    z, text = torch.randn(2, 4), torch.tensor([[3, 4], [5, 6]])
    one = generator(z, text)
    assert one.shape == (2, 1, 16, 16)
    assert (one - generator(z, text.flip(0))).abs().max() > 0
    assert (one - generator(z.flip(0), text)).abs().max() > 0


def test_the_other_texts_are_those_of_the_row_before() -> None:
    recipe, batch = small(d_norm="none").eval(), captioned(4)
    assert batch.text is not None
    judged = recipe.judged(batch.x, batch)
    turned = recipe.judged(batch.x, replace(batch, text=batch.text.roll(1, 0)))
    torch.testing.assert_close(judged.other, turned.own)
    torch.testing.assert_close(judged.said.roll(1, 0), turned.said)
    torch.testing.assert_close(judged.shown, turned.shown)
    torch.testing.assert_close(judged.said.norm(dim=1), torch.ones(4))


def test_a_mismatch_is_a_real_picture_with_the_text_of_the_row_before() -> None:
    recipe, batch = small(mismatch=0.25, d_norm="none"), captioned(4)
    assert batch.text is not None
    wrong = recipe.logits(batch.x, replace(batch, text=batch.text.roll(1, 0)))
    expected = 0.25 * losses.minimax_d(recipe.logits(batch.x, batch), wrong)
    torch.testing.assert_close(recipe.d_loss(batch, 0)["mismatch"], expected)


def test_words_are_lost_in_training_alone_and_padding_never() -> None:
    recipe, batch = small(word_dropout=0.9), captioned(64)
    assert batch.text is not None
    torch.manual_seed(0)
    _, heard = recipe.inputs(batch)
    said = batch.text != 0
    assert (heard[~said] == 0).all()
    assert (heard[said] == 1).float().mean().item() == pytest.approx(0.9, abs=0.08)
    assert torch.equal(recipe.eval().inputs(batch)[1], batch.text)


def test_data_without_captions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.source=openmoji"):
        tiny_recipe("text")


# Moving what the discriminator sees.


def test_pictures_move_each_by_itself_and_their_edge_is_repeated() -> None:
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 8, 8)
    images[:, :, 4, 4] = 1.0
    images[:, :, 0] = 0.5
    moved = shifted(images, 2)
    rows, columns = (moved[:, 0] == 1).nonzero()[:, 1:].T
    assert len(rows) == 64
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    down = moved[(rows == 6).nonzero()[0, 0], 0]
    assert (down[:3].amax(1) == 0.5).all()


def test_nothing_moves_unless_asked() -> None:
    images = torch.rand(2, 1, 4, 4)
    assert shifted(images, 0) is images


def test_the_slope_comes_back_to_where_the_pixel_was() -> None:
    images = torch.rand(3, 2, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(shifted(images, 1).sum(), images)
    assert slope.sum().item() == pytest.approx(3 * 2 * 64)


# A run.


def test_a_run_from_captions_and_its_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_openmoji(tmp_path / "package", monkeypatch)
    config = tiny_config(source, "text", kimg=0.032, checkpoint_kimg=0.016, tick_kimg=0.016)
    assert train(config, tmp_path / "whole", Silent(), never)
    stopped = iter([False, False, True])
    assert not train(config, tmp_path / "halves", Silent(), lambda: next(stopped))
    assert resume(tmp_path / "halves", Silent(), never)
    one, other = newest(tmp_path / "whole"), newest(tmp_path / "halves")
    assert same(one, other)
    run = load_run(tmp_path / "whole")
    words = run.dataset["words"]
    assert words["vocabulary"] == run.recipe.generator.encoder.words.num_embeddings  # type: ignore
    assert words["length"] == 16
    assert '"WordLevel"' in words["tokenizer"]
