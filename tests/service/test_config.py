"""Settings from the environment and from arguments; faults are told by the user's own names."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from service.config import (
    InvalidSetting,
    ServiceConfig,
    load_config,
    starter_folder,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("GANYMEDE_")]:
        monkeypatch.delenv(name)


def test_defaults_are_those_promised() -> None:
    config = load_config()
    assert (config.host, config.port, config.provider) == ("127.0.0.1", 8000, "auto")
    assert config.models == (starter_folder(),)
    assert (config.max_images, config.queue_images) == (64, 512)
    assert (config.max_body_bytes, config.queue_bytes) == (20 * 2**20, 256 * 2**20)
    assert config.timeout_s == 30
    assert (config.max_wait_s, config.watch_s) == (0, 2)


def test_every_setting_is_documented() -> None:
    fields = ServiceConfig.model_fields
    assert [name for name, field in fields.items() if not field.description] == []


def test_the_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "PORT": "9000",
        "MODELS": os.pathsep.join(("a", "b/c")),
        "CORS_ORIGINS": "https://one.example, https://two.example",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "THREADS": "auto",
        "MAX_BATCH_ROWS": "8",
        "ROOT_PATH": "ganymede/",
        "PROVIDER": "cpu",
        "TIMEOUT_S": "2.5",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"GANYMEDE_{name}", value)
    config = load_config()
    assert config.port == 9000
    assert config.models == (Path("a"), Path("b/c"))
    assert config.cors_origins == ("https://one.example", "https://two.example")
    assert config.trusted_proxies == ("10.0.0.0/8",)
    assert config.threads is None
    assert config.max_batch_rows == 8
    assert config.root_path == "/ganymede"
    assert config.timeout_s == 2.5


@pytest.mark.skipif(os.pathsep != ":", reason="elsewhere a colon separates nothing")
def test_urls_stand_among_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANYMEDE_MODELS", "a:memory://bucket/m/:/b:file:///c")
    monkeypatch.setenv("GANYMEDE_REMOTE_CACHE", "copies")
    config = load_config()
    assert config.models == (Path("a"), "memory://bucket/m", Path("/b"), "file:///c")
    assert config.state_path == Path("a/.ganymede.json")
    [folder] = load_config(models=("memory://bucket/m",)).state_path.parents[:1]
    assert (folder.parent, folder.name[:16]) == (Path("copies"), "memory-bucket-m-")


def test_a_url_with_credentials_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="leave credentials out"):
        load_config(models=("memory://me:secret@bucket/m",))


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANYMEDE_PORT", "")
    monkeypatch.setenv("GANYMEDE_MODELS", "")
    assert load_config() == ServiceConfig()


def test_arguments_win_and_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANYMEDE_PORT", "9000")
    monkeypatch.setenv("GANYMEDE_HOST", "0.0.0.0")
    config = load_config(port=1234, host=None)
    assert (config.port, config.host) == (1234, "0.0.0.0")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "eighty", "integer"),
        ("PORT", "99999", "65535"),
        ("TIMEOUT_S", "0", "greater than 0"),
        ("PROVIDER", "gpu", "'cuda'"),
        ("THREADS", "0", "greater than or equal to 1"),
        ("LOG_LEVEL", "chatty", "'warning'"),
    ],
)
def test_a_bad_value_is_told_by_its_variable(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GANYMEDE_{name}", value)
    with pytest.raises(InvalidSetting) as refusal:
        load_config()
    message = str(refusal.value)
    assert message.startswith(f"GANYMEDE_{name}={value!r}: ")
    assert says in message
    assert "\n" not in message


def test_a_bad_argument_is_told_by_its_own_name() -> None:
    with pytest.raises(InvalidSetting, match=r"^port=-1: "):
        load_config(port=-1)
    with pytest.raises(InvalidSetting, match=r"^prot is not a setting; did you mean port\?$"):
        load_config(prot=1)


def test_every_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANYMEDE_PORT", "x")
    monkeypatch.setenv("GANYMEDE_DRAIN_S", "-1")
    with pytest.raises(InvalidSetting) as refusal:
        load_config()
    assert {line.split("=")[0] for line in str(refusal.value).splitlines()} == {
        "GANYMEDE_PORT",
        "GANYMEDE_DRAIN_S",
    }


def test_the_largest_request_must_fit_the_queue() -> None:
    with pytest.raises(InvalidSetting, match=r"^queue_images \(8\) must be at least max_images"):
        load_config(queue_images=8)


def test_a_misspelt_variable_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GANYMEDE_MAX_IMAGE", "8")
    with caplog.at_level(logging.WARNING):
        load_config()
    assert caplog.messages == [
        "GANYMEDE_MAX_IMAGE is not a setting of the service and is ignored; "
        "did you mean GANYMEDE_MAX_IMAGES?"
    ]


def test_only_unknown_variables_with_the_prefix_are_warned_about() -> None:
    environment = {"GANYMEDE_PORT": "1", "ganymede_host": "x", "PATH": "/bin", "GANYMEDE_ZZZ": "1"}
    [warning] = unknown_variables(environment)
    assert warning == "GANYMEDE_ZZZ is not a setting of the service and is ignored"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ServiceConfig().port = 1  # type: ignore[misc]
