"""Environments of the peers: one for each, from PyPI, kept in the cache folder.

They have the ONNX Runtime, numpy and Pillow of this environment, so that what is compared is the
server.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.loads import Unavailable
from training.data.cache import cache_folder

SHARED = ("onnxruntime", "numpy", "pillow")
INSTALL_S = 900


@dataclass(frozen=True)
class Environment:
    """A virtual environment with these packages, pinned."""

    name: str
    requirements: tuple[str, ...]

    @property
    def pinned(self) -> tuple[str, ...]:
        """All that is asked of pip."""
        return (*self.requirements, *(f"{name}=={_version(name)}" for name in SHARED))

    @property
    def folder(self) -> Path:
        """Another one for other versions."""
        mark = hashlib.sha256("\n".join([sys.version, *self.pinned]).encode()).hexdigest()[:12]
        return cache_folder() / "peers" / f"{self.name}-{mark}"

    def prepare(self) -> Path:
        """The folder of its programs, after installing what is missing.

        Raises:
            Unavailable: it cannot be installed.
        """
        complete = self.folder / "complete"  # written last
        programs = self.folder / "bin"
        if complete.exists():
            return programs
        shutil.rmtree(self.folder, ignore_errors=True)
        print(f"installing {self.name} into {self.folder}", file=sys.stderr)
        install = [str(programs / "python"), "-m", "pip", "install", "--quiet", *self.pinned]
        for command in ([sys.executable, "-m", "venv", str(self.folder)], install):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
            except subprocess.TimeoutExpired:
                raise Unavailable(f"not installed within {INSTALL_S} s") from None
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                raise Unavailable(f"`{' '.join(command)}` failed: {' '.join(last)}")
        complete.touch()
        return programs


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise Unavailable(f"{name} is not installed here") from None
