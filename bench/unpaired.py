"""How well does an unpaired translator do what nobody showed it? On pairs that were held out.

``python -m bench.unpaired RUN ...``: for both directions, the L1 distance in levels of 255 from the
truth and the kernel distance in EfficientNet-Lite0's features, beside the input copied and the mean
of the training pictures; how far apart the pictures of several styles are; how evenly pictures fill
the bins of the training pictures (NDB, JSD, in pixels). L1 asks for more than can be known, for two
vendors choose other colours and shapes: the row with the style of the truth itself tells how much
of it is style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from bench import pairs
from bench.coders import Row, table
from bench.command import BenchError, console, run
from bench.pairs import CHUNK, Images, Truth
from bench.result import Result
from export.draw import draw
from export.manifest import Latent, Quality
from export.scoring import EACH, VARIED
from export.servable import offer
from training.config import RunConfig
from training.data import Dataset
from training.grid import save_png, sheet
from training.metrics.bins import Bins, bin_score, make_bins
from training.metrics.diversity import pairwise_distance
from training.metrics.features import Extractor, lite0
from training.metrics.kernel import kernel_distance
from training.run import LoadedRun, load_run

MOST_BINS, PICTURES_IN_A_BIN = 100, 20
LEAST_LEARNT, LEAST_PAIRS = 2 * PICTURES_IN_A_BIN, 8  # two bins, and two halves to compare
SHEET_COLUMNS, SHEET_STYLES = 20, 3
Pixels = NDArray[np.float32]
Styles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Direction:
    """Into one domain: its held-out pairs, and what its training pictures are like.

    Args:
        label: of the domain that is made.
        name: "openmoji to fluent".
        truth: sources of the other domain, what they should become, and the training mean.
        bins: of the training pictures' pixels.
    """

    label: int
    name: str
    truth: Truth
    bins: Bins


def directions(train: Dataset, test: Dataset, names: Sequence[str]) -> tuple[Direction, Direction]:
    """To the second domain, and back.

    Raises:
        BenchError: too few pictures.
    """
    if len(train) < LEAST_LEARNT or len(test) < LEAST_PAIRS:
        raise BenchError(
            f"{train.name} has {len(train)} pictures to learn from and {len(test)} test pairs: "
            f"scores need {LEAST_LEARNT} and {LEAST_PAIRS}"
        )
    assert train.sources is not None
    assert test.sources is not None
    there = (test.sources, test.images, train.images)
    back = (test.images, test.sources, train.sources)
    found = []
    for label, (sources, truth, learnt) in ((1, there), (0, back)):
        count = min(MOST_BINS, len(learnt) // PICTURES_IN_A_BIN)
        mean = learnt.mean(axis=0, dtype=np.float64)
        name = f"{names[1 - label]} to {names[label]}"
        bins = make_bins(_pixels(learnt), count)
        found.append(Direction(label, name, Truth(sources, truth, mean), bins))
    return found[0], found[1]


def translate(loaded: LoadedRun, sources: Images, label: int, styles: Styles) -> Images:
    """Each source [N, H, W, C] in that domain and its own style, as the service would do it."""
    graph = offer(loaded).graphs["translator"]
    made = []
    for start in range(0, len(sources), CHUNK):
        part = _planes(sources[start : start + CHUNK])
        labels = torch.full((len(part),), label)
        drawn = torch.from_numpy(styles[start : start + CHUNK])
        with torch.inference_mode():
            made.append(graph(part, labels, drawn)[0].numpy())
    return np.concatenate(made)


def drawn_styles(loaded: LoadedRun, seeds: Sequence[int]) -> Styles:
    """Those that the service would draw."""
    entries = offer(loaded).graphs["translator"].inputs
    return draw(next(entry for entry in entries if isinstance(entry, Latent)), seeds, 0, 0)


def told_styles(loaded: LoadedRun, images: Images) -> Styles:
    """Those of pictures."""
    graph = offer(loaded).graphs["style"]
    starts = range(0, len(images), CHUNK)
    with torch.inference_mode():
        parts = [graph(_planes(images[k : k + CHUNK]))[0].numpy() for k in starts]
    return np.concatenate(parts)


def measure(
    runs: Sequence[tuple[str, LoadedRun]], direction: Direction, eyes: Extractor
) -> Iterator[Row]:
    """A row for the truth and for each baseline, and two for each run."""
    truth = direction.truth
    real = eyes(truth.images)
    yield _of_truth(direction, real)
    for name, pictures in pairs.baselines(truth).items():
        levels = np.round(pictures).astype(np.uint8)
        yield {"model": name, **_scores(levels, direction, eyes, real)}
    for name, loaded in runs:
        styles = drawn_styles(loaded, range(len(truth.images)))
        row = _scores(
            translate(loaded, truth.sources, direction.label, styles), direction, eyes, real
        )
        yield {"model": name, **row, "diversity": diversity(loaded, direction, eyes)}
        told = told_styles(loaded, truth.images)
        made = translate(loaded, truth.sources, direction.label, told)
        yield {"model": f"{name}, the truth's style", **_scores(made, direction, eyes, real)}


def distances(name: str, loaded: LoadedRun) -> Iterator[tuple[Quality, float]]:
    """The kernel distance in each direction, and that of the better baseline."""
    eyes = lite0()
    for direction in of_config(loaded.config):
        _, *plain, ours, _ = measure([(name, loaded)], direction, eyes)
        count = len(direction.truth.images)
        figure = Quality(
            metric=f"KD-lite0, {direction.name}",
            value=ours["KD-lite0"],
            spread=ours["+-"],
            samples=count,
            protocol=f"{count} held-out pairs, a style drawn for each",
        )
        yield figure, min(row["KD-lite0"] for row in plain)


def diversity(loaded: LoadedRun, direction: Direction, eyes: Extractor) -> float:
    """How far apart the pictures of one source in several styles are, in features."""
    count = len(direction.truth.sources)
    chosen = np.repeat(np.linspace(0, count - 1, min(VARIED, count)).astype(np.int64), EACH)
    styles = drawn_styles(loaded, range(len(chosen)))
    made = translate(loaded, direction.truth.sources[chosen], direction.label, styles)
    return pairwise_distance(eyes(made), chosen)


def _scores(made: Images, direction: Direction, eyes: Extractor, real: NDArray[np.float32]) -> Row:
    filled = bin_score(direction.bins, _pixels(made))
    row = pairs.score(made, direction.truth, eyes, real)
    return {**row, "NDB": filled.different, "JSD": filled.jsd}


def _of_truth(direction: Direction, real: Pixels) -> Row:
    """What the best translator would score; its kernel distance is that of two halves."""
    filled = bin_score(direction.bins, _pixels(direction.truth.images))
    apart = kernel_distance(real[0::2], real[1::2])  # as data may be sorted
    row = {"model": "truth", "L1": 0.0, "KD-lite0": apart.value, "+-": apart.spread}
    spread = {"NDB": filled.different, "JSD": filled.jsd}
    return {**row, **spread, "diversity": pairwise_distance(real)}


def _pixels(images: Images) -> Pixels:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _planes(images: Images) -> torch.Tensor:
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
    return torch.from_numpy(planes / 255 * 2 - 1)


def shown(loaded: LoadedRun, both: Sequence[Direction]) -> Images:
    """A sheet: of each direction a row of sources, some of styles, and one of truths."""
    rows = []
    for direction in both:
        truth = direction.truth
        chosen = np.linspace(0, len(truth.images) - 1, SHEET_COLUMNS).astype(int)
        sources = truth.sources[chosen]
        rows.append(sources)
        for k in range(SHEET_STYLES):
            styles = drawn_styles(loaded, range(k * len(chosen), (k + 1) * len(chosen)))
            rows.append(translate(loaded, sources, direction.label, styles))
        rows.append(truth.images[chosen])
    return np.concatenate(rows)


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, all of the same data.")],
    out: Annotated[Path | None, typer.Option("--sheet", help="Draw the first run's here.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Score unpaired translators on the pairs of their test split, both ways."""
    loaded = [(path.name, load_run(path)) for path in runs]
    config = loaded[0][1].config
    if len({one.dataset["fingerprint"] for _, one in loaded}) > 1:
        raise BenchError("the runs learnt from different data: score each set by itself")
    both, eyes = of_config(config), lite0()
    if out is not None:
        save_png(sheet(shown(loaded[0][1], both), SHEET_COLUMNS), out)
    about = f"{len(both[0].truth.images):,} held-out pairs of {config.data.size} px"
    result = Result("unpaired", source=config.data.source, rows=(rows := dict[str, Any]()))
    for direction in both:
        rows[direction.name] = found = list(measure(loaded, direction, eyes))
        console().print(table(f"{direction.name}, {about}; L1 in levels of 255", found))
        result.write(json)
    result.update(complete=True)
    result.write(json)


def of_config(config: RunConfig) -> tuple[Direction, Direction]:
    """The two directions of a run's data."""
    missing = "one domain: score a run of two"
    train, test = (pairs.split_of(config, split, missing) for split in ("train", "test"))
    return directions(train, test, train.domains or ("source", "target"))


if __name__ == "__main__":
    run(main)
