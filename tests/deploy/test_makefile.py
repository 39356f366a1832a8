"""The Makefile, with a pretended Python that writes down what it was asked to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRETENDED = r"""#!/bin/sh
echo python "$@" >> calls
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'END'
#!/bin/sh
echo pip "$@" >> calls
END
cat > "$3/bin/ganymede" <<'END'
#!/bin/sh
echo ganymede "$@" >> calls
case $1 in
    serve) env | grep ^GANYMEDE_ >> calls ;;
    train) echo "runs/00007-$2" ;;
    export)
        for models; do :; done
        mkdir -p "$models/fashion/1"
        touch "$models/fashion/1/graph"
        ;;
esac
END
chmod +x "$3/bin/python" "$3/bin/ganymede"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder, with a space in its name, that holds what the Makefile needs."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    python = folder / "pretended-python"
    python.write_text(PRETENDED)
    python.chmod(0o755)
    return folder


def make(
    checkout: Path, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run make, and return how it ended and what was asked of Python since the last time."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["make", "PYTHON=./pretended-python", *arguments]
    done = subprocess.run(
        command, cwd=checkout, env=kept | environment, capture_output=True, text=True, check=False
    )
    calls = checkout / "calls"
    said = calls.read_text() if calls.exists() else ""
    calls.unlink(missing_ok=True)
    return done, said


def test_help_tells_every_target(checkout: Path) -> None:
    done, _ = make(checkout)
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = re.findall(r"^  make (\w+) +\w", done.stdout, re.MULTILINE)
    assert told == targets[0].split()


def test_run_makes_an_environment_and_serves(checkout: Path) -> None:
    done, calls = make(checkout, "run")
    assert done.returncode == 0, done.stderr
    assert "--constraint constraints.txt --editable .[cpu]" in calls
    assert "ganymede serve --port 8000" in calls
    assert "GANYMEDE_MODELS=deploy/starter:models" in calls
    assert "GANYMEDE_DEFAULT_MODEL=fashion" in calls
    assert (checkout / "models").is_dir()


def test_second_run_installs_nothing(checkout: Path) -> None:
    make(checkout, "run")
    _, calls = make(checkout, "run")
    assert calls.startswith("ganymede serve")


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed(checkout: Path, changed: str) -> None:
    make(checkout, "run")
    stamp = (checkout / ".venv" / "installed").stat().st_mtime_ns + 10**9
    os.utime(checkout / changed, ns=(stamp, stamp))
    _, calls = make(checkout, "run")
    assert "install" in calls


def test_failed_install_is_tried_again(checkout: Path) -> None:
    python = checkout / "pretended-python"
    python.write_text(PRETENDED.replace("echo pip", "exit 1\necho pip"))
    done, _ = make(checkout, "run")
    assert done.returncode != 0
    python.write_text(PRETENDED)
    done, calls = make(checkout, "run")
    assert done.returncode == 0
    assert "install" in calls


def test_port_and_settings_pass_through(checkout: Path) -> None:
    _, calls = make(checkout, "run", "PORT=1234", GANYMEDE_MAX_IMAGES="8")
    assert "serve --port 1234" in calls
    assert "GANYMEDE_MAX_IMAGES=8" in calls
    own = {"GANYMEDE_PORT": "77", "GANYMEDE_MODELS": "mine", "GANYMEDE_DEFAULT_MODEL": "cats"}
    _, calls = make(checkout, "run", **own)
    assert "serve --port 77" in calls
    assert "GANYMEDE_MODELS=mine" in calls
    assert "GANYMEDE_DEFAULT_MODEL=cats" in calls


def test_train_trains_and_exports(checkout: Path) -> None:
    _, calls = make(checkout, "train")
    assert "--editable .[train,export,cpu,dev]" in calls
    assert "ganymede train cgan-fashion-fast\n" in calls
    assert "ganymede export runs/00007-cgan-fashion-fast --name fashion-fast\n" in calls


def test_failed_training_exports_nothing(checkout: Path) -> None:
    python = checkout / "pretended-python"
    python.write_text(PRETENDED.replace("train) ", "train) exit 2; "))
    done, calls = make(checkout, "train")
    assert done.returncode != 0
    assert "export" not in calls.split("ganymede train")[1]


def test_starter_replaces_the_old_one(checkout: Path) -> None:
    old = checkout / "deploy" / "starter" / "fashion" / "1"
    old.mkdir(parents=True)
    (old / "left").touch()
    done, calls = make(checkout, "starter")
    assert done.returncode == 0, done.stderr
    assert "--name fashion --version 1 --no-torchscript" in calls
    assert [path.name for path in old.iterdir()] == ["graph"]


def test_torch_may_come_from_another_index(checkout: Path) -> None:
    _, calls = make(checkout, "train", "TORCH_INDEX=file:///somewhere")
    assert "--extra-index-url file:///somewhere" in calls


def test_parts_are_listed_from_the_environment_that_serves(checkout: Path) -> None:
    done, calls = make(checkout, "sbom")
    assert done.returncode == 0, done.stderr
    assert "--editable .[cpu]" in calls
    assert "install --quiet --disable-pip-version-check cyclonedx-bom==" in calls
    (listed,) = re.findall(r"pip -m cyclonedx_py environment (.*)\n", calls)
    assert listed.endswith("--output-file dist/service.cdx.json .venv/bin/python")
    assert done.stdout.endswith("dist/service.cdx.json\n")


@pytest.mark.parametrize("python", ["./too-old", "./missing"])
def test_wrong_python_is_said_plainly(checkout: Path, python: str) -> None:
    old = checkout / "too-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done, _ = make(checkout, "run", f"PYTHON={python}")
    assert done.returncode != 0
    assert f"3.11 or newer: {python} is older or missing" in done.stderr


def test_presets_that_make_needs_exist() -> None:
    named = re.findall(r"ganymede train ([a-z-]+)", (ROOT / "Makefile").read_text())
    presets = {path.stem for path in (ROOT / "training" / "presets").glob("*.yaml")}
    assert named
    assert set(named) <= presets
