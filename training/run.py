"""The run folder: everything that a run leaves behind.

::

    runs/00001-cgan-fashion-fast/
        config.yaml      resolved: every setting, the precision included
        dataset.json     what it learnt from: name, fingerprint, licence, classes
        stats.jsonl      a line per tick
        samples/         grids of the averaged generator, from fixed latents
        checkpoints/     what `ganymede resume` goes on from
        report.html      figures, offline
        diverged.txt     why it stopped, if something was not finite
        diagnosis/       what `ganymede diagnose` found, and its figures
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import checkpoints, load_generator
from training.config import RunConfig, dump_config, load_config
from training.data.dataset import Dataset
from training.errors import CheckpointError, RunExists
from training.recipe import Recipe, Shape
from training.recipes import SYSTEMS

# What a reader relies on, by name and type; a tick's dicts hold numbers.
DATASET: dict[str, type] = {
    **dict.fromkeys(("name", "fingerprint", "licence", "attribution"), str),
    **dict.fromkeys(("images", "channels", "size"), int),
    "classes": list,
}
TICK: dict[str, type] = {
    **dict.fromkeys(("stage", "images"), int),
    "images_per_s": float,
    **dict.fromkeys(("terms", "signals", "grad_norm", "rate"), dict),
}


class Run:
    """A run folder that is being written, or read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.yaml"
        self.dataset_path = path / "dataset.json"
        self.stats_path = path / "stats.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.report_path = path / "report.html"
        self.diverged_path = path / "diverged.txt"
        self.diagnosis = path / "diagnosis"
        self.diagnosis_path = self.diagnosis / "diagnosis.json"

    @classmethod
    def create(cls, path: Path) -> Run:
        """Take possession of a new folder.

        Raises:
            RunExists: it holds something already.
        """
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise FileExistsError
            run.samples.mkdir()  # of two that start at once, one gets here first
            run.checkpoints.mkdir()
        except FileExistsError:
            raise RunExists(
                f"{path} exists and is not an empty folder: go on with `ganymede resume {path}`, "
                "or choose another --out"
            ) from None
        except OSError as error:
            raise RunExists(
                f"{path} cannot be made ({error.strerror}): choose another --out"
            ) from None
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run.

        Raises:
            CheckpointError: the folder is not a run.
        """
        run = cls(path)
        if not run.config_path.is_file():
            raise CheckpointError(f"{path} holds no config.yaml: it is not a run folder")
        return run

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration, whole or not at all."""
        _write(self.config_path, dump_config(config))

    def write_dataset(self, data: Dataset) -> None:
        """Write what the run learns from."""
        _write(self.dataset_path, json.dumps(describe(data), indent=1))

    def dataset(self) -> dict[str, Any]:
        """What the run learns from, as :func:`describe` put it.

        Raises:
            CheckpointError: it is missing or broken.
        """
        try:
            found = json.loads(self.dataset_path.read_text())
            if not _fits(found, DATASET):
                raise ValueError(f"it must have {', '.join(DATASET)}")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.dataset_path} is missing or broken: {error}") from None
        return dict(found)

    def stats(self) -> Iterator[dict[str, Any]]:
        """The ticks so far; what is none, such as a line cut short by a crash, is left out."""
        if not self.stats_path.exists():
            return
        for line in self.stats_path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
                if _fits(row, TICK):
                    yield row

    def rewind(self, stage: int, images: int) -> None:
        """Forget the ticks after a checkpoint that training goes on from."""
        kept = [row for row in self.stats() if (row["stage"], row["images"]) <= (stage, images)]
        _write(self.stats_path, "".join(json.dumps(row) + "\n" for row in kept))


def _fits(found: object, facts: dict[str, type]) -> bool:
    """Whether ``found`` is an object with these facts."""
    return isinstance(found, dict) and all(
        isinstance(found.get(name), kind)
        and not (kind is dict and any(not isinstance(v, int | float) for v in found[name].values()))
        for name, kind in facts.items()
    )


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def new_run_path(preset: str, folder: Path) -> Path:
    """The next free ``<folder>/<NNNNN>-<preset>``."""
    numbers = [int(m[1]) for p in folder.glob("*-*") if (m := re.match(r"(\d{5})-", p.name))]
    return folder / f"{max(numbers, default=0) + 1:05d}-{preset}"


def describe(data: Dataset) -> dict[str, Any]:
    """What a bundle must know of the data that a generator learnt from."""
    words = data.captions
    spoken = {} if words is None else {"words": words.facts()}
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "licence": data.licence,
        "attribution": data.attribution,
        "classes": list(data.classes),
        "images": len(data),
        "channels": int(data.images.shape[3]),
        "size": int(data.images.shape[1]),
        "source_channels": None if data.sources is None else int(data.sources.shape[3]),
        **spoken,
        **({"domains": list(data.domains)} if data.domains else {}),
    }


def shape_of(dataset: dict[str, Any]) -> Shape:
    """What a recipe must know of the data."""
    return Shape(
        dataset["channels"],
        dataset["size"],
        tuple(dataset["classes"]),
        dataset.get("source_channels"),
        dataset.get("words", {}).get("vocabulary", 0),
        tuple(dataset.get("domains", ())),
    )


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to sample: ``recipe.generator`` holds the averaged weights."""

    path: Path
    config: RunConfig
    recipe: Recipe
    images_seen: int
    dataset: dict[str, Any]


def load_run(path: Path) -> LoadedRun:
    """Read the newest checkpoint of a run, in eval mode, on the CPU.

    Raises:
        CheckpointError: the folder is not a run, or holds no complete checkpoint yet.
    """
    run = Run.open(path)
    found = checkpoints(run.checkpoints)
    if not found:
        raise CheckpointError(f"{path} holds no checkpoint yet: `ganymede resume {path}` goes on")
    config, dataset = load_config(run.config_path), run.dataset()
    newest = {int(path.name[:2]): path for path in found}  # of each stage
    stages = SYSTEMS[config.recipe.system].stages(config.recipe, shape_of(dataset))
    for index, recipe in enumerate(stages):
        if index not in newest:
            raise CheckpointError(f"{path} has lost the checkpoint of its stage {index}")
        images = load_generator(newest[index], recipe)
        if index == max(newest):
            break
    return LoadedRun(path, config, recipe.eval().requires_grad_(False), images, dataset)
