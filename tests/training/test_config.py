"""Configurations: what is wrong is named, with what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny import tiny_config
from training.config import dump_config, load_config, load_preset, preset_names
from training.errors import ConfigError
from training.recipes import SYSTEMS

YAML = """\
recipe: {system: gan}
data: {source: digits}
schedule: {kimg: 1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    return path


def refusal(file: Path, *settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_preset(str(file), settings)
    return str(caught.value)


def test_a_file_is_a_preset_named_after_it(file: Path) -> None:
    config = load_preset(str(file))
    assert (config.preset, config.recipe.system, config.data.source) == ("mine", "gan", "digits")
    assert config.schedule.images == 1000


def test_settings_go_over_the_preset(file: Path) -> None:
    config = load_preset(
        str(file),
        ["schedule.kimg=2.5", "recipe.g_optimizer.lr=1e-3", "data.source=x=y", "recipe.hidden=7"],
    )
    recipe: Any = config.recipe
    assert config.schedule.images == 2500
    assert recipe.g_optimizer.lr == 0.001
    assert config.data.source == "x=y"
    assert config.recipe.system == "gan"
    assert recipe.hidden == 7


def test_an_optimizer_is_adam_unless_it_says_otherwise(file: Path) -> None:
    config = load_preset(str(file), ["recipe.d_optimizer={kind: sgd, momentum: 0.9}"])
    recipe: Any = config.recipe
    assert recipe.g_optimizer.kind == "adam"
    assert recipe.d_optimizer.kind == "sgd"
    assert recipe.d_optimizer.momentum == 0.9


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("schedule.kimgs=1", "schedule.kimg"),
        ("schedule.batch_size=1", "schedule.batch"),
        ("recipe.hiden=1", "recipe.hidden"),
        ("dat.size=28", "data.size"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(
    setting: str, meant: str, file: Path
) -> None:
    told = refusal(file, setting)
    if meant == "data.size":  # dat is the section that is not there
        assert "dat is not a setting of gan; did you mean 'data'?" in told
    else:
        assert f"is not a setting of gan; did you mean {meant!r}?" in told


def test_a_setting_of_another_system_is_not_suggested(file: Path) -> None:
    told = refusal(file, "recipe.base_channels=8")
    assert "recipe.base_channels is not a setting of gan; there are: data, " in told
    assert "recipe.base_channels," not in told


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("recipe.hidden=-3", "recipe.hidden: input should be greater than 0, got -3"),
        ("recipe.g_optimizer.lr=fast", "recipe.g_optimizer.lr: input should be a valid number"),
        ("recipe.objective=wgan", "'nonsaturating'"),
        ("recipe.system=gam", f"recipe.system must be one of {', '.join(SYSTEMS)}, got 'gam'"),
        ("recipe.g_optimizer.kind=sgdd", "section with kind: adam or sgd, got 'sgdd'"),
        ("recipe.g_optimizer=1", "recipe.g_optimizer must be a section with kind: adam or sgd"),
        ("recipe.d_optimizer=null", "recipe.d_optimizer must be a section with kind: adam or sgd"),
        ("recipe.g_optimizer=[sgd]", "must be a section with kind: adam or sgd, got ['sgd']"),
        ("recipe.g_optimizer.kind=[1]", "must be a section with kind: adam or sgd, got [1]"),
        ("recipe.g_optimizer.betta1=0", "is not a setting of adam; did you mean 'beta1'?"),
        ("recipe.system=[gan]", "recipe.system must be one of gan, dcgan, cgan"),
        ("schedule.kimg=.inf", "schedule.kimg: input should be a finite number, got inf"),
        ("recipe.g_optimizer.lr=.nan", "recipe.g_optimizer.lr: input should be a finite number"),
        (
            "schedule.batch=1000000000",
            "schedule.batch: input should be less than or equal",
        ),
        ("recipe.hidden=1000000000", "recipe.hidden: input should be less than or equal to 65536"),
        ("data.size=5000", "data.size: input should be less than or equal to 2048"),
        ("data.channels=2", "data.channels: input should be 1 or 3, got 2"),
        ("schedule.batch=0", "schedule.batch: input should be greater than 0"),
        ("schedule.accumulate=3", "schedule: a batch of 64 has no 3 equal parts"),
        ("schedule.kimg=0", "schedule.kimg: input should be greater than 0"),
        ("schedule=5", "schedule must be a section, got 5"),
        ("recipe=5", "recipe must be a section, got 5"),
        ("schedule.kimg.x=1", "'kimg' is a value, not a section"),
        ("kimg", "write it as schedule.kimg=200"),
        ("=5", "write it as schedule.kimg=200"),
        ("data.size=[a", "the value is not YAML"),
    ],
)
def test_a_bad_value_is_one_clear_line(setting: str, told: str, file: Path) -> None:
    message = refusal(file, setting)
    assert told in message
    assert "\n" not in message


def test_a_setting_of_the_other_optimizer_is_not_suggested(file: Path) -> None:
    told = refusal(file, "recipe.d_optimizer.kind=sgd", "recipe.d_optimizer.beta1=0")
    assert "recipe.d_optimizer.beta1 is not a setting of sgd; there are: lr, " in told
    assert "momentum" in told


@pytest.mark.parametrize("source", ["2024", "007", "null", "2024-01-01", "[a"])
def test_a_source_is_text_whatever_it_looks_like(source: str, file: Path) -> None:
    assert load_preset(str(file), [f"data.source={source}"]).data.source == source


def test_a_written_configuration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.yaml cannot be read"):
        load_config(tmp_path / "config.yaml")


def test_every_fault_is_told_at_once(file: Path) -> None:
    message = refusal(file, "recipe.hidden=0", "schedule.kimg=0", "data.siz=1")
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2", "is not YAML"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("recipe: {system: gan}\n", "schedule: field required"),
        ("recipe: {}\ndata: {source: x}\nschedule: {kimg: 1}", "recipe.system must be one of gan"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(text: str, told: str, file: Path) -> None:
    file.write_text(text)
    assert told in refusal(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot be read as a preset" in refusal(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as a preset" in refusal(tmp_path / "binary.yaml")


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cgan-fashion-fast'"):
        load_preset("cgan-fashion-fsat")
    with pytest.raises(ConfigError, match=f"there are: {preset_names()[0]}, "):
        load_preset("?")


def test_yaml_runs_no_code(file: Path) -> None:
    file.write_text("!!python/object/apply:os.getcwd []")
    assert "is not YAML" in refusal(file)


@pytest.mark.parametrize("name", preset_names())
def test_a_written_configuration_reads_back_the_same(name: str, tmp_path: Path) -> None:
    config = load_preset(name)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_a_configuration_is_frozen() -> None:
    config = tiny_config("x")
    with pytest.raises(ValueError, match="frozen"):
        config.schedule.batch = 3  # type: ignore[misc]


def test_every_system_can_be_configured(file: Path) -> None:
    for system in SYSTEMS:
        assert load_preset(str(file), [f"recipe.system={system}"]).recipe.system == system


def test_a_run_has_at_least_one_image() -> None:
    assert tiny_config("x", kimg=1e-9).schedule.images == 1
