"""Downloads from a real server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training.data import download as downloading
from training.data.download import DownloadFailed, download
from training.data.idx import serialise
from training.data.idx_files import Checksums, IdxFiles
from training.data.progress import silent
from training.data.wanted import Wanted
from training.errors import DataError

IMAGES = np.arange(75, dtype=np.uint8).reshape(3, 5, 5)
LABELS = np.array([2, 0, 1], np.uint8)
CONTENT = {"images": serialise(IMAGES), "labels": serialise(LABELS)}
SHA256 = {kind: hashlib.sha256(content).hexdigest() for kind, content in CONTENT.items()}


class Mirror(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "missing" in self.path:
            self.send_error(404)
            return
        kind = "labels" if "labels" in self.path else "images"
        body = gzip.compress(CONTENT[kind] if "other" not in self.path else b"other")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:20] if "cut" in self.path else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_good_file_arrives_whole(mirror: str, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    target = tmp_path / "new" / "images.gz"
    content = download(
        f"{mirror}/images.gz", target, SHA256["images"], lambda *report: seen.append(report)
    )
    assert content == CONTENT["images"]
    assert gzip.decompress(target.read_bytes()) == content
    size = target.stat().st_size
    assert seen[-1] == ("downloading images.gz", size, size)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing/images.gz", "404"),
        ("other/images.gz", "SHA-256 differs"),
        ("cut/images.gz", "cut off after 20 of"),
    ],
)
def test_anything_else_leaves_nothing(mirror: str, tmp_path: Path, path: str, message: str) -> None:
    target = tmp_path / "images.gz"
    with pytest.raises(DownloadFailed, match=message):
        download(f"{mirror}/{path}", target, SHA256["images"], silent)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_stopped(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "CONTENT_LIMIT_BYTES", 10)
    with pytest.raises(DownloadFailed, match="more than 10 bytes"):
        download(f"{mirror}/images.gz", tmp_path / "images.gz", SHA256["images"], silent)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(mirror: str, tmp_path: Path) -> None:
    def interrupt(step: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(f"{mirror}/images.gz", tmp_path / "images.gz", SHA256["images"], interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_failed_download(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadFailed):
        download(f"{mirror}/images.gz", tmp_path / "file" / "x.gz", SHA256["images"], silent)


def test_a_set_is_downloaded_once_from_the_first_mirror_that_works(
    mirror: str, tmp_path: Path
) -> None:
    sums = Checksums(SHA256["images"], SHA256["labels"])
    wanted = Wanted("train", None, None, tmp_path, silent)
    broken = (f"{mirror}/missing", f"{mirror}/other")
    for mirrors in ((*broken, mirror), broken):  # the second time it is in the cache
        images, labels, _ = IdxFiles(sums, sums, mirrors=mirrors).read("toy", None, wanted)
        assert labels is not None
        assert np.array_equal(images, IMAGES)
        assert labels.tolist() == [2, 0, 1]
        assert labels.dtype == np.int64
    nowhere = IdxFiles(sums, sums, mirrors=broken)
    with pytest.raises(DataError, match=r"(?s)404.*SHA-256 differs.*Ways to get it"):
        nowhere.read("other toy", None, wanted)
