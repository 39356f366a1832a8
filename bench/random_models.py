"""DCGANs with random weights: as costly as trained ones, and here in seconds."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.loads import Served
from export.bundle import Bundle
from export.manifest import FixedSize
from export.publish import export_bundle
from training.config import load_preset
from training.recipe import Shape
from training.recipes import SYSTEMS
from training.run import LoadedRun

RANDOM = {"dcgan-32": (32, 32), "dcgan-64": (64, 64)}  # side, base channels


def serve_model(name: str, scratch: Path) -> Served:
    """A model by its name here, in a models folder that holds nothing else.

    Args:
        name: of ``RANDOM``.
        scratch: where folders can be made.
    """
    bundle = _random(name, scratch)
    manifest = bundle.manifest
    assert isinstance(manifest.size, FixedSize)
    graph = manifest.graph("generate")
    return Served(name, scratch / name, bundle.path / graph.onnx, graph, manifest.size)


def _random(name: str, scratch: Path) -> Bundle:
    """An RGB generator of transposed convolutions, as in Radford et al. 2016, untrained."""
    side, channels = RANDOM[name]
    settings = ["recipe.upsampling=transposed", "recipe.latent=100"]
    settings += [f"recipe.base_channels={channels}", f"data.size={side}", "data.channels=3"]
    config = load_preset("dcgan-fashion-fast", settings)
    torch.manual_seed(0)
    stages = SYSTEMS["dcgan"].stages(config.recipe, Shape(3, side))
    dataset = {
        "name": "nothing",
        "fingerprint": "0" * 64,
        "licence": "CC0-1.0",
        "attribution": "",
        "classes": [],
        "images": 0,
        "channels": 3,
        "size": side,
    }
    recipe = next(iter(stages)).eval().requires_grad_(False)
    run = LoadedRun(Path(name), config, recipe, 0, dataset)
    return export_bundle(run, scratch / name, name, torchscript=False)
