"""A checked download: what does not match its SHA-256 never gets the file's name."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import secrets
import urllib.request
from collections.abc import Callable
from pathlib import Path

from training.data.idx import CONTENT_LIMIT_BYTES, read_content
from training.data.progress import Progress
from training.errors import DataError

TIMEOUT_S = 20
CHUNK_BYTES = 2**16


class DownloadFailed(DataError):
    """A mirror does not answer, or answers something else."""


def download(url: str, target: Path, sha256: str, progress: Progress) -> bytes:
    """Fetch ``url`` into ``target``, written by rename, and give its decompressed content.

    Args:
        url: of a raw or gzipped file.
        target: replaced only by a file with the right content.
        sha256: hex, of the decompressed content.
        progress: told the bytes of the file.

    Raises:
        DownloadFailed: unreachable, cut off, too large, or other content.
    """
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            _copy(url, stream.write, progress)
        content = read_content(partial)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DownloadFailed(f"{url} answers other content: its SHA-256 differs")
        partial.replace(target)
    except DownloadFailed:
        raise
    except (OSError, http.client.HTTPException, DataError) as error:
        raise DownloadFailed(f"{url}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return content


def _copy(url: str, write: Callable[[bytes], object], progress: Progress) -> None:
    step = f"downloading {url.rpartition('/')[2]}"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(CHUNK_BYTES):
            write(chunk)
            done += len(chunk)
            progress(step, done, max(total, done))
            if done > CONTENT_LIMIT_BYTES:
                raise DownloadFailed(f"{url} sends more than {CONTENT_LIMIT_BYTES} bytes")
    if done < total:
        raise DownloadFailed(f"{url} was cut off after {done} of {total} bytes")
