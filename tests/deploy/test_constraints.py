"""constraints.txt holds one version of everything that an environment installs, and it is used."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pins() -> dict[str, str]:
    """Return package -> version, as constraints.txt has them."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {str(canonicalize_name(name)): pinned for name, pinned in pairs}


def wanted() -> list[Requirement]:
    """Return what pyproject.toml asks for, here, in the environments of the Makefile."""
    extras = PROJECT["optional-dependencies"]
    asked = list(PROJECT["dependencies"])
    elsewhere = {"gpu", "remote"}  # in no environment of the Makefile
    asked += [each for name in extras.keys() - elsewhere for each in extras[name]]
    requirements = [Requirement(each) for each in asked]
    here = [each for each in requirements if each.marker is None or each.marker.evaluate()]
    return [each for each in here if each.name != PROJECT["name"]]


def brought_by(requirements: list[Requirement]) -> set[str]:
    """Return the packages that the requirements install on this machine, in the end."""
    found: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        each = waiting.pop()
        for extra in ("", *each.extras):
            key = (str(canonicalize_name(each.name)), extra)
            if key not in found:
                found.add(key)
                needs = map(Requirement, distribution(each.name).requires or [])
                waiting += [need for need in needs if applies(need, extra)]
    return {name for name, _ in found}


def applies(requirement: Requirement, extra: str) -> bool:
    """Tell whether a package needs this, here, when it is installed with the extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def test_everything_installed_is_pinned() -> None:
    needed = brought_by(wanted())
    assert {"torch", "onnxruntime", "starlette"} <= needed
    assert needed - pins().keys() == set()


def test_pins_are_within_the_bounds_of_pyproject() -> None:
    pinned = pins()
    outside = [
        str(each)
        for each in wanted()
        if not each.specifier.contains(pinned[canonicalize_name(each.name)])
    ]
    assert outside == []


def test_tests_run_with_the_pinned_versions() -> None:
    pinned = pins()
    different = {
        name: f"{version(name)}, not {pinned[name]}"
        for name in brought_by(wanted()) & pinned.keys()
        if version(name).split("+")[0] != pinned[name]
    }
    assert different == {}


def test_torch_may_be_any_build_of_its_version() -> None:
    assert "+" not in pins()["torch"]
