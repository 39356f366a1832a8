"""TorchScript: the same pictures, no local paths, and one warning silenced in one place."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.errors import ConversionFailed
from export.servable import Offer, offer
from export.to_onnx import example
from export.to_torchscript import load_torchscript, to_torchscript
from tests.export.networks import conditional_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def offered() -> Offer:
    return offer(conditional_run())


@pytest.fixture(scope="module")
def file(offered: Offer) -> bytes:
    servable = offered.graphs["generator"]
    return to_torchscript(servable, example(servable, offered.size))


def test_batch_is_free(offered: Offer, file: bytes) -> None:
    module, servable = load_torchscript(file), offered.graphs["generator"]
    for count in (1, 2, 9):
        rows = torch.randn(count, 6), torch.arange(count) % 3, torch.ones(count)
        assert torch.equal(module(*rows)[0], servable(*rows)[0])


def test_plain_torch_loads_it(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "generator.pt"
    path.write_bytes(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(path)  # type: ignore[no-untyped-call]
    assert module(torch.zeros(1, 6), torch.zeros(1, dtype=torch.int64), torch.ones(1))


def test_nothing_of_this_machine_is_in_the_file(file: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        names = archive.namelist()
        content = b"".join(archive.read(name) for name in names)
    assert not [name for name in names if name.endswith(".debug_pkl")]
    for path in (ROOT, Path(torch.__file__).parent):
        assert str(path).encode() not in content


def test_deprecation_is_silenced_here_and_nowhere_else(offered: Offer) -> None:
    servable = offered.graphs["generator"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = to_torchscript(servable, example(servable, offered.size))
        load_torchscript(file)
    assert [str(warning.message) for warning in caught] == []
    users = [
        path.relative_to(ROOT).as_posix()
        for package in ("export", "training", "service")
        for path in (ROOT / package).rglob("*.py")
        if "torch.jit" in path.read_text()
    ]
    assert users == ["export/to_torchscript.py"]


class Warning_(nn.Module):
    """A network that gives a deprecation warning of its own while it is traced."""

    def forward(self, z: Tensor) -> Tensor:
        warnings.warn("old habit", DeprecationWarning, stacklevel=2)
        return z


def test_other_warnings_are_heard() -> None:
    with pytest.warns(DeprecationWarning, match="old habit"):
        to_torchscript(Warning_(), (torch.zeros(2, 2),))


class Broken(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.reshape(-1, 7)


def test_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(ConversionFailed, match="--no-torchscript"):
        to_torchscript(Broken(), (torch.zeros(2, 2),))
