"""How many processes serve."""

from __future__ import annotations

from typing import Any

import pytest

from service import commands
from service.commands import choose_workers
from service.config import InvalidSetting, ServiceConfig


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores, Linux, no GPU."""
    monkeypatch.setattr(commands, "usable_cores", lambda: 4)
    monkeypatch.setattr(commands, "cuda_is_likely", lambda: False)
    monkeypatch.setattr("service.commands.sys.platform", "linux")


def workers(**settings: Any) -> int:  # noqa: ANN401
    return choose_workers(ServiceConfig(**settings))


def test_one_worker_per_core_unless_told() -> None:
    assert workers() == 4
    assert workers(workers="auto", cores=2) == 2
    assert workers(cores=100) == 16
    assert workers(workers=1) == 1
    assert workers(workers=40) == 40


def test_one_worker_on_cuda_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers(provider="cuda") == 1
    assert workers(provider="cuda", workers=2) == 2
    monkeypatch.setattr(commands, "cuda_is_likely", lambda: True)
    assert workers() == 1
    assert workers(provider="cpu") == 4


def test_windows_has_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.commands.sys.platform", "win32")
    assert workers() == 1
    assert workers(workers=1) == 1
    with pytest.raises(InvalidSetting, match="--workers 1"):
        workers(workers=2)
