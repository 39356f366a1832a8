"""The IDX format, strictly."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from training.data import idx
from training.errors import DataError

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = idx.serialise(ARRAY)


def test_the_layout_is_the_one_of_mnist() -> None:
    assert CONTENT[:16] == bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4])
    assert CONTENT[16:] == bytes(range(24))


@pytest.mark.parametrize("name", ["raw-ubyte", "misnamed.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_reads_raw_and_gzip_whatever_the_name(tmp_path: Path, name: str, pack: type) -> None:
    path = tmp_path / name
    path.write_bytes(pack(CONTENT))
    assert np.array_equal(idx.parse(idx.read_content(path), path), ARRAY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\x00", "not an IDX file"),
        (CONTENT[:11], "cut off inside its header"),
        (CONTENT[:-1], "announces 2 x 3 x 4 = 24 bytes and holds 23"),
        (CONTENT + b"\0", "announces 2 x 3 x 4 = 24 bytes and holds 25"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "announces"),
    ],
)
def test_refuses_what_is_not_exactly_idx(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        idx.parse(content, Path("some-file"))


def test_a_broken_gzip_is_a_data_error(tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    for k, content in enumerate([packed[:-9], packed[:12] + b"\xff" * 9, b"\x1f\x8b"]):
        path = tmp_path / str(k)
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            idx.read_content(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "CONTENT_LIMIT_BYTES", 1000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(DataError, match="more than 1000 bytes"):
        idx.read_content(path)
