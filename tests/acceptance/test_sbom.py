"""The list of the service's parts, made for real: its environment, installed from the index."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service import __version__

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``make sbom`` writes, from an environment of its own."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    folder = tmp_path_factory.mktemp("sbom")
    names = [f"PYTHON={sys.executable}", f"SERVE={folder / 'environment'}", f"DIST={folder}"]
    command = ["make", "sbom", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "service.cdx.json").read_text("utf-8"))
    return found


def pins() -> dict[str, str]:
    """Return the versions that constraints.txt names."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.lower().split("==") for line in lines if line and line[0] != "#")


def test_list_is_of_this_release(listed: dict[str, Any]) -> None:
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    release = listed["metadata"]["component"]
    assert (release["name"], release["version"]) == ("ganymede", __version__)
    assert release["licenses"][0]["license"]["id"] == "Apache-2.0"


def test_every_part_that_serves_is_listed_with_its_version(listed: dict[str, Any]) -> None:
    found = {each["name"].lower(): each["version"] for each in listed["components"]}
    pinned = pins()
    for name in ("fastapi", "onnxruntime", "numpy", "pillow", "starlette", "uvicorn"):
        assert found[name] == pinned[name]
    assert found.keys().isdisjoint({"torch", "onnx", "pytest", "cyclonedx-bom", "ray"})


def test_parts_have_a_licence_and_an_address(listed: dict[str, Any]) -> None:
    addresses = [each["purl"] for each in listed["components"]]
    assert all(each.startswith("pkg:pypi/") for each in addresses)
    unlicensed = {each["name"] for each in listed["components"] if not each.get("licenses")}
    assert "onnxruntime" not in unlicensed
    assert "fastapi" not in unlicensed


def test_nothing_of_this_machine_is_listed(listed: dict[str, Any]) -> None:
    assert str(ROOT) not in json.dumps(listed)
