"""Where a bundle comes from, and what is not told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from export import provenance
from export.provenance import git_commit, versions
from tests.export.networks import Convolutional, loaded_run


@pytest.mark.parametrize(
    "source", ["/srv/photos/cats", "~/cats", "mnist:/data/mnist", "C:/cats", "../cats.zip"]
)
def test_path_of_the_data_is_not_told(source: str) -> None:
    made = provenance.provenance(loaded_run(Convolutional(), source=source))
    assert made.config["data"]["source"] == "animals"
    assert source not in made.model_dump_json()


def test_name_of_the_data_is_told() -> None:
    made = provenance.provenance(loaded_run(Convolutional(), source="fashion-mnist"))
    assert made.config["data"]["source"] == "fashion-mnist"


def test_versions_are_of_installed_packages() -> None:
    found = versions()
    assert found["torch"]
    assert all(found.values())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that tracks ``export/provenance.py``."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    package = tmp_path / "export"
    package.mkdir()
    (package / "provenance.py").write_text("code\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return package


def git(folder: Path, *arguments: str) -> str:
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *person, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_commit_of_a_clean_checkout(checkout: Path) -> None:
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_changed_files_are_told(checkout: Path) -> None:
    (checkout / "provenance.py").write_text("other code\n")
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD") + "+changes"


def test_somebody_elses_repository_is_not_ours(checkout: Path) -> None:
    installed = checkout.parent / "site-packages"
    installed.mkdir()
    assert git_commit(installed) is None


def test_no_git_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None
