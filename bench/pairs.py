"""How near is a translator to the truth, on pairs that it never saw?

``python -m bench.pairs RUN ...``: the L1 distance in levels of 255, beside the better of two
baselines (each pixel's mean over the training targets; the source itself), and the kernel distance
in EfficientNet-Lite0's features, which a picture that is blurred or grey to be safe does not make
small. Every picture is made with a draw of the dropout of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from bench.coders import Row, table
from bench.command import BenchError, console, run
from bench.result import Result
from export.manifest import Image
from export.rows import Rows, chosen_rows
from export.servable import offer, torch_run
from training.config import RunConfig
from training.data import Dataset, Split, load
from training.data.decode import with_channels
from training.data.progress import progress_bars
from training.grid import save_png, sheet, triples
from training.metrics.features import Extractor, lite0
from training.metrics.kernel import kernel_distance
from training.run import LoadedRun, load_run

Images = NDArray[np.uint8]
CHUNK = 32
AGAIN = 100  # pictures made with another draw, to see how much the dropout changes
SHEET_PAIRS, SHEET_COLUMNS = 24, 12


@dataclass(frozen=True, eq=False)
class Truth:
    """The pairs of a test split, and what is known without a model."""

    sources: Images
    images: Images
    mean: NDArray[np.float64]  # of the training targets, [H, W, C]


def l1(found: NDArray[Any], truth: Images) -> float:
    """The mean absolute difference, in levels of 255."""
    return float(np.abs(found.astype(np.float64) - truth).mean())


def translate(run: LoadedRun, sources: Images, seed: int) -> Images:
    """Each source [N, H, W, C] as the service would translate it; picture k has ``seed`` + k."""
    graph = offer(run).graphs["translator"]
    (image,) = (entry for entry in graph.inputs if isinstance(entry, Image))
    (answer,) = graph.names
    translator = torch_run(graph, graph.inputs, graph.names)
    made = []
    for start in range(0, len(sources), CHUNK):
        part = np.ascontiguousarray(sources[start : start + CHUNK].transpose(0, 3, 1, 2))
        seeds = range(seed + start, seed + start + len(part))
        given: Rows = {image.name: part.astype(np.float32) / 255 * 2 - 1}
        rows = chosen_rows(graph.inputs, seeds, *sources.shape[1:3], given=given)
        made.append(translator(rows)[answer])
    return np.concatenate(made)


def baselines(truth: Truth) -> dict[str, NDArray[Any]]:
    """What costs nothing: the mean picture, and the source."""
    channels = truth.images.shape[3]
    mean = np.broadcast_to(truth.mean, truth.images.shape)
    return {"mean": mean, "input": with_channels(truth.sources, channels)}


def score(made: Images, truth: Truth, features: Extractor, real: NDArray[np.float32]) -> Row:
    """Of one set of pictures; ``real`` are the features of the truths."""
    distance = kernel_distance(real, features(made))
    return {"L1": l1(made, truth.images), "KD-lite0": distance.value, "+-": distance.spread}


def measure(runs: Sequence[tuple[str, LoadedRun]], truth: Truth, seed: int) -> Iterator[Row]:
    """A row for each baseline and each run."""
    features = lite0()
    real = features(truth.images)
    found = baselines(truth)
    best = min(l1(pictures, truth.images) for pictures in found.values())
    for name, pictures in found.items():
        levels = np.round(pictures).astype(np.uint8)
        row = score(levels, truth, features, real)
        yield {
            "model": name,
            **row,
            "of the better baseline": row["L1"] / best,
            "draws differ": 0.0,
        }
    for name, loaded in runs:
        made = translate(loaded, truth.sources, seed)
        row = score(made, truth, features, real)
        again = translate(loaded, truth.sources[:AGAIN], seed + len(made))
        apart = l1(again, made[:AGAIN])
        share = row["L1"] / best
        yield {"model": name, **row, "of the better baseline": share, "draws differ": apart}


def split_of(config: RunConfig, split: Split, missing: str) -> Dataset:
    """Pictures that have sources; ``missing`` says what else the data holds.

    Raises:
        BenchError: these have none.
    """
    wanted = config.data
    with progress_bars() as progress:
        data = load(
            wanted.source,
            split=split,
            size=wanted.size,
            channels=wanted.channels,
            pairing=wanted.pairing,
            progress=progress,
        )
    if data.sources is None:
        raise BenchError(f"{wanted.source} holds {missing}")
    return data


def truth_of(config: RunConfig) -> Truth:
    """The test pairs of a run's data."""
    missing = "no pairs: score a run that learnt from pairs"
    train, test = (split_of(config, split, missing) for split in ("train", "test"))
    assert test.sources is not None
    return Truth(test.sources, test.images, train.images.mean(axis=0, dtype=np.float64))


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, all of the same data.")],
    seed: Annotated[int, typer.Option(help="Of the first picture's dropout.")] = 0,
    out: Annotated[Path | None, typer.Option("--sheet", help="Draw the first run's here.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Score translators on the pairs of their test split."""
    loaded = [(path.name, load_run(path)) for path in runs]
    config, prints = loaded[0][1].config, {one.dataset["fingerprint"] for _, one in loaded}
    if len(prints) > 1:
        raise BenchError("the runs learnt from different data: score each set by itself")
    truth = truth_of(config)
    if out is not None:
        save_png(sheet(held_out(loaded[0][1], truth, seed), SHEET_COLUMNS), out)
    rows = list(measure(loaded, truth, seed))
    about = f"{config.data.source}, {len(truth.images):,} test pairs of {config.data.size} px"
    console().print(table(f"{about}; L1 in levels of 255", rows))
    result = Result("pairs", source=config.data.source, pairs=len(truth.images), rows=rows)
    result.update(complete=True)
    result.write(json)


def held_out(run: LoadedRun, truth: Truth, seed: int) -> Images:
    """Source, output and truth of pairs spread over the test split."""
    rows = np.linspace(0, len(truth.images) - 1, SHEET_PAIRS).astype(int)
    sources = truth.sources[rows]
    return triples(sources, translate(run, sources, seed), truth.images[rows])


if __name__ == "__main__":
    run(main)
