"""The ablations: what differs between the rows, what is measured of them, and what is claimed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.ablations import (
    ACCURACY,
    BASE,
    BLINDNESS,
    CLAIMS,
    ROWS,
    config_of,
    detail,
    figures,
    judged,
    main,
    variety,
)
from bench.fcn import Segmenter, learn
from tests.bench.test_fcn import SETTINGS, halves
from training.data import streets


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    return halves(16, 1).images


@pytest.mark.parametrize("row", ROWS)
def test_a_row_differs_from_the_base_in_what_it_names_alone(row: str) -> None:
    config = config_of(row, seed=3).model_dump(mode="json")
    base = config_of("L1+cGAN", seed=3).model_dump(mode="json")
    changed = {name for name in base["recipe"] if config["recipe"][name] != base["recipe"][name]}
    assert changed == set(ROWS[row])
    assert config["data"] == base["data"]
    assert config["schedule"] == base["schedule"]
    assert config["schedule"]["seed"] == 3


def test_claims_are_of_rows_that_are_run() -> None:
    known = {"", *ROWS}
    assert all({claim.greater, claim.less} <= known for claim in CLAIMS)
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)


def test_detail_is_what_blur_takes_away(photographs: np.ndarray) -> None:
    x = photographs.astype(float)
    blurred = (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) / 3
    noisy = np.clip(x + np.random.default_rng(0).normal(0, 20, x.shape), 0, 255)
    assert detail(blurred.astype(np.uint8)) < 0.8 * detail(photographs)
    assert detail(noisy.astype(np.uint8)) > 2 * detail(photographs)
    assert detail(np.full_like(photographs, 9)) == pytest.approx(0)
    one = np.zeros((1, 3, 3, 1), np.uint8)
    one[0, 1, 1] = 255  # 2 above black; the mean around it is 2 / 9 above
    assert detail(one) == pytest.approx((2 - 2 / 9) ** 2)


def test_pictures_that_are_all_alike_have_no_variety(photographs: np.ndarray) -> None:
    assert variety(np.repeat(photographs[:1], 4, 0)) == 0
    assert variety(photographs) > 0


def test_what_ignores_its_input_is_blind(photographs: np.ndarray) -> None:
    segmenter: Segmenter = learn(halves(64, 0), halves(16, 1), SETTINGS)
    truth = figures(photographs, photographs, segmenter)
    assert (truth["sharpness"], truth["variety"], truth["l1"]) == (1, 1, 0)
    assert truth["blindness"] < -0.1
    alike = figures(np.repeat(photographs[:1], 16, 0), photographs, segmenter)
    assert alike["blindness"] == pytest.approx(0)
    assert alike["variety"] == 0


def test_claims_are_judged_by_the_rows_that_were_run() -> None:
    found = [{ACCURACY: 0.7 + seed, BLINDNESS: -0.001} for seed in range(3)]
    worse = [{ACCURACY: 0.5 + seed, BLINDNESS: -0.3} for seed in range(3)]
    told = {row["claim"]: row["verdict"] for row in judged({"cGAN": worse, "GAN": found})}
    assert told == {
        "cGAN > GAN": "contradicted",
        "GAN ignores the input": "agreed",
        "GAN heeds the input less than cGAN": "agreed",
    }


def test_the_whole_of_it_in_little(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANYMEDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(streets, "COUNTS", {"train": 32, "test": 8})
    monkeypatch.setattr("bench.fcn.LEAST_PIXEL_ACCURACY", 0.0)  # what it learns is not asked here
    monkeypatch.setitem(BASE, "data", {"source": "streets", "size": 16})
    small = BASE["recipe"] | {"base_channels": 4, "d_base_channels": 4, "dropout_levels": 1}
    monkeypatch.setitem(BASE, "recipe", small)
    told, sheet = tmp_path / "told.json", tmp_path / "sheet.png"
    main(seeds=2, kimg=0.008, epochs=1, only=["L1", "L2", "L1+cGAN"], json=told, picture=sheet)
    result = json.loads(told.read_text())
    assert result["complete"]
    assert {name: len(found) for name, found in result["figures"].items()} == {
        "L1": 2,
        "L2": 2,
        "L1+cGAN": 2,
    }
    one, other = result["figures"]["L1"]
    assert one != other  # another seed is another run
    assert {row["claim"] for row in result["verdicts"]} == {
        "L1 is sharper than L2",
        "L1+cGAN is sharper than L1",
    }
    assert sheet.stat().st_size > 0
    assert "ground truth" in capsys.readouterr().out
