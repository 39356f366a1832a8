"""A generator of one's own, all the way: as a module or a graph to a bundle that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner, Result

from export import commands
from export.bundle import Bundle, load_bundle
from export.errors import BundleExists, InvalidChoice, ModuleFailed, SpecInvalid, SpecMismatch
from export.own import export_graph, export_module
from export.own_module import Source
from export.rows import tried_sizes, varied_rows
from export.runtime import onnx_run
from export.spec import Spec, load_spec
from export.verify import verify
from service.signature import check_signature
from tests.export.own_generators import (
    ENCODER,
    GENERATOR,
    TRANSLATOR,
    make_encoder,
    make_generator,
    make_translator,
    write_onnx,
    write_spec,
)

FILE = Path(__file__).with_name("own_generators.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


def spec_of(folder: Path, text: str) -> Spec:
    return load_spec(write_spec(folder, text))


@pytest.fixture(scope="module")
def bundles(folder: Path) -> dict[str, Bundle]:
    """Each network, as its module and as the graph that its owner exported."""
    examples: dict[str, tuple[str, dict[str, Tensor], list[str]]] = {
        "translator": (
            TRANSLATOR,
            {"image": torch.rand(2, 3, 16, 16), "strength": torch.rand(2)},
            ["picture"],
        ),
        "encoder": (ENCODER, {"image": torch.rand(2, 1, 8, 8)}, ["code", "likelihood"]),
        "generator": (
            GENERATOR,
            {"z": torch.randn(2, 6), "label": torch.tensor([0, 1])},
            ["image"],
        ),
    }
    made = {}
    for name, (text, example, outputs) in examples.items():
        spec, network = spec_of(folder, text), NETWORKS[name]()
        fixed = (1,) if name == "translator" else (1, 2, 3)
        path = write_onnx(folder, network, example, outputs, fixed=fixed)
        source = Source(FILE, f"make_{name}")
        made[f"{name}.module"] = export_module(
            source, spec, folder / "models", f"{name}-module", torchscript=name == "translator"
        )
        made[f"{name}.onnx"] = export_graph(path, spec, folder / "models", f"{name}-onnx")
    return made


NETWORKS = {
    "translator": make_translator,
    "encoder": make_encoder,
    "generator": make_generator,
}
EVERY = [f"{name}.{kind}" for name in NETWORKS for kind in ("module", "onnx")]


@pytest.mark.parametrize("name", EVERY)
def test_bundle_is_verified(bundles: dict[str, Bundle], name: str) -> None:
    assert load_bundle(bundles[name].path) == bundles[name]
    lines = list(verify(bundles[name].path))
    assert any("loads and gives what it declares" in line for line in lines)
    assert lines[-1].startswith("the preview's seeds") == name.startswith("generator")


@pytest.mark.parametrize("name", EVERY)
def test_service_accepts_its_signature(bundles: dict[str, Bundle], name: str) -> None:
    manifest = bundles[name].manifest
    for graph in manifest.graphs.values():
        session = onnxruntime.InferenceSession(bundles[name].file(graph.onnx))
        check_signature(graph, manifest.size, session.get_inputs(), session.get_outputs())


@pytest.mark.parametrize("name", EVERY)
def test_bundle_gives_what_the_network_gives(bundles: dict[str, Bundle], name: str) -> None:
    bundle, network = bundles[name], NETWORKS[name.partition(".")[0]]().eval()
    (graph,) = bundle.manifest.graphs.values()
    for size in tried_sizes(bundle.manifest.size):
        rows = varied_rows(graph.inputs, range(5), *size)
        with torch.inference_mode():
            floats = network(*(torch.from_numpy(rows[entry.name]) for entry in graph.inputs))
        given = onnx_run(bundle.file(graph.onnx))(rows)
        expected = floats if isinstance(floats, tuple) else (floats,)
        for output, value in zip(graph.outputs, expected, strict=True):
            if output.kind != "image":
                np.testing.assert_allclose(given[output.name], value, atol=1e-5)
                continue
            unit = value if name.startswith("translator") else (value + 1) / 2
            levels = (unit * 255).clamp(0, 255).round().permute(0, 2, 3, 1).numpy()
            assert len(np.unique(levels)) > 50
            assert np.abs(given[output.name].astype(int) - levels).max() <= 1
            assert np.mean(given[output.name] != levels) < 1e-2


def test_module_has_torchscript_and_parity(bundles: dict[str, Bundle]) -> None:
    manifest = bundles["translator.module"].manifest
    assert set(manifest.files) == {"translate.onnx", "translate.pt"}
    assert manifest.parity is not None
    assert manifest.parity.onnx_max_abs is not None
    assert manifest.parity.torchscript_max_abs is not None


def test_graph_is_not_said_to_have_been_compared(bundles: dict[str, Bundle]) -> None:
    manifest = bundles["translator.onnx"].manifest
    assert set(manifest.files) == {"translate.onnx"}
    assert manifest.parity is not None
    assert manifest.parity.onnx_max_abs is manifest.parity.torchscript_max_abs is None
    assert manifest.parity.row_max_abs < 1e-4


def test_one_graph_answers_several_tasks(bundles: dict[str, Bundle]) -> None:
    manifest = bundles["encoder.onnx"].manifest
    assert manifest.tasks == {"encode": "encode", "score": "encode"}
    assert manifest.preview is None


@pytest.mark.parametrize("kind", ["module", "onnx"])
def test_bundle_says_where_it_comes_from(bundles: dict[str, Bundle], kind: str) -> None:
    manifest = bundles[f"translator.{kind}"].manifest
    made = manifest.provenance
    assert manifest.licence.attribution == "Photographs by A. Nonymous"
    assert manifest.description == "Photographs to something else."
    assert made is not None
    assert (made.system, made.dataset, made.images_seen) == (kind, "our photographs", None)
    assert len(made.config["sha256"]) == 64
    named = {"module": "own_generators.py:make_translator", "onnx": "network.onnx"}
    assert made.config["source"] == named[kind]


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_this_machine_is_in_any_file(bundles: dict[str, Bundle], name: str) -> None:
    for path in bundles[name].path.iterdir():
        assert str(FILE.parent).encode() not in path.read_bytes(), path.name


def test_graph_that_is_fixed_is_refused_for_free_sizes(folder: Path, tmp_path: Path) -> None:
    """Its first axes may be named and its insides fixed: the run finds out."""
    example = {"image": torch.rand(2, 3, 16, 16), "strength": torch.rand(2)}
    spec = spec_of(tmp_path, TRANSLATOR)
    path = write_onnx(tmp_path, make_translator(), example, ["picture"], fixed=(1, 2, 3))
    with pytest.raises(SpecMismatch, match=r"\[axis0, 3, 16, 16\], .*\[batch, 3, 8, 8\] at 8x8"):
        export_graph(path, spec, tmp_path / "models", "x")
    path = write_onnx(tmp_path, make_translator(), example, ["picture"], fixed=(0, 1, 2, 3))
    with pytest.raises(SpecMismatch, match="a batch fixed at 2"):
        export_graph(path, spec, tmp_path / "models", "x")


def test_version_that_exists_is_refused_before_their_code_runs(
    bundles: dict[str, Bundle], folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.py"
    path.write_text("raise ValueError('I ran')")
    with pytest.raises(BundleExists):
        export_module(
            Source(path, "make"), spec_of(tmp_path, ENCODER), folder / "models", "encoder-onnx", 1
        )


# --- At the terminal. ---


def call(*arguments: object) -> Result:
    app = typer.Typer()
    app.command("export")(commands.export)
    app.command("list")(commands.list_models)
    app.command("show")(commands.show_model)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_module_is_announced_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "theirs.py"
    path.write_text(FILE.read_text(encoding="utf-8") + "\nprint('I ran')\n", encoding="utf-8")
    options = ("--name", "cats", "--models", tmp_path, "--no-torchscript")
    spec = write_spec(tmp_path, GENERATOR)
    result = call("export", "--module", f"{path}:make_generator", "--spec", spec, *options)
    assert result.stdout == f"{tmp_path / 'cats' / '1'}\n"
    announced = result.stderr.index(f"Running the code of {path}: it can do all that you can")
    assert announced < result.stderr.index("I ran")


def test_graph_is_exported_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    example = {"z": torch.randn(2, 6), "label": torch.tensor([0, 1])}
    path = write_onnx(tmp_path, make_generator(), example, ["image"], fixed=(1,))
    spec = write_spec(tmp_path, GENERATOR)
    result = call("export", "--onnx", path, "--spec", spec, "--name", "cats", "--models", tmp_path)
    assert result.stdout == f"{tmp_path / 'cats' / '1'}\n"
    assert "before quantisation" not in result.stderr
    assert "a row alone, or beside others" in result.stderr
    shown = call("show", tmp_path / "cats" / "1").stdout
    assert "onnx, trained elsewhere" in shown
    assert "cats" in call("list", "--models", tmp_path).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("run", "--onnx", "a.onnx"),
        ("--onnx", "a.onnx", "--module", "a.py:make", "--spec", "s.yaml"),
        ("--onnx", "a.onnx"),
        ("--module", "a.py:make"),
        ("run", "--spec", "s.yaml"),
    ],
)
def test_one_source_and_its_spec(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidChoice, match=r"one of|need --spec"):
        call("export", *arguments, "--name", "x")


def test_spec_is_read_before_the_code_runs(tmp_path: Path) -> None:
    path = tmp_path / "theirs.py"
    path.write_text("raise ValueError('I ran')")
    spec = write_spec(tmp_path, "tasks: []")
    with pytest.raises(SpecInvalid):
        call("export", "--module", f"{path}:make", "--spec", spec, "--name", "x")
    with pytest.raises(ModuleFailed, match="I ran"):
        call(
            *("export", "--module", f"{path}:make", "--name", "x", "--models", tmp_path),
            *("--spec", write_spec(tmp_path, GENERATOR)),
        )
