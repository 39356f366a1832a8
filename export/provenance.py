"""Where a bundle comes from: enough to make it again, and nothing about this machine."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.manifest import Licence, Provenance

if TYPE_CHECKING:
    from training.run import LoadedRun

# Whichever of these are installed; the runtime has two names.
_PACKAGES = ("ganymede", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy")
UNPAIRED = "unpaired:"  # before the other domain's source, see ``training.data.unpaired``


def provenance(run: LoadedRun) -> Provenance:
    """How to make the bundle of this run again."""
    config = run.config.model_dump(mode="json")
    config["data"]["source"] = _without_folder(config["data"]["source"], run.dataset["name"])
    if pairing := config["data"]["pairing"]:
        kind = UNPAIRED if pairing.startswith(UNPAIRED) else ""
        config["data"]["pairing"] = kind + _without_folder(pairing.removeprefix(kind), "a folder")
    return Provenance(
        preset=run.config.preset,
        system=run.config.recipe.system,
        dataset=run.dataset["name"],
        dataset_fingerprint=run.dataset["fingerprint"],
        dataset_images=run.dataset["images"],
        images_seen=run.images_seen,
        seed=run.config.schedule.seed,
        git_commit=git_commit(),
        config=config,
        versions=versions(),
    )


def licence(dataset: dict[str, Any]) -> Licence:
    """A generator inherits the licence of what it learnt from."""
    return Licence(name=dataset["licence"], attribution=dataset["attribution"])


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Those of the packages that are installed; by default what decides an export's look."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """The commit of this code, ``+changes`` if files differ from it; None outside a checkout."""
    if _git(folder, "ls-files", "--error-unmatch", "provenance.py") is None:
        return None  # installed: a repository around it is somebody else's
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _without_folder(source: str, name: str) -> str:
    """A path on this machine is nobody's business, and of no use elsewhere."""
    return name if any(mark in source for mark in "/\\~") else source
