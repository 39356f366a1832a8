"""Arrays in an .npz: what is read, and what is refused with what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data import Dataset, arrays, load
from training.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
LABELS = np.array([3, 7, 3, 7])


def saved(tmp_path: Path, **members: Any) -> Path:  # noqa: ANN401
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **members)
    return path


def loaded(tmp_path: Path, **members: Any) -> Dataset:  # noqa: ANN401
    return load(saved(tmp_path, **members))


def test_images_and_labels(tmp_path: Path) -> None:
    data = loaded(tmp_path, images=IMAGES, labels=LABELS)
    assert data.images.shape == (4, 6, 6, 3)
    assert np.array_equal(data.images, IMAGES[:, 1:7])
    assert data.classes == ("3", "7")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert data.name == "mine"


@pytest.mark.parametrize(
    ("images_key", "labels_key"),
    [("x", "y"), ("X_train", "Y_train"), ("train_images", "train_labels"), ("arr_0", "arr_1")],
)
def test_the_names_that_others_give(tmp_path: Path, images_key: str, labels_key: str) -> None:
    data = loaded(tmp_path, **{images_key: IMAGES, labels_key: LABELS[:, None]})
    assert len(data) == 4
    assert data.labels is not None


def test_the_test_split(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    assert len(load(path, split="test")) == 2
    part = saved(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=[7, 7])
    held_out = load(part, split="test")
    assert held_out.classes == ("3", "7")  # though it has no 3
    assert held_out.labels is not None
    assert held_out.labels.tolist() == [1, 1]
    with pytest.raises(DataError, match="no test images: name an array test_images"):
        load(saved(tmp_path, images=IMAGES), split="test")


def test_without_labels(tmp_path: Path) -> None:
    data = loaded(tmp_path, images=IMAGES)
    assert data.labels is None
    assert data.classes == ()


def test_names_of_classes(tmp_path: Path) -> None:
    named = loaded(tmp_path, images=IMAGES, labels=[0, 2, 0, 2], classes=["a", "b", "c"])
    assert named.classes == ("a", "b", "c")
    assert named.labels is not None
    assert named.labels.tolist() == [0, 2, 0, 2]
    spelt = loaded(tmp_path, images=IMAGES, labels=["dog", "cat", "dog", "cat"])
    assert spelt.classes == ("cat", "dog")
    with pytest.raises(DataError, match="goes from 0 to 2, but 2 classes are named"):
        loaded(tmp_path, images=IMAGES, labels=[0, 2, 0, 2], classes=["a", "b"])


def test_spellings_of_a_class_in_unicode_are_one_class(tmp_path: Path) -> None:
    data = loaded(tmp_path, images=IMAGES, labels=["cafe\u0301", "zoo", "caf\u00e9", "zoo"])
    assert data.classes == ("caf\u00e9", "zoo")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("classes", [["a", "a"], ["a", ""], ["a", "  "], ["e\u0301", "\u00e9"]])
def test_class_names_that_are_blank_or_not_distinct_are_refused(
    tmp_path: Path, classes: list[str]
) -> None:
    with pytest.raises(DataError, match=r"blank name|twice"):
        loaded(tmp_path, images=IMAGES, labels=[0, 1, 0, 1], classes=classes)


def test_control_characters_in_class_names_are_written_as_escapes(tmp_path: Path) -> None:
    data = loaded(tmp_path, images=IMAGES, labels=["a\x1b[2J", "b\n", "a\x1b[2J", "b\n"])
    assert data.classes == ("a\\u001b[2J", "b\\u000a")


def test_depth_and_size(tmp_path: Path) -> None:
    flat = loaded(tmp_path, images=IMAGES[..., 0])
    assert flat.images.shape == (4, 6, 6, 1)
    repeated = np.repeat(IMAGES[..., :1], 3, axis=3)
    assert np.array_equal(loaded(tmp_path, images=repeated).images, flat.images)
    path = saved(tmp_path, images=IMAGES)
    assert load(path, size=16, channels=1).images.shape == (4, 16, 16, 1)


def test_small_integers_of_another_type_are_pixels(tmp_path: Path) -> None:
    data = loaded(tmp_path, images=IMAGES.astype(np.int64))
    assert data.images.dtype == np.uint8
    assert np.array_equal(data.images, IMAGES[:, 1:7])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES / 255, r"from 0 to 1; save \(images \* 255\)\.round\(\)\.astype\('uint8'\)"),
        (IMAGES / 127.5 - 1, r"save \(\(images \+ 1\) \* 127\.5\)"),
        (IMAGES.astype(np.float32), "scale them to 0 to 255"),
        (np.full((4, 8, 8), np.nan), "finite"),
        (IMAGES > 100, r"\* 255"),
        (IMAGES.astype(np.int32) * 300, "has values from"),
        (IMAGES.transpose(0, 3, 1, 2), r"transpose\(0, 2, 3, 1\)"),
        (IMAGES.reshape(4, -1), r"\[4, 144\]: it must be \[N, H, W\]"),
        (IMAGES[:0], r"\[0, 8, 6, 3\]"),
        (np.zeros((4, 8, 8, 4), np.uint8), r"\[4, 8, 8, 4\]"),
        (IMAGES[:1], "1 train images: at least 2"),
        (np.array(["a", "b"]), "shape"),
    ],
)
def test_other_images_are_refused_with_what_to_do(
    tmp_path: Path, images: NDArray[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, images=images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:3], r"\[3\]: it must be \[4\]"),
        (np.eye(4, dtype=int), r"argmax"),
        (LABELS / 2, "integers or strings"),
    ],
)
def test_other_labels_are_refused_with_what_to_do(
    tmp_path: Path, labels: NDArray[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, images=IMAGES, labels=labels)


class Trap:
    """Unpickling one creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("key", ["images", "labels", "classes"])
def test_pickled_objects_are_never_read(tmp_path: Path, key: str) -> None:
    sprung = tmp_path / "sprung"
    members: dict[str, Any] = {"images": IMAGES, "labels": LABELS}
    members[key] = np.array([Trap(sprung)] * 4, object)
    with pytest.raises(DataError, match=rf"{key} cannot be read \(Object arrays"):
        loaded(tmp_path, **members)
    assert not sprung.exists()


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    whole = saved(tmp_path, images=IMAGES).read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"mine\.npz"):
            load(path)
    with path.open("wb") as stream:
        np.save(stream, IMAGES)
    with pytest.raises(DataError, match="savez"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"no train images: .* It holds readme\.txt"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", "hello")
    with pytest.raises(DataError, match="images"):
        load(path)


def test_an_array_too_large_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "ARRAY_LIMIT_BYTES", 100)
    with pytest.raises(DataError, match="more than 100"):
        loaded(tmp_path, images=IMAGES)


def test_a_header_that_promises_too_much_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9000000000000, 64, 64), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + b"\x76\x00" + header + b"few")
    with pytest.raises(DataError, match="images cannot be read"):
        load(path)
