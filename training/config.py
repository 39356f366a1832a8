"""Presets and configurations: YAML in, one validated and frozen model out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from training.errors import ConfigError
from training.recipe import MOST, Adam, Settings, Sgd
from training.recipes import RecipeConfig

Precision = Literal["auto", "float32", "bfloat16"]
TEXTS = (
    "preset",
    "data.source",
    "data.pairing",
)  # a --set of these is taken as it is: 2024 is a folder
OPTIMIZERS: dict[str, type[BaseModel]] = {"adam": Adam, "sgd": Sgd}


class DataConfig(Settings):
    """Which images, and how they reach the networks."""

    source: str = Field(description="a named data set, a folder, a zip or an .npz")
    size: int = Field(28, gt=0, le=2048, description="side of the square pictures, in pixels")
    channels: Literal[1, 3] | None = Field(None, description="none: as the data has them")
    pairing: str | None = Field(
        None, description="left, right, a folder of the same names, unpaired:FOLDER, edges, ..."
    )
    jitter: int = Field(0, ge=0, le=2048, description="enlarged by so many pixels, then cropped")
    flip: bool = Field(False, description="every other image mirrored left to right")


class ScheduleConfig(Settings):
    """How long, how much at a time, and what is written when. The clock is images seen."""

    kimg: float = Field(gt=0, description="length of a stage, in thousands of images")
    batch: int = Field(64, gt=0, le=MOST, description="images per step")
    accumulate: int = Field(1, gt=0, description="parts a batch is computed in")
    seed: int = Field(0, ge=0, lt=2**32)
    ema_kimg: float = Field(
        10.0, ge=0, description="half-life of the averaged generator; 0: the latest weights"
    )
    precision: Precision = Field("auto", description="auto: measured at the start, then written")
    tick_kimg: float = Field(2.0, gt=0, description="between two lines of stats.jsonl")
    checkpoint_kimg: float = Field(20.0, gt=0, description="between two checkpoints and grids")

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} has no {self.accumulate} equal parts")
        return self

    @property
    def images(self) -> int:
        """Length of a stage, in images."""
        return max(1, round(self.kimg * 1000))


class RunConfig(Settings):
    """Everything that decides a run."""

    preset: str = "custom"
    recipe: RecipeConfig
    data: DataConfig
    schedule: ScheduleConfig


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("training") / "presets"
    return sorted(p.name[: -len(".yaml")] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_preset(name: str, settings: Sequence[str] = ()) -> RunConfig:
    """A preset by name, or a YAML file by path, with ``a.b=c`` settings over it.

    Raises:
        ConfigError: no such preset, not YAML, an unknown key or a bad value; with the nearest
            name where one is close.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name} cannot be read as a preset: {error}") from None
    else:
        if name not in preset_names():
            raise ConfigError(f"there is no preset {name!r}{_nearest(name, preset_names())}")
        text = (resources.files("training") / "presets" / f"{name}.yaml").read_text()
    raw = _mapping(text, name)
    raw.setdefault("preset", path.stem if path.suffix else name)
    for setting in settings:
        _apply(raw, setting)
    return validate(raw, name)


def load_config(path: Path) -> RunConfig:
    """The resolved configuration that a run wrote.

    Raises:
        ConfigError: it cannot be read, or does not fit this release.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return validate(_mapping(text, str(path)), str(path))


def dump_config(config: RunConfig) -> str:
    """YAML that :func:`load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def validate(raw: dict[str, Any], origin: str) -> RunConfig:
    """Check a configuration; ``origin`` names it in errors.

    Raises:
        ConfigError: lists every fault, one a line.
    """
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(fault, _system(raw)) for fault in error.errors(include_url=False)]
        raise ConfigError(f"{origin}: " + "\n  ".join(lines)) from None


def _mapping(text: str, origin: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not YAML: {_line(error)}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{origin} must be a mapping with recipe, data and schedule")
    return raw


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _apply(raw: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {setting!r}: write it as schedule.kimg=200")
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {setting!r}: {parent!r} is a value, not a section")
    try:
        node[last] = value if key in TEXTS else yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting!r}: the value is not YAML: {_line(error)}") from None


def _explain(fault: Any, system: str | None) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    tags = {*_systems(), *OPTIMIZERS}  # pydantic puts them into the location
    location = ".".join(str(part) for part in fault["loc"] if part not in tags)
    given = fault["input"]
    shown = "" if isinstance(given, dict) else f", got {given!r}"
    if fault["type"] == "extra_forbidden":
        for kind in OPTIMIZERS.keys() & set(fault["loc"]):
            known = list(OPTIMIZERS[kind].model_fields)
            return f"{location} is not a setting of {kind}{_nearest(fault['loc'][-1], known)}"
        known = sorted(set(_keys(system)))
        of = f" of {system}" if system in _systems() else ""
        return f"{location} is not a setting{of}{_nearest(location, known, 0.75)}"
    if fault["type"] in {"union_tag_invalid", "union_tag_not_found"} and location == "recipe":
        told = f"recipe.system must be one of {', '.join(_systems())}"
        return f"{told}, got {given['system']!r}" if "system" in given else told
    if fault["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        told = f"{location} must be a section with kind: {' or '.join(OPTIMIZERS)}"
        return f"{told}, got {given['kind']!r}" if isinstance(given, dict) else f"{told}{shown}"
    if fault["type"] in {"model_type", "model_attributes_type"}:
        return f"{location} must be a section{shown}"
    if fault["type"] == "value_error":
        return f"{location}: {fault['ctx']['error']}"
    return f"{location}: {fault['msg'].lower()}{shown}"


def _nearest(name: str, known: Sequence[str], likeness: float = 0.5) -> str:
    close = difflib.get_close_matches(name, known, 1, likeness)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


def _system(raw: dict[str, Any]) -> str | None:
    recipe = raw.get("recipe")
    return recipe.get("system") if isinstance(recipe, dict) else None


def _systems() -> list[str]:
    return [_system_of(recipe) for recipe in _models(RecipeConfig)]


def _system_of(recipe: type[BaseModel]) -> str:
    return str(get_args(recipe.model_fields["system"].annotation)[0])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any type
    """The sections that a field of this type can hold."""
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in get_args(annotation):
        yield from _models(part)


def _keys(
    system: str | None, model: type[BaseModel] = RunConfig, prefix: str = ""
) -> Iterator[str]:
    """The dotted name of every setting that a run of this system has."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for section in _models(field.annotation):
            if "system" not in section.model_fields or _system_of(section) == system:
                yield from _keys(system, section, f"{prefix}{name}.")
