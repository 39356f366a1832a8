"""The user's folders and zips, through ``load``: nothing that they hold is a crash."""

from __future__ import annotations

import logging
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.data import odd
from tests.training.data.odd import BLUE, GREEN, RED, fill, zipped
from training.data import archive, folder, load
from training.errors import DataError

TWO_CLASSES = {
    "cat/1.png": odd.plain(RED),
    "cat/2.png": odd.plain(GREEN),
    "dog/3.png": odd.plain(BLUE),
}


def make(kind: str, tmp_path: Path, files: dict[str, bytes]) -> Path:
    return (
        fill(tmp_path / "set", files) if kind == "folder" else zipped(tmp_path / "set.zip", files)
    )


both = pytest.mark.parametrize("kind", ["folder", "zip"])


@both
def test_images_labels_and_classes(kind: str, tmp_path: Path) -> None:
    data = load(make(kind, tmp_path, TWO_CLASSES), size=8)
    assert data.images.shape == (3, 8, 8, 3)
    assert [tuple(image[0, 0]) for image in data.images] == [RED, GREEN, BLUE]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.labels.dtype == np.int64
    assert (data.name, data.licence, data.attribution) == ("set", "unspecified", "")
    assert data.classes == ("cat", "dog")
    assert data.skipped == ()


@both
def test_every_odd_picture_loads(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(make(kind, tmp_path, odd.odd_pictures()))
    assert data.images.shape == (len(odd.odd_pictures()), 64, 64, 3)
    assert data.labels is None
    assert data.classes == ()
    assert not caplog.records


@both
def test_broken_pictures_are_skipped_by_name(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = odd.broken_pictures()
    files = {**TWO_CLASSES, **{f"cat/{name}": content for name, content in broken.items()}}
    with caplog.at_level(logging.WARNING):
        data = load(make(kind, tmp_path, files), size=8)
    assert [tuple(image[0, 0]) for image in data.images] == [RED, GREEN, BLUE]
    assert {name for name, _ in data.skipped} == {f"cat/{name}" for name in broken}
    assert all(reason for _, reason in data.skipped)
    [record] = caplog.records
    assert f"{len(broken)} files skipped: cat/" in record.getMessage()
    assert "and 1 more" in record.getMessage()
    assert (
        load(tmp_path / ("set" if kind == "folder" else "set.zip"), size=8).skipped == data.skipped
    )


@both
def test_what_belongs_to_the_system_is_passed_over(kind: str, tmp_path: Path) -> None:
    extra = {
        ".hidden.png": odd.plain(),
        "cat/._1.png": b"\0\5\x16\7",
        ".git/4.png": odd.plain(),
        "__MACOSX/cat/1.png": b"",
        "cat/Thumbs.db": b"",
        "README.txt": b"",
    }
    data = load(make(kind, tmp_path, TWO_CLASSES | extra), size=8)
    assert len(data) == 3
    assert data.classes == ("cat", "dog")
    assert data.skipped == ()


@both
def test_pictures_beside_the_class_folders_are_skipped_by_name(kind: str, tmp_path: Path) -> None:
    data = load(make(kind, tmp_path, {**TWO_CLASSES, "cover.png": odd.plain()}), size=8)
    assert [name for name, _ in data.skipped] == ["cover.png"]
    assert len(data) == 3


@both
def test_a_class_without_usable_pictures_is_no_class(kind: str, tmp_path: Path) -> None:
    files = {**TWO_CLASSES, "eel/1.png": b"no", "empty/readme.md": b""}
    assert load(make(kind, tmp_path, files), size=8).classes == ("cat", "dog")


@both
def test_train_and_test_folders_are_splits(kind: str, tmp_path: Path) -> None:
    train = {f"train/{name}": content for name, content in TWO_CLASSES.items()}
    test = {f"test/dog/{k}.png": odd.plain(BLUE) for k in range(2)}
    source = make(kind, tmp_path, train | test)
    assert len(load(source, size=8)) == 3
    held_out = load(source, split="test", size=8)
    assert held_out.labels is not None
    assert held_out.labels.tolist() == [1, 1]
    assert held_out.classes == ("cat", "dog")


def test_no_test_split_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder called test beside one called train"):
        load(fill(tmp_path, TWO_CLASSES), split="test")


@both
def test_fewer_than_two_pictures_says_what_was_found(kind: str, tmp_path: Path) -> None:
    files = {"only.png": odd.plain(), "bad.jpg": b"bad", "notes.txt": b"", "clip.mp4": b""}
    with pytest.raises(DataError) as raised:
        load(make(kind, tmp_path, files))
    for words in ("1 usable train image", "bad.jpg", "1 .txt", "1 .mp4", "at least 2"):
        assert words in str(raised.value)


@both
def test_nothing_at_all_is_a_clear_error(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="0 usable train images"):
        load(make(kind, tmp_path, {}))


def test_channels_are_one_only_if_every_picture_is_grey(tmp_path: Path) -> None:
    grey_as_rgb = odd.plain((70, 70, 70))
    fill(tmp_path, {"a.png": odd.grey(90), "b.png": grey_as_rgb})
    data = load(tmp_path, size=8)
    assert data.images.shape == (2, 8, 8, 1)
    assert data.images[:, 0, 0, 0].tolist() == [90, 70]
    assert load(tmp_path, size=8, channels=3).images.shape == (2, 8, 8, 3)
    fill(tmp_path, {"c.png": odd.plain(RED)})
    assert load(tmp_path, size=8).images.shape == (3, 8, 8, 3)
    assert load(tmp_path, size=8, channels=1).images.shape == (3, 8, 8, 1)


def test_links_are_followed_and_their_loops_end(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", TWO_CLASSES)
    elsewhere = fill(tmp_path / "elsewhere", {"4.png": odd.plain()})
    (root / "ant").symlink_to(elsewhere, target_is_directory=True)
    (root / "aaa").symlink_to(root / "dog", target_is_directory=True)  # its real name comes first
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "self").symlink_to(root / "self")
    (root / "cat" / "gone.png").symlink_to(root / "nowhere")
    data = load(root, size=8)
    assert data.classes == ("ant", "cat", "dog")
    assert len(data) == 4
    assert [name for name, _ in data.skipped] == ["cat/gone.png"]


def test_a_pipe_with_the_name_of_a_picture_does_not_block(tmp_path: Path) -> None:
    fill(tmp_path, TWO_CLASSES)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    assert load(tmp_path, size=8).skipped == (("cat/pipe.png", "not a regular file"),)


def test_a_name_that_is_no_utf8_is_printable(tmp_path: Path) -> None:
    fill(tmp_path, TWO_CLASSES)
    folder_bytes = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder_bytes)
    (Path(os.fsdecode(folder_bytes)) / "\udcff.png").write_bytes(b"broken")
    (Path(os.fsdecode(folder_bytes)) / "1.png").write_bytes(odd.plain())
    data = load(tmp_path, size=8)
    for text in (*data.classes, *(name for name, _ in data.skipped)):
        text.encode()
    assert len(data.classes) == 3


def test_files_too_large_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {**TWO_CLASSES, "cat/huge.png": bytes(5000)}
    monkeypatch.setattr(folder, "FILE_LIMIT_BYTES", 4000)
    monkeypatch.setattr(archive, "FILE_LIMIT_BYTES", 4000)
    for kind in ("folder", "zip"):
        [(name, reason)] = load(make(kind, tmp_path, files), size=8).skipped
        assert (name, reason) == ("cat/huge.png", "5000 bytes, more than 4000")


def test_a_zip_names_what_would_leave_it(tmp_path: Path) -> None:
    outside = {"../../up.png": odd.plain(), "/etc/root.png": odd.plain(), "C:\\x.png": odd.plain()}
    data = load(zipped(tmp_path / "set.zip", TWO_CLASSES | outside), size=8)
    assert {name for name, _ in data.skipped} == {"../../up.png", "/etc/root.png", "C:/x.png"}
    assert len(data) == 3


def test_a_zip_of_a_wrapped_folder_with_windows_separators(tmp_path: Path) -> None:
    files = {f"pets\\{name}".replace("/", "\\"): picture for name, picture in TWO_CLASSES.items()}
    assert load(zipped(tmp_path / "pets.zip", files), size=8).classes == ("cat", "dog")


def test_encrypted_and_damaged_members_are_skipped(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {**TWO_CLASSES, "cat/x.png": odd.plain((1, 2, 3), (9, 9))})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as whole:
        secret, damaged = whole.infolist()[1], whole.infolist()[3]
    central = content.rindex(b"PK\x01\x02", 0, content.rindex(b"cat/2.png"))
    struct.pack_into("<H", content, central + 8, archive.ENCRYPTED)
    struct.pack_into("<H", content, secret.header_offset + 6, archive.ENCRYPTED)
    content[damaged.header_offset + 60] ^= 0xFF
    path.write_bytes(content)
    data = load(path, size=8)
    skipped = dict(data.skipped)
    assert skipped["cat/2.png"] == "encrypted"
    assert "broken inside the zip" in skipped["cat/x.png"]
    assert len(data) == 2


def test_other_files_are_refused_clearly(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"neither a folder nor a zip nor an \.npz"):
        load(path)
    path.write_bytes(zipped(tmp_path / "whole.zip", TWO_CLASSES).read_bytes()[:-10] + b"PK\5\6")
    with pytest.raises(DataError):
        load(path)


def test_an_unknown_name_gets_the_nearest_and_all_others(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean fashion-mnist\?.*mnist-5k.*folder"):
        load("fashion-mnits")


def test_a_folder_may_be_called_like_a_named_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "mnist-5k", TWO_CLASSES)
    monkeypatch.chdir(tmp_path)
    assert len(load("mnist-5k", split="test")) == 1_000
    for source in ("./mnist-5k", Path("mnist-5k")):
        assert len(load(source, size=8)) == 3


@pytest.mark.parametrize("source", ["", "~nobody-here/x", "x" * 5000, "nul\0byte", "mnist5k:/x"])
def test_no_source_is_a_crash(source: str) -> None:
    with pytest.raises(DataError, match="fashion-mnist-subset"):
        load(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "1 to 2048"),
        ({"size": 100_000}, "1 to 2048"),
        ({"channels": 2}, "1 .grey. or 3"),
        ({"split": "validation"}, "train or test"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load("fashion-mnist-subset", **options)  # type: ignore[arg-type]
