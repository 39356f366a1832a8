"""When a run stops early: signals, and a budget of time."""

from __future__ import annotations

import signal

import pytest

from training.errors import ConfigError
from training.stopping import Stop, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 M ", 120)],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "ten", "5d", "1h30m", "nan", "1e3"])
def test_a_duration_that_is_none_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"90s, 10m or 1\.5h"):
        parse_duration(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_is_named(number: signal.Signals) -> None:
    with Stop() as stop:
        assert not stop()
        assert stop.reason == ""
        signal.raise_signal(number)
        assert stop()
        assert number.name in stop.reason
        assert stop.status == 128 + number


def test_a_second_ctrl_c_does_not_wait() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop()


def test_the_first_signal_says_what_happens_now(capfd: pytest.CaptureFixture[str]) -> None:
    with Stop():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == "\nstopping after this step; Ctrl-C again to abort\n"


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with Stop():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_budget_ends_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("training.stopping.time.monotonic", lambda: now)
    stop = Stop(budget_s=60)
    now = 159.9
    assert not stop()
    assert stop.reason == ""
    now = 160.0
    assert stop()
    assert "budget" in stop.reason
    assert stop.status == 0
    now = 0.0
    assert stop()  # it stays so
