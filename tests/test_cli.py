"""The command itself: quick, lazy, and clear about what is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import ganymede

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = ["ganymede", *{arguments!r}]
import ganymede
try:
    ganymede.main()
finally:
    print("IMPORTED", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def run(*arguments: str, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where some packages are not installed."""
    program = PROGRAM.format(arguments=list(arguments), blocked=blocked)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_lists_every_command_and_imports_no_heavy_package() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    told, _, imported = done.stdout.partition("IMPORTED")
    for name, entry in ganymede.COMMANDS.items():
        assert name in told
        assert entry.help in told
    heavy = {"torch", "fastapi", "numpy", "onnxruntime", "matplotlib", "pydantic", "training"}
    assert not heavy & set(imported.split())


@pytest.mark.parametrize(
    ("command", "blocked", "extra"),
    [
        ("train", "torch", "train"),
        ("resume", "lightning_fabric", "train"),
        ("estimate", "safetensors", "train"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(
    command: str, blocked: str, extra: str
) -> None:
    done = run(command, "x", blocked=(blocked,))
    assert done.returncode == 2
    assert done.stderr.startswith(f"ganymede: `ganymede {command}` needs {blocked}: pip install ")
    assert f"[{extra}]" in done.stderr
    assert done.stderr.count("\n") == 1


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit status of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["ganymede", *arguments])
    with pytest.raises(SystemExit) as caught:
        ganymede.main()
    return caught.value.code


@pytest.mark.parametrize("name", ganymede.COMMANDS)
def test_every_command_is_there(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = ganymede.COMMANDS[name]
    assert hasattr(importlib.import_module(entry.module), entry.attribute)
    assert main(monkeypatch, name, "--help") == 0
    assert "Usage: " in capsys.readouterr().out


def test_an_unknown_command_or_option_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, "tarin") == 2
    assert "tarin" in capsys.readouterr().err
    assert main(monkeypatch, "train", "--no-such-option") == 2
    assert "--no-such-option" in capsys.readouterr().err


def test_nothing_asked_is_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(monkeypatch)
    captured = capsys.readouterr()
    assert "Usage: " in captured.out + captured.err


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ganymede", "--version"])
    monkeypatch.setattr("ganymede.importlib.metadata.version", {"ganymede": "1.2.3"}.__getitem__)
    ganymede.main()
    assert capsys.readouterr().out == "ganymede 1.2.3\n"


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make ``ganymede fail`` raise the error."""

    def fail() -> None:
        raise error

    monkeypatch.setitem(sys.modules, "failing", SimpleNamespace(fail=fail))
    monkeypatch.setitem(ganymede.COMMANDS, "fail", ganymede.Entry("failing", "fail", "", ""))


@pytest.mark.parametrize("name", ganymede.EXPECTED)
def test_an_expected_error_is_one_line_and_status_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = type(name, (Exception,), {})
    failing(monkeypatch, type("Below", (root,), {})("change this"))
    assert main(monkeypatch, "fail") == 2
    assert capsys.readouterr().err == "ganymede: change this\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert main(monkeypatch, "fail") == 2
    told = capsys.readouterr().err
    assert told.startswith("ganymede: not enough memory")
    assert told.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ValueError("a bug"))
    monkeypatch.setattr(sys, "argv", ["ganymede", "fail"])
    with pytest.raises(ValueError, match="a bug"):
        ganymede.main()


def test_a_missing_module_of_ours_is_a_bug_not_a_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = ganymede.Entry("training.not_there", "x", "", "train")
    monkeypatch.setitem(ganymede.COMMANDS, "fail", entry)
    monkeypatch.setattr(sys, "argv", ["ganymede", "fail"])
    with pytest.raises(ModuleNotFoundError):
        ganymede.main()
