"""The V2 protocol with the clients of Triton and KServe, unmodified, against a real server.

They need other versions of some packages than we do, and KServe's brings hundreds of megabytes:
they get an environment of their own. ``GANYMEDE_V2_PYTHON`` names one that exists.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.processes import ROOT, running
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle

pytestmark = pytest.mark.acceptance

CLIENTS = ("tritonclient[http]==2.73.0", "kserve==0.21.0")
WITHIN_S = 600


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has both clients."""
    if given := os.environ.get("GANYMEDE_V2_PYTHON"):
        return Path(given)
    folder = tmp_path_factory.mktemp("clients")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    found = folder / "bin" / "python"
    done = subprocess.run(
        [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *CLIENTS],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the clients cannot be installed: {done.stderr.strip()[-300:]}")
    return found


def test_the_clients_of_others_work_unmodified(tmp_path: Path, python: Path) -> None:
    models = tmp_path / "models"
    tiny_bundle(models)
    picture_bundle(models)
    with running(tmp_path / "log", "--models", models) as (_, url):
        done = subprocess.run(
            [python, "-W", "ignore", ROOT / "tests" / "acceptance" / "v2_clients.py", url],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["tritonclient agrees", "kserve agrees"]
