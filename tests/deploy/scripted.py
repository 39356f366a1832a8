"""A bundle of ``tests.tiny_images`` with TorchScript too, and what TorchServe tells a handler."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.bundle import Bundle, fingerprint, write_manifest
from export.manifest import FreeSize
from export.publish import export_bundle
from export.to_torchscript import to_torchscript
from tests.export.networks import conditional_run
from tests.tiny_images import picture_bundle

SIZE = FreeSize(min_side=4, max_side=64, max_pixels=4096, stride=2, warm=((8, 8),))


class Generate(nn.Module):
    """``tanh(truncation * z)``."""

    def forward(self, z: Tensor, truncation: Tensor) -> tuple[Tensor]:
        return (_to_bytes(torch.tanh(z * truncation[:, None, None, None])),)


class Translate(nn.Module):
    """``(1 - 2 * strength) * source + grain``."""

    def forward(self, source: Tensor, strength: Tensor, grain: Tensor) -> tuple[Tensor]:
        return (_to_bytes(source * (1 - 2 * strength[:, None, None, None]) + grain),)


def _to_bytes(unit: Tensor) -> Tensor:
    levels = torch.round(unit * 127.5 + 127.5).clip(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1)


def scripted_bundle(folder: Path, *, name: str = "invert") -> Bundle:
    """Write ``<folder>/<name>/1``: it generates and translates, at many sizes."""
    bundle = picture_bundle(
        folder, name=name, size=SIZE, tasks=("generate", "translate"), grain=True
    )
    picture, knob = torch.zeros(2, 3, 8, 8), torch.ones(2)
    scripts = {
        "generate": to_torchscript(Generate(), (picture, knob)),
        "translate": to_torchscript(Translate(), (picture, knob, picture)),
    }
    manifest, files, graphs = bundle.manifest, dict(bundle.manifest.files), {}
    for task, content in scripts.items():
        path = bundle.path / f"{task}.pt"
        path.write_bytes(content)
        files[path.name] = fingerprint(path)
        graphs[task] = manifest.graphs[task].model_copy(update={"torchscript": path.name})
    return write_manifest(
        bundle.path, manifest.model_copy(update={"files": files, "graphs": graphs})
    )


def asked_bundles(folder: Path) -> Path:
    """Fill a folder with what ``asked`` asks: ``animals``, trained here, and ``invert``."""
    export_bundle(conditional_run(), folder, "animals")
    scripted_bundle(folder, name="invert")
    return folder


@dataclass
class Counter:
    """A metric as TorchServe's workers have it, with what was counted by its labels."""

    counted: dict[tuple[str, ...], float] = field(default_factory=dict)

    def add_or_update(self, value: float, dimension_values: list[str]) -> None:
        labels = tuple(dimension_values)
        self.counted[labels] = self.counted.get(labels, 0) + value


@dataclass
class FakeContext:
    """What TorchServe tells a handler, and what a handler tells it.

    Args:
        folder: into which the archive was unpacked.
        told: of model-config.yaml.
        metrics: those that metrics.yaml has.
    """

    folder: Path
    told: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    statuses: dict[int, tuple[int, str]] = field(default_factory=dict)
    headers: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def system_properties(self) -> dict[str, Any]:
        return {"model_dir": str(self.folder), "gpu_id": None}

    @property
    def model_yaml_config(self) -> dict[str, Any]:
        return {"handler": self.told}

    @property
    def metrics(self) -> FakeContext:
        return self

    def get_metric(self, name: str) -> Counter:
        return self.counters[name]

    def add_metric_to_cache(self, name: str, unit: str, dimension_names: list[str]) -> Counter:
        assert unit == "count"
        assert dimension_names[0] == "ModelName"
        return self.counters.setdefault(name, Counter())

    def get_all_request_header(self, place: int) -> dict[str, Any]:
        return self.requests[place]

    def set_response_status(self, code: int, phrase: str, place: int) -> None:
        self.statuses[place] = (code, phrase)

    def set_response_header(self, place: int, name: str, value: str) -> None:
        self.headers.setdefault(place, {})[name] = value

    def set_response_content_type(self, place: int, value: str) -> None:
        self.set_response_header(place, "content-type", value)
