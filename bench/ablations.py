"""The three ablations of pix2pix, run small, and the paper's claims held against the runs.

``python -m bench.ablations`` trains every row of ROWS from every seed on ``streets``, scores what
it makes of held-out maps by the FCN-score (``fcn.py``), and says of each claim in CLAIMS whether
the runs agree with it, contradict it, or leave it undecided (``claims.py``). Isola et al. 2017
(arXiv:1611.07004), section 3 and tables 1 to 3. The paper's pictures have 256 pixels a side, and
these 64: a patch of 16 is the same share of the picture as 70 of the paper's, and "full" is the
smallest receptive field that covers it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from bench.claims import Claim, interval
from bench.command import console, run
from bench.fcn import Segmenter, learn, load_pairs, translated
from bench.progress import shown
from bench.result import Result
from training.config import RunConfig, validate
from training.data.augment import Augmentation
from training.data.batches import Batches
from training.data.cache import cache_folder
from training.data.dataset import Dataset, Images
from training.metrics.fcn import FCNSettings
from training.precision import FABRIC_NAMES, flushed_denormals
from training.train import begin, stages
from training.trainer import fit

BASE: dict[str, Any] = {
    "recipe": {
        "system": "pix2pix",
        "base_channels": 16,
        "max_channels": 128,
        "d_base_channels": 16,
        "patch": 16,
        "g_optimizer": {"lr": 5e-4, "decay_from": 0.5},
        "d_optimizer": {"lr": 5e-4, "decay_from": 0.5},
    },
    "data": {"source": "streets", "size": 64, "flip": True},
    "schedule": {"kimg": 4.0, "batch": 4, "ema_kimg": 0.2, "precision": "float32"},
}
NEITHER = {"reconstruction": "none"}
UNCONDITIONAL = {"adversarial": "unconditional"}
NO_GAME = {"adversarial": "none"}
NO_SKIPS = {"generator": "encoder_decoder"}
ROWS: dict[str, dict[str, Any]] = {
    "L1": NO_GAME,
    "L2": NO_GAME | {"reconstruction": "l2"},
    "GAN": NEITHER | UNCONDITIONAL,
    "cGAN": NEITHER,
    "L1+GAN": UNCONDITIONAL,
    "L1+cGAN": {},
    "L1, encoder-decoder": NO_GAME | NO_SKIPS,
    "L1+cGAN, encoder-decoder": NO_SKIPS,
    "L1+cGAN, patch 1": {"patch": 1},
    "L1+cGAN, patch 34": {"patch": 34},
    "L1+cGAN, patch full": {"patch": "full"},
}
"""The recipe of each row, where it is not BASE's: U-Net, L1+cGAN, patch 16."""

ACCURACY, SHARPNESS, BLINDNESS = "pixel_accuracy", "sharpness", "blindness"
LAST_DIGIT = 0.01  # of the paper's tables
CLAIMS = (
    Claim("L1+cGAN >= cGAN", ACCURACY, "L1+cGAN", "cGAN", LAST_DIGIT),
    Claim("cGAN > GAN", ACCURACY, "cGAN", "GAN"),
    Claim("U-Net > encoder-decoder, L1", ACCURACY, "L1", "L1, encoder-decoder"),
    Claim("U-Net > encoder-decoder, L1+cGAN", ACCURACY, "L1+cGAN", "L1+cGAN, encoder-decoder"),
    Claim("patch 16 > pixel", ACCURACY, "L1+cGAN", "L1+cGAN, patch 1"),
    Claim("patch 16 > full image", ACCURACY, "L1+cGAN", "L1+cGAN, patch full"),
    Claim("patch 34 > pixel", ACCURACY, "L1+cGAN, patch 34", "L1+cGAN, patch 1"),
    Claim("patch 34 > full image", ACCURACY, "L1+cGAN, patch 34", "L1+cGAN, patch full"),
    Claim("GAN ignores the input", BLINDNESS, "GAN", margin=0.02),
    Claim("GAN heeds the input less than cGAN", BLINDNESS, "GAN", "cGAN"),
    Claim("L1 is sharper than L2", SHARPNESS, "L1", "L2"),
    Claim("L1+cGAN is sharper than L1", SHARPNESS, "L1+cGAN", "L1"),
)

Figures = dict[str, float]


def config_of(row: str, seed: int, kimg: float | None = None) -> RunConfig:
    """The configuration of a row."""
    schedule = BASE["schedule"] | {"seed": seed} | ({} if kimg is None else {"kimg": kimg})
    recipe = BASE["recipe"] | ROWS[row]
    return validate(BASE | {"recipe": recipe, "schedule": schedule}, row)


@flushed_denormals()
def pictures(config: RunConfig, train: Dataset, sources: Images) -> Images:
    """What a run of the configuration makes of sources, uint8 [N, S, S, C]."""
    schedule = config.schedule
    torch.manual_seed(schedule.seed)
    (recipe,) = stages(config, train)
    assert schedule.precision != "auto"
    fabric = Fabric(accelerator="cpu", devices=1, precision=FABRIC_NAMES[schedule.precision])
    state = begin(recipe, schedule.ema_kimg, 0, fabric.device)
    augmentation = Augmentation(config.data.jitter, config.data.flip)
    batches = Batches(train, schedule.batch, schedule.seed, fabric.device, augmentation)
    for _ in fit(state, batches, schedule, fabric):
        pass  # what a tick says is not needed
    return translated(recipe, state.ema.module, sources)


def detail(images: Images) -> float:
    """The energy of what is finer than three pixels: of each pixel less the mean around it."""
    x = images.astype(np.float64) / 127.5 - 1
    rows = (x[:, :-2] + x[:, 1:-1] + x[:, 2:]) / 3
    blurred = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 3
    return float(np.square(x[:, 1:-1, 1:-1] - blurred).mean())


def variety(images: Images) -> float:
    """The deviation of a pixel from picture to picture, mean over the pixels; in [0, 255]."""
    return float(images.astype(np.float64).std(axis=0).mean())


def figures(made: Images, real: Images, segmenter: Segmenter) -> Figures:
    """All that is measured of a row.

    ``sharpness`` and ``variety`` are shares of the real photographs'. ``blindness`` is the pixel
    accuracy against another's map less that against the own one: 0 where the input is ignored.
    """
    score = segmenter.score(made)
    return {
        **asdict(score),
        "blindness": segmenter.blind_score(made).pixel_accuracy - score.pixel_accuracy,
        "sharpness": detail(made) / detail(real),
        "variety": variety(made) / variety(real),
        "l1": float(np.abs(made.astype(np.float64) - real).mean() / 127.5),
    }


def judged(measured: dict[str, list[Figures]]) -> Iterator[dict[str, Any]]:
    """Each claim whose rows were run."""
    for claim in CLAIMS:
        if claim.greater not in measured or (claim.less and claim.less not in measured):
            continue
        greater = [each[claim.figure] for each in measured[claim.greater]]
        less = [each[claim.figure] for each in measured.get(claim.less, [])] or [0.0] * len(greater)
        found, verdict = claim.verdict(greater, less)
        told = {"mean": found.mean, "low": found.low, "high": found.high}
        yield {"claim": claim.text, "figure": claim.figure, **told, "verdict": verdict}


def row_table(measured: dict[str, list[Figures]], truth: Figures) -> Table:
    """The mean of each figure over the seeds; of the first, the interval too."""
    shown_table = Table(title="Held-out maps, mean over the seeds", title_justify="left")
    for name in ("row", *truth):
        shown_table.add_column(name.replace("_", " "), justify="left" if name == "row" else "right")
    for name, found in {**measured, "ground truth": [truth]}.items():
        cells = [f"{statistics.fmean(each[key] for each in found):.3f}" for key in truth]
        if len(found) > 1:
            cells[0] += f" ± {interval([each[ACCURACY] for each in found]).half_width:.3f}"
        shown_table.add_row(name, *cells)
    return shown_table


def claim_table(verdicts: Sequence[dict[str, Any]]) -> Table:
    """What became of the claims; those that do not hold stay in it."""
    shown_table = Table(title="Claims of the paper", title_justify="left")
    for name in ("claim", "figure", "difference", "95 % interval", "verdict"):
        shown_table.add_column(name, justify="right" if name == "difference" else "left")
    for each in verdicts:
        ends = f"{each['low']:+.3f} to {each['high']:+.3f}"
        cells = (each["claim"], each["figure"], f"{each['mean']:+.3f}", ends, each["verdict"])
        shown_table.add_row(*cells)
    return shown_table


def sheet(made: dict[str, Images], test: Dataset, columns: int = 8) -> NDArray[np.uint8]:
    """A row of pictures for each row of the ablation, under the maps and the truth."""
    assert test.sources is not None
    chosen = np.linspace(0, len(test) - 1, columns).astype(int)
    parts = [test.sources, test.images, *made.values()]
    return np.concatenate([np.concatenate(list(part[chosen]), 1) for part in parts], 0)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row.")] = 3,
    kimg: Annotated[float | None, typer.Option(help="Of each run, in thousands of images.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of the segmenter.")] = FCNSettings.epochs,
    only: Annotated[list[str] | None, typer.Option("--row", help="This row alone; repeat.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    picture: Annotated[Path | None, typer.Option("--sheet", help="Write pictures here.")] = None,
) -> None:
    """Train, score and judge. The exit status tells nothing of the claims."""
    names = only or list(ROWS)
    first = config_of(names[0], 0, kimg)
    train, test = load_pairs(first.data)
    assert test.sources is not None
    result = Result("ablations", base=first.model_dump(mode="json"), rows=ROWS, seeds=seeds)
    measured: dict[str, list[Figures]] = {}
    made: dict[str, Images] = {}
    with shown() as progress:
        settings, cache = FCNSettings(epochs=epochs), cache_folder() / "judges"
        segmenter = learn(train, test, settings, cache=cache, progress=progress)
        truth = figures(test.images, test.images, segmenter)
        plan = [(seed, name) for seed in range(seeds) for name in names]
        for done, (seed, name) in enumerate(plan, 1):
            made[name] = pictures(config_of(name, seed, kimg), train, test.sources)
            measured.setdefault(name, []).append(figures(made[name], test.images, segmenter))
            result.update(figures=measured, truth=truth, samples=len(test))
            result.write(json)
            progress("runs", done, len(plan))
    verdicts = list(judged(measured))
    result.update(verdicts=verdicts, complete=True)
    result.write(json)
    if picture:
        Image.fromarray(sheet(made, test)).save(picture)
    console().print(row_table(measured, truth))
    console().print(claim_table(verdicts))


if __name__ == "__main__":
    run(main)
