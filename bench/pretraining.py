"""Does an encoder that learnt to reconstruct help a classifier with few labels?

``python -m bench.pretraining``: an autoencoder learns from every training picture without its
label. Its encoder, with a linear layer on top, then learns the classes of a few pictures, beside
the same network from scratch, and beside logistic regression on the pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from bench.coders import Row, table
from bench.command import console, run
from bench.result import Result
from training.data import load
from training.metrics.judge import to_tensor
from training.recipe import Batch, Shape
from training.recipes.autoencoder import Autoencoder, AutoencoderConfig

COUNTS = (50, 100, 200, 500, 1_000)
BATCH, RATE = 50, 1e-3
CONFIG = AutoencoderConfig(
    system="autoencoder", latent=64, hidden=(256,), activation="relu", code="linear"
)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures [N, C, H, W] and their classes [N]."""

    x: Tensor
    y: Tensor


def pretrained(x: Tensor, shape: Shape, steps: int, seed: int) -> Autoencoder:
    """An autoencoder after so many batches of pictures."""
    torch.manual_seed(seed)
    recipe = Autoencoder(CONFIG, shape)
    optimizer = torch.optim.Adam(recipe.parameters(), RATE)
    for _ in range(steps):
        batch = Batch(x[torch.randint(len(x), (BATCH,))])
        optimizer.zero_grad()
        torch.autograd.backward(recipe.loss(batch, 0)["reconstruction"])
        optimizer.step()
    return recipe


def accuracy(encoder: nn.Module, train: Labelled, test: Labelled, steps: int, seed: int) -> float:
    """Of the encoder and a linear layer, all of it trained on what is labelled."""
    torch.manual_seed(seed)
    classes = int(test.y.max()) + 1
    network = nn.Sequential(encoder, nn.ReLU(), nn.Linear(CONFIG.latent, classes))
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(steps):
        rows = torch.randint(len(train.x), (BATCH,))
        loss = functional.cross_entropy(network(train.x[rows]), train.y[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        return float((network(test.x).argmax(1) == test.y).float().mean())


def balanced(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Rows of ``count`` pictures, as many of each class, drawn from the seed."""
    random = np.random.default_rng(seed)
    each = count // len(np.unique(labels))
    chosen = [random.permutation(np.flatnonzero(labels == k))[:each] for k in np.unique(labels)]
    return np.concatenate(chosen)


def compare(
    train: Labelled, test: Labelled, shape: Shape, steps: tuple[int, int], seeds: int
) -> Iterator[Row]:
    """Mean accuracy over the seeds for each number of labels, and its spread.

    Args:
        train: all of it is seen without labels.
        test: for the accuracy.
        shape: of the pictures.
        steps: of pretraining, and of learning the classes.
        seeds: each draws its own labelled pictures and weights.
    """
    recipes = [pretrained(train.x, shape, steps[0], seed) for seed in range(seeds)]
    for count in COUNTS:
        found: dict[str, list[float]] = {"pretrained": [], "scratch": [], "logistic": []}
        for seed, recipe in enumerate(recipes):
            rows = balanced(train.y.numpy(), count, seed)
            few = Labelled(train.x[rows], train.y[rows])
            torch.manual_seed(seed)
            encoders = {
                "pretrained": copy.deepcopy(recipe.generator.encoder),
                "scratch": Autoencoder(CONFIG, shape).generator.encoder,
            }
            for name, encoder in encoders.items():
                found[name].append(accuracy(encoder, few, test, steps[1], seed))
            linear = LogisticRegression(max_iter=1_000).fit(few.x.flatten(1).numpy(), few.y.numpy())
            found["logistic"].append(linear.score(test.x.flatten(1).numpy(), test.y.numpy()))
        row: dict[str, Any] = {"labelled": count}
        for name, values in found.items():
            row |= {name: float(np.mean(values)), f"{name} +-": float(np.std(values))}
        yield row


def main(
    source: Annotated[str, typer.Argument(help="A data set with classes.")] = "mnist-5k",
    seeds: Annotated[int, typer.Option(min=1)] = 5,
    pretraining_steps: Annotated[int, typer.Option(min=1)] = 4_000,
    steps: Annotated[int, typer.Option(min=1, help="With labels.")] = 600,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Compare a classifier with and without pretraining."""
    train, test = (_labelled(source, split) for split in ("train", "test"))
    shape = Shape(train.x.shape[1], train.x.shape[2])
    rows = list(compare(train, test, shape, (pretraining_steps, steps), seeds))
    about = f"{source}: {len(train.x):,} pictures without labels, {len(test.x):,} for the accuracy"
    console().print(table(f"{about}, {seeds} seeds", rows))
    result = Result("pretraining", source=source, seeds=seeds, rows=rows)
    result.update(complete=True)
    result.write(json)


def _labelled(source: str, split: Any) -> Labelled:  # noqa: ANN401 - a Split, out of a loop
    data = load(source, split=split)
    assert data.labels is not None
    return Labelled(to_tensor(data.images).contiguous(), torch.from_numpy(np.array(data.labels)))


if __name__ == "__main__":
    run(main)
