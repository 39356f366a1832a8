"""The measurements of coders, where the answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import pretraining
from bench.coders import (
    Bytes,
    bound,
    by_coder,
    by_components,
    compression,
    encoded,
    jpeg_within,
    reconstruction,
)
from bench.pretraining import Labelled, balanced, compare
from tests.training.tiny import Silent, never
from training.config import load_preset
from training.data.photograph_blocks import photographs
from training.metrics.principal import principal_axes, rows_of
from training.metrics.reconstruction import psnr_db
from training.recipe import Shape
from training.recipes.autoencoder import Autoencoder, AutoencoderConfig
from training.run import LoadedRun, load_run
from training.train import train

PICTURE = photographs()[0][:64, :96]
BLOCKS = PICTURE.reshape(8, 8, 12, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8, 1)
LINEAR = AutoencoderConfig(
    system="autoencoder", latent=64, activation="linear", code="linear", output="linear"
)


def trained(folder: Path, preset: str, *settings: str) -> LoadedRun:
    assert train(load_preset(preset, settings), folder / "run", Silent(), never)
    return load_run(folder / "run")


def test_a_code_as_long_as_its_block_loses_what_a_byte_rounds_off() -> None:
    coder = Autoencoder(LINEAR, Shape(1, 8)).generator
    with torch.no_grad():
        for name, value in coder.named_parameters():
            value.copy_(torch.eye(64) if name.endswith("weight") else torch.zeros(64))
        rounded = Bytes.of(encoded(coder, BLOCKS))
        assert psnr_db(by_coder(coder, rounded, 8, PICTURE), PICTURE) > 50
        dict(coder.named_parameters())["decoder.0.weight"][0].zero_()
    assert psnr_db(by_coder(coder, rounded, 8, PICTURE), PICTURE) < 30


def test_all_components_lose_what_a_byte_rounds_off() -> None:
    axes = principal_axes(BLOCKS, 64)
    rounded = Bytes.of(axes.transform(rows_of(BLOCKS)))
    assert psnr_db(by_components(axes, rounded, 8, PICTURE), PICTURE) > 45


def test_a_byte_has_256_levels_and_no_picture_s_own_range() -> None:
    rounded = Bytes.of(np.array([[-1.0, 5], [1, 5]]))
    told = rounded(np.linspace(-2, 2, 9_001)[:, None] * [1, 0] + [0, 5])
    assert len(np.unique(told[:, 0])) == 256
    assert (told.min(), told[:, 0].max()) == pytest.approx((-1, 1))
    assert told[:, 1] == pytest.approx(5)


def test_jpeg_is_as_good_as_the_bytes_allow() -> None:
    found = [jpeg_within(PICTURE, nbytes) for nbytes in (300, 900)]
    assert found[0][0] < found[1][0]
    assert psnr_db(found[0][1], PICTURE) < psnr_db(found[1][1], PICTURE)


def test_a_short_run_is_measured_beside_pca_and_jpeg(tmp_path: Path) -> None:
    loaded = trained(tmp_path, "autoencoder-blocks-linear", "schedule.kimg=100")
    seen, unseen, angle = reconstruction(loaded)
    assert (seen["count"], unseen["count"]) == (99_540, 2_120)
    assert 1 - 1e-6 <= seen["times_pca"] < 2
    assert 0 < angle["largest_angle_degrees"] <= 90
    rows = list(compression(loaded))
    assert [row["method"].split()[0] for row in rows] == 2 * ["ours", "PCA", "JPEG"]
    assert {row["bytes"] for row in rows} == {53 * 80 * 16}
    assert all(15 < row["psnr_db"] < 60 for row in rows)


def test_bound_of_a_vae_is_its_two_halves(tmp_path: Path) -> None:
    loaded = trained(
        tmp_path, "vae-mnist-reference", "data.source=mnist-5k", "schedule.kimg=10",
        "recipe.hidden=[16]",
    )  # fmt: skip
    (row,) = bound(loaded)
    assert row["count"] == 1_000
    assert row["nats"] == pytest.approx(row["nll_nats"] + row["kl_nats"])
    assert 100 < row["nats"] < 784 * np.log(2)
    assert next(iter(reconstruction(loaded)))["times_pca"] > 1


def test_labelled_pictures_are_balanced_and_drawn_from_the_seed() -> None:
    labels = np.repeat(np.arange(4), 25)
    rows = balanced(labels, 40, 1)
    assert np.bincount(labels[rows]).tolist() == [10] * 4
    assert np.array_equal(rows, balanced(labels, 40, 1))
    assert not np.array_equal(rows, balanced(labels, 40, 2))


def test_comparison_has_a_row_for_each_number_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "COUNTS", (10, 20))
    y = torch.arange(80) % 2
    x = torch.rand(80, 1, 8, 8) * 0.2 - 1
    x[y == 1, :, :4] += 1.5
    few = Labelled(x, y)
    rows = list(compare(few, few, Shape(1, 8), (5, 60), seeds=2))
    assert [row["labelled"] for row in rows] == [10, 20]
    for name in ("pretrained", "scratch", "logistic"):
        assert rows[1][name] == 1
        assert rows[1][f"{name} +-"] == 0
