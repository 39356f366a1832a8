"""What is learnt as normal and what is asked then: the protocols of ``bench.anomaly``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.command import BenchError
from training import data
from training.data.dataset import Dataset

Pictures = NDArray[np.uint8]
Flags = NDArray[np.bool_]

TEXTURES = ("brick", "gravel", "grass")
LEARNT_COLUMNS, LEARNT_STEP, ASKED_STEP = 384, 8, 14  # of photographs of 512 x 512
SQUARE = 10  # side of a defect


@dataclass(frozen=True, eq=False)
class Question:
    """Pictures that were not learnt from, and which of them are anomalous."""

    asked: Dataset
    anomalous: Flags


@dataclass(frozen=True, eq=False)
class Trial:
    """Pictures to learn from, and what is asked then, by name."""

    normal: Dataset
    questions: Mapping[str, Question]


@dataclass(frozen=True)
class Protocol:
    """A kind of trial.

    Args:
        about: one line.
        trials: of the data named, at this size, for these classes.
        metric: what a cell of the table is.
        score: takes which pictures are anomalous, and their scores.
        published: by column and question; their protocols differ from ours and each other's.
    """

    about: str
    trials: Callable[[str, int, list[int]], Iterator[Trial]]
    metric: str = "AUROC"
    score: Callable[[Flags, NDArray[np.float64]], float] = roc_auc_score
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def of(images: Dataset, chosen: Flags, name: str) -> Dataset:
    """Some of the images, without their labels."""
    return _set(images.images[chosen], f"{images.name}, {name}", images)


def one_class(source: str, size: int, classes: list[int]) -> Iterator[Trial]:
    """One class is normal, the others are not."""
    known, asked = _parts(source, size)
    assert known.labels is not None
    for label in classes:
        name = known.classes[label]
        question = Question(asked, np.asarray(asked.labels != label))
        yield Trial(of(known, known.labels == label, name), {name: question})


def held_out(source: str, size: int, classes: list[int]) -> Iterator[Trial]:
    """One class is anomalous, the others are normal. Zenati et al. 2018 (arXiv:1802.06222)."""
    known, asked = _parts(source, size)
    assert known.labels is not None
    for label in classes:
        name = known.classes[label]
        question = Question(asked, np.asarray(asked.labels == label))
        yield Trial(of(known, known.labels != label, f"without {name}"), {name: question})


def other_data(source: str, size: int, classes: list[int]) -> Iterator[Trial]:
    """The test images of one set are normal, those of another are not; and the other way round."""
    pair = [_parts(name, size) for name in (source, "fashion-mnist-subset")]
    for (known, asked), (_, strange) in (pair, pair[::-1]):
        count = min(len(asked), len(strange))
        both = np.concatenate([_spread(part, count) for part in (asked, strange)])
        question = Question(_set(both, "both", known), np.arange(2 * count) >= count)
        yield Trial(known, {f"{known.name}, against {strange.name}": question})


def textures(source: str, size: int, classes: list[int]) -> Iterator[Trial]:
    """Patches of a photographed texture, as they are and with a defect.

    The left three quarters of a photograph are learnt, the right quarter is asked.
    """
    photographs = {name: _photograph(name) for name in TEXTURES}
    for position, name in enumerate(TEXTURES):
        known = patches(photographs[name][:, :LEARNT_COLUMNS], size, LEARNT_STEP)
        asked, *others = (
            patches(photographs[other][:, LEARNT_COLUMNS:], size, ASKED_STEP)
            for other in (name, *(other for other in TEXTURES if other != name))
        )
        random = np.random.default_rng(position)
        strange = {
            "another texture": random.permutation(np.concatenate(others))[: len(asked)],
            "a square of another": pasted(
                asked, random.permutation(np.concatenate(others)), random
            ),
            "a scratch": scratched(asked, random),
        }
        anomalous = np.arange(2 * len(asked)) >= len(asked)
        yield Trial(
            _set(known, name),
            {
                f"{name}: {what}": Question(_set(np.concatenate([asked, wrong]), name), anomalous)
                for what, wrong in strange.items()
            },
        )


def patches(photograph: Pictures, size: int, step: int) -> Pictures:
    """[H, W] -> [N, size, size, 1], a patch every ``step`` pixels both ways."""
    every = np.lib.stride_tricks.sliding_window_view(photograph, (size, size))[::step, ::step]
    return np.ascontiguousarray(every.reshape(-1, size, size, 1))


def pasted(normal: Pictures, other: Pictures, random: np.random.Generator) -> Pictures:
    """Each picture with a square out of another, somewhere."""
    found, side = normal.copy(), normal.shape[1]
    for picture, source in zip(found, other, strict=False):
        top, left = random.integers(0, side - SQUARE, 2)
        place = np.s_[top : top + SQUARE, left : left + SQUARE]
        picture[place] = source[place]
    return found


def scratched(normal: Pictures, random: np.random.Generator) -> Pictures:
    """Each picture with a bright line, a pixel wide, from its left edge to its right."""
    found, side = normal.copy(), normal.shape[1]
    columns = np.arange(side)
    for picture in found:
        start, end = random.integers(0, side, 2)
        rows = np.rint(np.linspace(start, end, side)).astype(int)
        picture[rows, columns] = 255
    return found


def _parts(source: str, size: int) -> tuple[Dataset, Dataset]:
    known, asked = (data.load(source, split=part, size=size) for part in ("train", "test"))
    return known, asked


def _spread(images: Dataset, count: int) -> Pictures:
    """So many of the images, evenly over a set that may be sorted."""
    return np.asarray(images.images[np.arange(count) * len(images) // count])


def _set(pictures: Pictures, name: str, like: Dataset | None = None) -> Dataset:
    licence, attribution = (like.licence, like.attribution) if like else ("CC0-1.0", "")
    return Dataset(
        name=name,
        licence=licence,
        attribution=attribution,
        classes=(),
        images=pictures,
        labels=None,
        fingerprint="",
    )


def _photograph(name: str) -> Pictures:
    """One of scikit-image's textures, in grey; the package is read as data, not imported.

    Raises:
        BenchError: it is not installed.
    """
    found = importlib.util.find_spec("skimage")
    path = Path(found.origin).parent / "data" / f"{name}.png" if found and found.origin else None
    if path is None or not path.is_file():
        raise BenchError(f"{name}.png comes with scikit-image: pip install scikit-image")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


# Kumar et al. 2019 (arXiv:1901.08508) for VAE, MEG and BiGAN; Cui, Wu & Han, "Learning Hierarchical
# Features with Joint Latent Space Energy-Based Prior", table 3, for the others. On all of MNIST.
HELD_OUT = {
    "VAE": {"1": ".063", "4": ".337", "5": ".325", "7": ".148", "9": ".104"},
    "MEG": {"1": ".281", "4": ".401", "5": ".402", "7": ".290", "9": ".342"},
    "BiGAN": {"1": ".287", "4": ".443", "5": ".514", "7": ".347", "9": ".307"},
    "latent EBM": {"1": ".336", "4": ".630", "5": ".619", "7": ".463", "9": ".413"},
    "HVAE": {"1": ".494", "4": ".920", "5": ".913", "7": ".680", "9": ".791"},
    "joint EBM": {"1": ".722", "4": ".949", "5": ".980", "7": ".941", "9": ".935"},
}

PROTOCOLS: Mapping[str, Protocol] = {
    "one-class": Protocol("one class is normal, the others are not", one_class),
    "held-out": Protocol(
        "one class is anomalous, the others are normal; chance is its share",
        held_out,
        "AUPRC",
        average_precision_score,
        HELD_OUT,
    ),
    "other-data": Protocol("one data set is normal, another is not", other_data),
    "textures": Protocol("patches of a texture, with and without a defect", textures),
}
