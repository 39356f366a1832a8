"""A network that somebody brings: their file is run, and what it makes is held to its spec.

Running it is running a program of theirs, with the rights of whoever exports; who calls this says
so first. Nothing is unpickled here: the file builds its network and loads its weights itself.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.declared import before_quantisation, fault
from export.errors import ModuleFailed, SpecInvalid, SpecMismatch
from export.manifest import Output
from export.rows import row_shape, varied_rows
from export.servable import Servable
from export.spec import Picture, Spec

_PRIVATE = "_ganymede_own_module"  # no import of theirs, or of ours, finds it by another's name
_ROWS = 3


@dataclass(frozen=True)
class Source:
    """A function in a file: ``path/to/file.py:make_generator``."""

    path: Path
    function: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.function}"


def parse_source(text: str) -> Source:
    """Take apart what ``--module`` was given.

    Raises:
        ModuleFailed: it is not a Python file and a name.
    """
    file, colon, function = text.rpartition(":")
    if not colon or not function.isidentifier() or not file.endswith(".py"):
        raise ModuleFailed(f"--module {text!r}: write it as path/to/file.py:make_generator")
    if not Path(file).is_file():
        raise ModuleFailed(f"--module {text!r}: there is no file {file}")
    return Source(Path(file).resolve(), function)


def load_network(source: Source) -> nn.Module:
    """Run the file and its function: a network on the CPU, in eval mode.

    Raises:
        ModuleFailed: their code fails, or makes something else.
    """
    make = getattr(_run_file(source.path), source.function, None)
    if make is None:
        raise ModuleFailed(f"{source.path} defines no {source.function!r}: correct --module")
    network = make if isinstance(make, nn.Module) else _call(make, source.path)
    if not isinstance(network, nn.Module):
        raise ModuleFailed(
            f"{source} gives {type(network).__name__}: it must return a torch.nn.Module"
        )
    return network.to("cpu").eval().requires_grad_(False)


def _run_file(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(_PRIVATE, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_PRIVATE] = module  # dataclasses and torch look themselves up there
    loader = spec.loader
    _call(lambda: loader.exec_module(module), path)
    return module


def _call(theirs: Callable[[], Any], path: Path) -> Any:  # noqa: ANN401 - whatever they make
    try:
        return theirs()
    except ModuleNotFoundError as error:
        raise ModuleFailed(
            f"{path} needs {error.name}: install it, or name its folder in PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise ModuleFailed(f"{where}: {type(error).__name__}: {error}") from error


class Declared(nn.Module):
    """A network whose pictures are in [-1, 1], whatever range it gives them in."""

    def __init__(self, network: nn.Module, outputs: Sequence[Output | Picture]) -> None:
        super().__init__()
        self.network = network
        self.outputs = tuple(outputs)

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """A tensor per output, in order."""
        given = self.network(*rows)
        floats = tuple(given) if isinstance(given, tuple | list) else (given,)
        wrong = [type(one).__name__ for one in floats if not isinstance(one, Tensor)]
        if wrong or len(floats) != len(self.outputs):
            raise SpecMismatch(
                f"the network returns {', '.join(wrong) or f'{len(floats)} tensors'}, and the "
                f"spec declares {', '.join(one.name for one in self.outputs)}: return one tensor "
                "per output, in that order, in a tuple"
            )
        return tuple(map(_to_unit_range, self.outputs, floats))


def _to_unit_range(output: Output | Picture, value: Tensor) -> Tensor:
    if not isinstance(output, Picture) or (output.low, output.high) == (-1.0, 1.0):
        return value
    return (value - output.low) / ((output.high - output.low) / 2) - 1


def declared(network: nn.Module, spec: Spec) -> Servable:
    """The network as a graph of a bundle, after a first try of it.

    Raises:
        SpecInvalid: the spec is for an ONNX file.
        SpecMismatch: the network does not take or give what the spec declares.
    """
    for output in spec.outputs:
        if isinstance(output, Picture) and output.values == "uint8":
            raise SpecInvalid(
                f"output {output.name!r}: a module gives its pictures as float32 [N, C, H, W]: "
                "say low and high in the place of values: uint8"
            )
    if spec.rename:
        raise SpecInvalid("rename is for an ONNX file: a module takes its inputs in order")
    servable = Servable(
        Declared(network, spec.outputs), spec.declared_inputs, spec.declared_outputs
    )
    for size in spec.size.examples():
        _try(servable, size)
    return servable


def _try(servable: Servable, size: tuple[int, int]) -> None:
    rows = varied_rows(servable.inputs, range(_ROWS), *size)
    at = f"at {size[0]}x{size[1]}"
    try:
        with torch.inference_mode():
            floats = servable.floats(*(torch.from_numpy(rows[e.name]) for e in servable.inputs))
    except SpecMismatch:
        raise
    except Exception as error:  # whatever a network raises
        given = ", ".join(
            f"{entry.name} {[_ROWS, *row_shape(entry, *size)]}" for entry in servable.inputs
        )
        raise SpecMismatch(
            f"the network fails {at} on the inputs that the spec declares ({given}): {error}"
        ) from error
    expected = {output.name: before_quantisation(output, *size) for output in servable.outputs}
    arrays = {name: one.numpy() for name, one in zip(servable.names, floats, strict=True)}
    if what := fault(expected, arrays, _ROWS):
        raise SpecMismatch(f"{what} {at}: change the spec, or what the network returns")
