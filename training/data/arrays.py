"""The user's images as arrays in an .npz, under the names that NumPy, Keras and MedMNIST give them.

Images are uint8, or other integers from 0 to 255: [N, H, W], or [N, H, W, C] with C 1 or 3. Labels
are integers or strings [N] or [N, 1]. Captions are strings [N] or [N, M]. Pickled objects are never
read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.captions import Captions, captions
from training.data.dataset import Images, Labels, Split
from training.data.layout import class_name
from training.data.pictures import printable
from training.errors import DataError

Array = NDArray[Any]

IMAGES: dict[Split, tuple[str, ...]] = {
    "train": ("train_images", "x_train", "images", "x", "arr_0"),
    "test": ("test_images", "x_test", "images_test"),
}
LABELS: dict[Split, tuple[str, ...]] = {
    "train": ("train_labels", "y_train", "labels", "y", "arr_1"),
    "test": ("test_labels", "y_test", "labels_test"),
}
CAPTIONS: dict[Split, tuple[str, ...]] = {
    "train": ("train_captions", "captions"),
    "test": ("test_captions", "captions_test"),
}
CLASSES = ("classes", "class_names")
ARRAY_LIMIT_BYTES = 2**33


def read_npz(path: Path, split: Split) -> tuple[Images, Labels | None, tuple[str, ...]]:
    """Images [N, H, W, C], labels [N], class names.

    Raises:
        DataError: not an .npz, no images in it, or arrays of another kind.
    """
    with _opened(path) as archive:
        names = {name.lower(): name for name in archive.files}
        images_name = _first(names, IMAGES[split])
        if images_name is None:
            found = ", ".join(map(printable, archive.files)) or "nothing"
            raise DataError(
                f"{path} holds no {split} images: name an array {' or '.join(IMAGES[split])}. "
                f"It holds {found}"
            )
        images = _images(_array(path, archive, images_name), f"{path}: {images_name}")
        if _first(names, LABELS[split]) is None:
            return images, None, ()
        labels = {
            part: _label_array(path, archive, name)
            for part, choices in LABELS.items()
            if (name := _first(names, choices)) is not None
        }
        classes_name = _first(names, CLASSES)
        given = None if classes_name is None else _array(path, archive, classes_name)
    what = f"{path}: {_first(names, LABELS[split])}"
    if labels[split].shape != images.shape[:1]:
        raise DataError(
            f"{what} has the shape {_shape(labels[split])}: it must be [{len(images)}]"
            f"{'; from one-hot rows, save labels.argmax(axis=1)' * (labels[split].ndim == 2)}"
        )
    return images, *_labels(labels[split], list(labels.values()), given, what)


def read_captions(path: Path, split: Split, count: int) -> Captions | None:
    """What the ``count`` images of a split show, if the archive says so.

    Raises:
        DataError: not one row of strings for each image, or an image without a caption.
    """
    found: dict[Split, list[list[str]]] = {}
    with _opened(path) as archive:
        names = {name.lower(): name for name in archive.files}
        for part, choices in CAPTIONS.items():
            if (name := _first(names, choices)) is not None:
                array = _array(path, archive, name)
                if array.dtype.kind != "U" or array.ndim not in (1, 2):
                    raise DataError(f"{path}: {name} must be strings [N] or [N, M]")
                rows = array.reshape(len(array), -1).tolist()
                found[part] = [[text for text in row if text.strip()] for row in rows]
    if split not in found:
        return None
    if len(found[split]) != count:
        raise DataError(f"{path} has {count} {split} images and captions for {len(found[split])}")
    return captions(found[split], found.get("train", found[split]))


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))  # numpy leaves a broken file open
            archive = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} cannot be read as an .npz ({error}): save it again") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path} is no .npz: save it with numpy.savez_compressed")
        yield stack.enter_context(archive)


def _first(names: dict[str, str], choices: tuple[str, ...]) -> str | None:
    return next((names[choice] for choice in choices if choice in names), None)


def _array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> Array:
    try:
        size_bytes = max(
            info.file_size
            for info in archive.zip.infolist()  # type: ignore[union-attr]
            if info.filename.removesuffix(".npy") == name
        )
        if size_bytes > ARRAY_LIMIT_BYTES:
            raise DataError(
                f"{path}: {name} unpacks to {size_bytes} bytes, more than {ARRAY_LIMIT_BYTES}: "
                "save the images as files in a folder instead"
            )
        return np.asarray(archive[name])
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zlib.error) as error:
        raise DataError(f"{path}: {name} cannot be read ({error})") from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: {name} is broken ({error}): save the file again") from error


def _images(array: Array, what: str) -> Images:
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        hint = ""
        if array.ndim == 4 and array.shape[1] in (1, 3):
            hint = "; move the channels last with images.transpose(0, 2, 3, 1)"
        raise DataError(
            f"{what} has the shape {_shape(array)}: it must be [N, H, W], [N, H, W, 1] or "
            f"[N, H, W, 3]{hint}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iu":
        raise DataError(f"{what} has the type {array.dtype}: {_conversion(array)}")
    if array.min() < 0 or array.max() > 255:
        raise DataError(
            f"{what} has values from {array.min()} to {array.max()}: scale them to 0 to 255 and "
            "save them as uint8"
        )
    return array.astype(np.uint8)


def _conversion(array: Array) -> str:
    """What to write to get uint8 out of floats or booleans; their range is never guessed."""
    if array.dtype.kind == "b":
        return "save (images * 255).astype('uint8')"
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        return "save finite numbers from 0 to 255 as uint8"
    low, high = float(array.min()), float(array.max())
    span = f"values from {low:g} to {high:g}; "
    if low >= 0 and high <= 1:
        return f"{span}save (images * 255).round().astype('uint8')"
    if low >= -1 and high <= 1:
        return f"{span}save ((images + 1) * 127.5).round().astype('uint8')"
    return f"{span}scale them to 0 to 255 and save .round().astype('uint8')"


def _label_array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> Array:
    array = _array(path, archive, name)
    if array.dtype.kind not in "iuUS":
        raise DataError(
            f"{path}: {name} has the type {array.dtype}: it must be integers or strings"
        )
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _labels(
    labels: Array, of_all_splits: list[Array], given: Array | None, what: str
) -> tuple[Labels, tuple[str, ...]]:
    """Indices and class names; without given names, the values of all splits are the classes."""
    if given is None:
        values = np.unique(np.concatenate([array.ravel() for array in of_all_splits]))
        names = list(map(_text, values))
        classes = tuple(sorted(set(names)) if values.dtype.kind in "US" else names)
        index = {name: label for label, name in enumerate(classes)}
        of_value = np.array([index[name] for name in names], np.int64)
        return of_value[np.searchsorted(values, labels)], classes
    classes = tuple(map(_text, given.ravel()))
    if labels.dtype.kind in "US":
        raise DataError(f"{what} are strings already: leave out the array of class names")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{what} goes from {labels.min()} to {labels.max()}, but {len(classes)} classes are "
            "named"
        )
    return labels.astype(np.int64), classes


def _text(value: object) -> str:
    return class_name(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _shape(array: Array) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
