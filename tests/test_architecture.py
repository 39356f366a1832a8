"""The rules of the house, each a test: who imports whom, how long things are, what is never done.

import-linter's contracts (``pyproject.toml``) say who may not import whom; the tests below add what
it cannot say: who may import *only* what, and that the service really starts without torch.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export.to_torchserve import OURS as TRAVELS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("training", "export", "service")
FILE_LINES = 300
FUNCTION_LINES = 50

LONGER = {
    "service/batcher.py": "its queue and its loop are read together, and it imports nothing of ours"
}
"""What is past its budget (``file.py`` or ``file.py:function``), and the reason why it may."""

THE_CONTRACT = {
    f"export.{name}"
    for name in (
        "bundle",
        "manifest",
        "fields",
        "origin",
        "draw",
        "dimension",
        "size",
        "tokens",
    )
}
"""What of ours, beside itself, the service may import."""


def python_files(*folders: str) -> list[str]:
    """Return the Python files of the folders, as paths from the root of the repository."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


OURS = ["ganymede.py", *python_files(*PACKAGES, "deploy")]


def parse(path: str) -> ast.Module:
    """Return the syntax tree of a file of the repository."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)


def imported(path: str) -> set[str]:
    """Return the full names of the modules that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            is_package = ROOT.joinpath(*node.module.split(".")).is_dir()
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= members if is_package else {node.module}
    return names


def imported_of_ours(path: str) -> set[str]:
    """Return the modules of this repository that a file imports."""
    return {name for name in imported(path) if name.split(".")[0] in (*PACKAGES, "ganymede")}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command at the root of the repository."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    done = run(Path(sys.executable).with_name("lint-imports"), "--no-logo")
    assert done.returncode == 0, done.stdout + done.stderr


def test_service_imports_of_ours_only_the_contract() -> None:
    others = {
        f"{path}: {name}"
        for path in python_files("service")
        for name in imported_of_ours(path) - THE_CONTRACT
        if name.split(".")[0] != "service"
    }
    assert others == set()


def test_torchserve_handler_imports_of_ours_only_what_travels_in_its_archives() -> None:
    files = python_files("deploy/torchserve")
    travels = {path.removesuffix("/__init__.py").removesuffix(".py") for path in TRAVELS}
    reached = {
        (path, name.replace(".", "/"))
        for path in (*files, *TRAVELS)
        for name in imported_of_ours(path)
    }
    others = {(path, name) for path, name in reached if is_module(name) and name not in travels}
    assert files
    assert others == set()


def test_ray_application_imports_of_ours_only_the_service() -> None:
    files = python_files("deploy/ray")
    others = {
        (path, name)
        for path in files
        for name in imported_of_ours(path)
        if name.split(".")[0] != "service"
    }
    assert files
    assert others == set()


def is_module(path: str) -> bool:
    """Tell whether there is a module at a path without its end, or only a name in its package."""
    return (ROOT / path).is_dir() or (ROOT / f"{path}.py").is_file()


def test_batcher_imports_nothing_of_ours() -> None:
    assert imported_of_ours("service/batcher.py") == set()


def test_importing_export_imports_nothing() -> None:
    assert imported("export/__init__.py") == set()


def test_service_starts_where_torch_is_missing() -> None:
    program = """
import importlib, pkgutil, sys
missing = ("torch", "onnx", "onnxscript", "lightning_fabric", "sklearn", "matplotlib", "training")
sys.modules.update(dict.fromkeys(missing))  # None: importing any of them fails
import ganymede, service
for module in pkgutil.walk_packages(service.__path__, "service."):
    importlib.import_module(module.name)
sys.argv = ["ganymede", "serve", "--help"]
ganymede.main()
"""
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "--models" in done.stdout


def lengths(path: str) -> dict[str, int]:
    """Return the file and its functions that are past their budget, with their lines."""
    tree = parse(path)
    over = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) - FILE_LINES}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            over[f"{path}:{node.name}"] = lines - FUNCTION_LINES
    return {name: lines for name, lines in over.items() if lines > 0}


def test_files_and_functions_stay_short() -> None:
    over = {name: lines for path in OURS for name, lines in lengths(path).items()}
    assert over.keys() == LONGER.keys(), f"lines past the budget: {over}"


def test_every_module_says_what_it_is() -> None:
    tests = [path for path in python_files("tests") if not path.endswith("__init__.py")]
    assert [path for path in OURS + tests if not ast.get_docstring(parse(path))] == []


def test_names_say_something() -> None:
    vague_file = re.compile(r"(^|/)(utils?|helpers?|common|misc)\.py$")
    vague_class = re.compile(r"^(Base|Abstract)[A-Z]|(Manager|Helper|Utils|Impl)$")
    classes = [
        f"{path}: {node.name}"
        for path in OURS
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef) and vague_class.search(node.name)
    ]
    assert [path for path in OURS if vague_file.search(path)] + classes == []


RESTRICTED = "training/metrics/pickled.py"  # an Unpickler that knows arrays and nothing else


def unpickles(call: ast.Call) -> bool:
    """Tell whether a call may run code that a file brings."""
    keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if ast.unparse(call.func) in {"pickle.load", "pickle.loads", "pickle.Unpickler"}:
        return True
    if ast.unparse(call.func) == "torch.load":
        return keywords.get("weights_only") != "True"
    return keywords.get("allow_pickle", "False") != "False"


def test_nothing_is_unpickled() -> None:
    picklers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    others = [path for path in OURS if path != RESTRICTED]
    found = [f"{path}: {name}" for path in others for name in imported(path) & picklers]
    for path in OURS:
        calls = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
        found += [f"{path}:{call.lineno}" for call in calls if unpickles(call)]
    assert found == []


def test_tests_do_not_sleep() -> None:
    sleep = re.compile(r"(time|asyncio|anyio)\.sleep\((?!0\))")
    found = [
        f"{path}:{node.lineno}"
        for path in python_files("tests")
        if not path.startswith("tests/acceptance/")  # these wait for other people's programs
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and sleep.match(ast.unparse(node))
    ]
    assert found == []


def test_readme_commands_are_make_targets() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    commands = re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert set(commands) <= set(targets)
    assert commands[:3] == ["run", "test", "train"]


def test_parts_of_others_are_listed() -> None:
    listed = (ROOT / "THIRD_PARTY.md").read_text("utf-8")
    licences = [path for name in PACKAGES for path in (ROOT / name).rglob("LICENSE*")]
    folders = {path.parent.relative_to(ROOT).as_posix() for path in licences}
    assert folders
    assert [folder for folder in folders if f"`{folder}/`" not in listed] == []


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    one_machine = re.compile(rb"(?<![A-Za-z0-9._/~-])/(home|root|work|tmp|Users)/[A-Za-z0-9._-]+")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    found = {
        path.relative_to(ROOT).as_posix(): one_machine.findall(path.read_bytes())
        for path in files
        if path.is_file() and b"\0" not in path.read_bytes()[:1024]
    }
    assert {name: paths for name, paths in found.items() if paths} == {}
