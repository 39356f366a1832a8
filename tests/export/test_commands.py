"""``ganymede export``, ``models`` and ``sample``, as a person at a terminal meets them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from export import commands
from export.bundle import Bundle, load_bundle
from export.errors import (
    ExportError,
    InvalidChoice,
    MissingPackage,
    NotWritable,
    UnknownBundle,
    VerifyFailed,
)
from tests.export.networks import conditional_run
from tests.tiny import tiny_bundle
from training.run import LoadedRun

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command line; an expected error is raised here as it is."""
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer()
    app.command("export")(commands.export)
    app.command("sample")(commands.sample)
    app.add_typer(commands.models, name="models")

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that loads as the conditional run."""

    def load(path: Path) -> LoadedRun:
        assert path == folder
        return conditional_run()

    folder = tmp_path / "runs" / "00001-test"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    monkeypatch.setattr("training.run.load_run", load)
    return folder


def test_export_tells_the_path_and_what_was_measured(
    call: Call, run_folder: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    result = call("export", run_folder, "--name", "animals", "--models", models, "--no-torchscript")
    assert result.exit_code == 0
    assert result.stdout == f"{models / 'animals' / '1'}\n"
    assert "ONNX Runtime, before quantisation" in result.stderr
    assert "generator.onnx" in result.stderr
    assert f"ganymede serve --models {models}" in result.stderr
    assert load_bundle(models / "animals" / "1").manifest.graph("generate").torchscript is None


def test_export_packs_a_run_for_torchserve(call: Call, run_folder: Path, tmp_path: Path) -> None:
    options = ["--models", tmp_path / "models", "--torchserve", tmp_path / "store"]
    result = call("export", run_folder, "--name", "animals", *options)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'store' / 'animals-1.mar'}\n"
    assert (tmp_path / "models" / "animals" / "1" / "manifest.json").is_file()


@pytest.mark.parametrize("by", ["name", "path"])
def test_export_packs_a_bundle_for_torchserve(
    call: Call, models: Path, animals: Bundle, by: str, tmp_path: Path
) -> None:
    what = [animals.path] if by == "path" else ["animals", "--models", models]
    result = call("export", *what, "--torchserve", tmp_path)
    assert result.stdout == f"{tmp_path / 'animals-1.mar'}\n"
    assert (tmp_path / "animals-1.mar").is_file()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["animals", "--name", "other"], "leave --name"),
        (["animals", "--no-torchscript"], "leave --no-torchscript"),
        (["--onnx", "file.onnx", "--spec", "spec.yaml", "--name", "x"], "--onnx out"),
    ],
)
def test_what_cannot_be_packed_is_said_before(
    call: Call, models: Path, options: list[str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidChoice, match=reason):
        call("export", *options, "--models", models, "--torchserve", tmp_path)


def test_nothing_to_pack_is_told(call: Call, models: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownBundle, match="did you mean 'animals'"):
        call("export", "animal", "--models", models, "--torchserve", tmp_path)


def test_export_needs_a_name(call: Call, run_folder: Path) -> None:
    assert call("export", run_folder).exit_code == 2


def test_list(call: Call, models: Path, tmp_path: Path) -> None:
    tiny_bundle(tmp_path, name="tiny", version=3)
    (tiny_bundle(tmp_path, name="broken").path / "manifest.json").write_text("{}")
    result = call("models", "list", "--models", models, "--models", tmp_path)
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if "│" in line}
    assert "generate" in lines["animals"]
    assert "8x8" in lines["animals"]
    assert " 3 " in lines["tiny"]
    assert "unreadable" in lines["broken"]
    reasons = [line for line in result.stdout.splitlines() if "is not a manifest" in line]
    assert reasons[0].startswith(str(tmp_path / "broken" / "1" / "manifest.json"))


def test_list_of_nothing_says_what_to_do(call: Call, tmp_path: Path) -> None:
    result = call("models", "list", "--models", tmp_path)
    assert result.exit_code == 0
    assert "ganymede export RUN --name NAME" in result.stderr


@pytest.mark.parametrize("by", ["name", "path"])
def test_show(call: Call, models: Path, animals: Bundle, by: str) -> None:
    where = [str(animals.path)] if by == "path" else ["animals", "--models", str(models)]
    shown = call("models", "show", *where).stdout
    for fact in ("cat, dog, fox", "CC-BY-4.0", "preset test", "values that differ", "preview.png"):
        assert fact in shown
    assert str(animals.path) in shown.splitlines()


def test_class_names_are_shown_as_they_are(call: Call, tmp_path: Path) -> None:
    tiny_bundle(tmp_path, classes=("[red]", "[/]", "a[0]"))
    assert "[red], [/], a[0]" in call("models", "show", "tiny", "--models", tmp_path).stdout


def test_show_of_an_unknown_model(call: Call, models: Path) -> None:
    with pytest.raises(UnknownBundle, match="did you mean 'animals'"):
        call("models", "show", "animal", "--models", models)


def test_verify(call: Call, models: Path) -> None:
    result = call("models", "verify", "animals", "--models", models)
    assert result.stdout.count("  ok: ") == 4


def test_verify_all_goes_on_after_a_failure(call: Call, tmp_path: Path) -> None:
    (tiny_bundle(tmp_path, name="a").path / "generate.onnx").write_bytes(b"")
    tiny_bundle(tmp_path, name="b")
    with pytest.raises(VerifyFailed, match="1 of 2 bundles failed"):
        call("models", "verify", "--all", "--models", tmp_path)


@pytest.mark.parametrize("arguments", [[], ["tiny", "--all"]])
def test_verify_wants_one_or_all(call: Call, arguments: list[str]) -> None:
    with pytest.raises(InvalidChoice, match="or --all"):
        call("models", "verify", *arguments)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_sample_of_a_bundle_and_of_its_run_are_the_same_pictures(
    call: Call, run_folder: Path, animals: Bundle, tmp_path: Path
) -> None:
    choices = ["--seeds", "0-10,40", "--label", "dog", "--label", "2", "--truncation", "0.7"]
    call("sample", animals.path, "--out", tmp_path / "bundle.png", *choices)
    call("sample", run_folder, "--out", tmp_path / "run.png", *choices)
    bundle, run = pixels(tmp_path / "bundle.png"), pixels(tmp_path / "run.png")
    assert bundle.shape == run.shape
    assert np.abs(bundle - run).max() <= 1
    assert np.mean(bundle != run) <= 1e-3


def test_sample_of_a_seed_is_its_cell_of_a_sheet(
    call: Call, animals: Bundle, tmp_path: Path
) -> None:
    for name, seeds in (("sheet", "5-8"), ("one", "7")):
        out = tmp_path / "new" / f"{name}.png"
        result = call("sample", animals.path, "--out", out, "--seeds", seeds, "--columns", 4)
        assert result.stdout == f"{out}\n"
    sheet, one = pixels(tmp_path / "new" / "sheet.png"), pixels(tmp_path / "new" / "one.png")
    cell = (sheet.shape[1] - one.shape[1]) // 3
    np.testing.assert_array_equal(sheet[:, 2 * cell : 2 * cell + one.shape[1]], one)


def test_sample_by_name_of_the_newest(call: Call, models: Path, tmp_path: Path) -> None:
    result = call(
        "sample", "animals", "--models", models, "--out", tmp_path / "a.png", "--seeds", "1"
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("choice", "value", "message"),
    [
        ("--seeds", "x", "0-63"),
        ("--label", "cow", "cat, dog, fox"),
        ("--truncation", "1.5", r"outside \[0, 1\]"),
        ("--version", "2", "no version 2"),
    ],
)
def test_sample_refuses_what_does_not_fit(
    call: Call, models: Path, tmp_path: Path, choice: str, value: str, message: str
) -> None:
    out = tmp_path / "a.png"
    with pytest.raises(ExportError, match=message):
        call("sample", "animals", "--models", models, "--out", out, choice, value)
    assert not out.exists()


def test_runtime_that_is_missing_is_named(
    call: Call, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackage, match=r"pip install onnxruntime"):
        call("sample", "animals", "--models", models, "--out", tmp_path / "a.png")


def test_bundles_are_looked_at_without_torch(models: Path, tmp_path: Path) -> None:
    program = f"""
import sys
missing = ("torch", "onnx", "onnxscript", "lightning_fabric", "yaml", "matplotlib", "safetensors")
sys.modules.update(dict.fromkeys(missing))  # None: importing any of them fails
import ganymede
for line in ("models list", "models show animals", "models verify --all",
             "sample animals --seeds 0-3 --out {tmp_path}/a.png"):
    sys.argv = ["ganymede", *line.split(), "--models", {str(models)!r}]
    try:
        ganymede.main()
    except SystemExit as end:
        assert end.code in (0, None), line
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").is_file()


def test_export_without_torch_says_what_to_install(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "export.publish", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    for module in ("export.build", "export.to_onnx"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(MissingPackage, match=r"needs onnx: pip install -e"):
        call("export", tmp_path, "--name", "x")


@pytest.mark.parametrize("out", ["folder", "file/below.png", "."])
def test_sample_into_a_place_that_cannot_be_written_is_told(
    call: Call, animals: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotWritable, match=f"cannot write {out}"):
        call("sample", animals.path, "--out", out, "--seeds", "1")
    assert {path.name for path in tmp_path.iterdir()} >= {"folder", "file"}
    assert not list(tmp_path.glob("*.partial"))
