"""A network out of somebody's file: what is run, what is taken, and what is said of the rest."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from export.errors import (
    ConversionFailed,
    GraphRefused,
    ModuleFailed,
    ParityError,
    SpecInvalid,
    SpecMismatch,
)
from export.own import export_module
from export.own_module import Source, declared, load_network, parse_source
from export.rows import varied_rows
from export.servable import torch_run
from export.spec import Spec, load_spec
from tests.export.own_generators import ENCODER, GENERATOR, TRANSLATOR, write_spec

FILE = Path(__file__).with_name("own_generators.py")


def source(folder: Path, code: str, function: str = "make") -> Source:
    """A file with this code."""
    path = folder / "theirs.py"
    path.write_text(f"import torch\nfrom torch import nn\n{code}\n", encoding="utf-8")
    return Source(path, function)


def spec(folder: Path, text: str, **changes: str) -> Spec:
    for there, instead in changes.items():
        assert there in text
        text = text.replace(there, instead)
    return load_spec(write_spec(folder, text))


# --- The file. ---


@pytest.mark.parametrize("text", ["a.py", "a.py:", ":make", "a.txt:make", "a.py:make()", "a:b"])
def test_source_is_a_file_and_a_function(text: str) -> None:
    with pytest.raises(ModuleFailed, match=r"write it as path/to/file\.py:make_generator"):
        parse_source(text)


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="there is no file"):
        parse_source(f"{tmp_path / 'a.py'}:make")


def test_network_comes_in_eval_mode_without_gradients() -> None:
    network = load_network(Source(FILE, "make_translator"))
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_file_is_nobody_elses_module(tmp_path: Path) -> None:
    """Its name is json; json stays what it was, and its folder is not searched."""
    path = tmp_path / "json.py"
    path.write_text("import json\nfrom torch import nn\nmake = nn.Identity\nloads = json.loads\n")
    before, searched = set(sys.modules), list(sys.path)
    assert load_network(Source(path, "make"))(3) == 3
    assert sys.modules["json"] is json
    assert set(sys.modules) - before <= {"_ganymede_own_module"}
    assert sys.path == searched


def test_network_may_be_of_a_dataclass(tmp_path: Path) -> None:
    """Dataclasses look their module up: it must be found while the file runs."""
    path = tmp_path / "theirs.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "@dataclass\nclass Settings:\n    width: int = 3\n"
        "def make(): return nn.Linear(Settings().width, 1)\n",
        encoding="utf-8",
    )
    assert isinstance(load_network(Source(path, "make")), torch.nn.Linear)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("", "defines no 'make'"),
        ("make = 3", "TypeError: 'int' object is not callable"),
        ("def make(): return 3", "gives int: it must return a torch.nn.Module"),
        ("def make():\n    x = 1\n    return x / 0", "theirs.py, line 5: ZeroDivisionError"),
        ("raise ValueError('no weights')", "line 3: ValueError: no weights"),
        ("raise SystemExit(0)", "line 3: SystemExit"),
        ("def make(width): return nn.Identity()", "width"),
        ("import a_package_that_is_not_there", "needs a_package_that_is_not_there: install it"),
        ("def make(:", "SyntaxError"),
    ],
)
def test_code_that_fails_is_told_with_its_line(tmp_path: Path, code: str, told: str) -> None:
    with pytest.raises(ModuleFailed, match=told):
        load_network(source(tmp_path, code))


# --- What it takes and gives. ---


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255), (-3, 1)])
def test_pictures_of_any_range_become_levels(tmp_path: Path, low: int, high: int) -> None:
    code = f"class Net(nn.Module):\n    def forward(self, x, s): return {low} + {high - low} * x"
    text = TRANSLATOR.replace(
        "name: picture, channels: 3, low: 0, high: 1", "name: picture, channels: 3"
    )
    text = text.replace("name: picture,", f"name: picture, low: {low}, high: {high},")
    servable = declared(load_network(source(tmp_path, code, "Net")), spec(tmp_path, text))
    rows = varied_rows(servable.inputs, range(4), 12, 16)  # pictures in [0, 1]
    given = torch_run(servable, servable.inputs, servable.names)(rows)["picture"]
    expected = np.rint(rows["image"] * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(
    ("text", "function", "changes", "told"),
    [
        (GENERATOR, "make_generator", {"[6]": "[5]"}, r"fails at 8x12 on the inputs .*z \[3, 5\]"),
        (
            GENERATOR,
            "make_generator",
            {"width: 12": "width: 8"},
            r"'image' is float32 \[3, 3, 8, 12\], declared as float32 \[3, 3, 8, 8\] at 8x8",
        ),
        (GENERATOR, "make_generator", {"channels: 3": "channels: 1"}, r"as float32 \[3, 1, 8, 12"),
        (ENCODER, "make_encoder", {"shape: [5]": "shape: [4]"}, r"'code' is float32 \[3, 5\]"),
        (ENCODER, "make_encoder", {"[encode, score]": "[encode]",
         "  - {kind: score, name: likelihood}\n": ""}, "returns 2 tensors, .* declares code"),
        (TRANSLATOR, "make_translator", {"stride: 4": "stride: 1", "min_side: 8": "min_side: 9"},
         "fails at 9x9|at 9x9: change"),
    ],
)  # fmt: skip
def test_network_that_is_not_as_declared_is_refused(
    tmp_path: Path, text: str, function: str, changes: dict[str, str], told: str
) -> None:
    network = load_network(Source(FILE, function))
    with pytest.raises(SpecMismatch, match=told):
        declared(network, spec(tmp_path, text, **changes))


@pytest.mark.parametrize("gives", ["{'image': z}", "None", "(z, 3)"])
def test_what_is_no_tensor_is_refused(tmp_path: Path, gives: str) -> None:
    code = f"class Net(nn.Module):\n    def forward(self, z, label): return {gives}"
    with pytest.raises(SpecMismatch, match="return one tensor per output, in that order"):
        declared(load_network(source(tmp_path, code, "Net")), spec(tmp_path, GENERATOR))


def test_other_precision_is_refused(tmp_path: Path) -> None:
    code = "class Net(nn.Module):\n    def forward(self, z, label): return z[:, :3, None, None]"
    small = {"height: 8": "height: 1", "width: 12": "width: 1"}
    network = load_network(source(tmp_path, code.replace("None]", "None].double()"), "Net"))
    with pytest.raises(SpecMismatch, match="'image' is float64"):
        declared(network, spec(tmp_path, GENERATOR, **small))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"channels: 3, low: 0, high: 1}\n": "channels: 3, values: uint8}\n"}, "say low and high"),
        ({"outputs:": "rename: {x: image}\noutputs:"}, "takes its inputs in order"),
    ],
)
def test_spec_of_a_graph_is_refused(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    text = TRANSLATOR.replace(
        "name: image, channels: 3, low: 0, high: 1", "name: image, channels: 3"
    )
    with pytest.raises(SpecInvalid, match=told):
        declared(load_network(Source(FILE, "make_translator")), spec(tmp_path, text, **changes))


# --- What may not be inside. ---

PICTURE = "torch.tanh({}).view(-1, 3, 8, 12)"


def net(folder: Path, expression: str) -> Source:
    """A generator of GENERATOR's pictures."""
    code = (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(6, 288)\n"
        f"    def forward(self, z, label): return {PICTURE.format(expression)}"
    )
    return source(folder, code, "Net")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("self.layer(z) + torch.randn(1)", "what it draws inside must become an input"),
        ("nn.functional.dropout(self.layer(z), training=True)", "differs from itself"),
        ("self.layer(z - z.mean(0))", "rows of the generator depend on their neighbours"),
        ("self.layer(z) / label[:, None] - 1/label[:, None]", "gives NaN or infinity"),
        ("self.layer(z[:2].repeat(len(z), 1)[:len(z)])", "neighbours"),
    ],
)
def test_network_that_cannot_be_served_is_refused(
    tmp_path: Path, expression: str, told: str
) -> None:
    with pytest.raises(ParityError, match=told):
        export_module(net(tmp_path, expression), spec(tmp_path, GENERATOR), tmp_path / "m", "x")
    assert not (tmp_path / "m").exists()


def test_draw_that_nobody_sees_is_refused_by_name(tmp_path: Path) -> None:
    theirs = net(tmp_path, "self.layer(z) + 0 * torch.randn_like(z[:, :1])")
    with pytest.raises(GraphRefused, match="is RandomNormalLike: a graph may not draw"):
        export_module(theirs, spec(tmp_path, GENERATOR), tmp_path / "m", "x")
    assert not (tmp_path / "m").exists()


def test_network_that_torch_cannot_convert_is_told(tmp_path: Path) -> None:
    """Eager torch takes it: how it goes on hangs on a value."""
    theirs = net(tmp_path, "self.layer(z if z.sum() > 1e9 else z * 1)")
    with pytest.raises(ConversionFailed, match="nor control flow on values"):
        export_module(theirs, spec(tmp_path, GENERATOR), tmp_path / "m", "x")
