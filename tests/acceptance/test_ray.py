"""The service on a real Ray: the checks of ``ray_*.py``, in a network of their own.

Ray listens on every interface of its machine, and leaves processes behind when it is killed. So it
gets namespaces of its own, where nothing reaches it and which end with everything in them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.environments import Environment
from bench.loads import Unavailable

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 570


def environment() -> Path:
    """Return the interpreter of an environment with Ray and the service, made first if need be."""
    if named := os.environ.get("GANYMEDE_RAY_PYTHON"):
        return Path(named)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "deploy" / "ray" / "requirements.txt").read_text("utf-8").splitlines()
    needed = [line for line in lines if not line.startswith("#")]
    needed += [*project["dependencies"], f"--constraint={ROOT / 'constraints.txt'}"]
    try:
        return Environment("ray", tuple(needed)).prepare() / "python"
    except Unavailable as error:
        pytest.skip(f"Ray cannot be installed: {error}")


def alone() -> list[str]:
    """Return the beginning of a command that runs without a network but its own."""
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("there are no namespaces to keep Ray in: needs Linux, unshare and ip")
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    command += ["--map-root-user"] if os.geteuid() else []
    command += ["bash", "-c", 'ip link set lo up && "$@"; exit $?', "bash"]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces may be made here: {done.stderr.strip()}")
    return command


@pytest.mark.parametrize("checks", ["ray_serve.py", "ray_scale.py"])
def test_replicas_of_ray_serve(checks: str) -> None:
    program = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-rA",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*alone(), *program, str(Path(__file__).with_name(checks))],
        cwd=ROOT,
        env=os.environ | {"GANYMEDE_RAY_PYTHON": str(environment())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
