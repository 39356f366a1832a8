"""pix2pix: what its networks see, what each of its losses is, and what it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tests.training.tiny import (
    Silent,
    after,
    never,
    newest,
    same,
    stats,
    tiny_batch,
    tiny_config,
    tiny_recipe,
)
from training.config import load_preset
from training.data.batches import Batches
from training.data.dataset import Dataset
from training.errors import ConfigError
from training.grid import triples
from training.patches import HALVINGS, PatchDiscriminator, patch_of, receptive_field
from training.recipe import Batch, Shape
from training.recipes import SYSTEMS
from training.recipes.pix2pix import Pix2Pix
from training.train import begin, resume, sample_grid, train
from training.trainer import iterate
from training.unet import KEEP, Translator

PAIRED = Shape(3, 16, (), source_channels=1)
ABLATION: list[tuple[str, dict[str, Any], set[str]]] = [
    ("L1", {"adversarial": "none"}, {"g/l1"}),
    ("L2", {"adversarial": "none", "reconstruction": "l2"}, {"g/l2"}),
    (
        "GAN",
        {"adversarial": "unconditional", "reconstruction": "none"},
        {"d/adversarial", "g/adversarial"},
    ),
    ("cGAN", {"reconstruction": "none"}, {"d/adversarial", "g/adversarial"}),
    (
        "L1+GAN",
        {"adversarial": "unconditional"},
        {"d/adversarial", "g/adversarial", "g/l1"},
    ),
    ("L1+cGAN", {}, {"d/adversarial", "g/adversarial", "g/l1"}),
]


def pix2pix(shape: Shape = PAIRED, **settings: Any) -> Pix2Pix:  # noqa: ANN401
    return cast(Pix2Pix, tiny_recipe("pix2pix", shape, **settings))


def translator(**settings: Any) -> Translator:  # noqa: ANN401
    return pix2pix(**settings).generator


def terms(recipe: Pix2Pix, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        f"{phase.name}/{name}": term
        for phase in recipe.phases()
        for name, term in phase.loss(batch, 0).items()
    }


# --- The networks. ---


@pytest.mark.parametrize("generator", ["unet", "encoder_decoder"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 16), (48, 64)])
def test_pictures_of_any_size_that_the_stride_divides(
    generator: str, height: int, width: int
) -> None:
    network = translator(generator=generator)
    images = torch.rand(2, 1, height, width)
    made = network(images, *network.masks(images))
    assert network.stride == 16
    assert made.shape == (2, 3, height, width)
    assert made.abs().max() <= 1


def test_the_faithful_networks_are_the_paper_s() -> None:
    """Appendix 6.1: C64-C128-C256-C512x5, CD512-CD1024-CD1024-C1024-C1024-C512-C256-C128."""
    with torch.device("meta"):
        config = load_preset("pix2pix-faithful").recipe
        shape = Shape(3, 256, (), source_channels=3)
        recipe = cast(Pix2Pix, next(SYSTEMS["pix2pix"].stages(config, shape)))
    downs = [m for m in recipe.generator.modules() if isinstance(m, nn.Conv2d)]
    ups = [m for m in recipe.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in downs] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [m.in_channels for m in ups] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    judges = [m for m in recipe.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in judges] == [64, 128, 256, 512, 1]
    assert judges[0].in_channels == 6
    assert receptive_field(recipe.discriminator) == 70
    assert recipe.generator.mask_shapes == [(512, 128), (512, 64), (512, 32)]
    assert all(m.kernel_size == (4, 4) for m in (*downs, *ups, *judges))


def test_skips_carry_what_the_narrow_place_cannot() -> None:
    """With the coarsest features silenced, the U-Net still sees its input; the other does not."""
    images = torch.rand(1, 1, 16, 16, requires_grad=True)
    for generator, sees in (("unet", True), ("encoder_decoder", False)):
        network = translator(generator=generator).eval()
        coarsest = cast(Any, network.downs[-1])
        coarsest.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
        made = network(images, *[torch.ones_like(mask) for mask in network.masks(images)])
        (gradient,) = torch.autograd.grad(made.sum(), images, allow_unused=True)
        assert (gradient is not None and bool(gradient.any())) == sees


@pytest.mark.parametrize("training", [True, False])
def test_a_row_does_not_depend_on_its_neighbours(training: bool) -> None:
    network = translator().train(training)
    images = torch.rand(4, 1, 16, 16)
    masks = network.masks(images)
    together = network(images, *masks)
    for row in range(4):
        alone = network(images[row : row + 1], *(mask[row : row + 1] for mask in masks))
        torch.testing.assert_close(alone, together[row : row + 1], atol=1e-5, rtol=0)


def test_the_masks_are_the_only_chance() -> None:
    network = translator().train()
    images = torch.rand(2, 1, 16, 16)
    torch.manual_seed(0)
    masks, others = network.masks(images), network.masks(images)
    assert [mask.shape for mask in masks] == [(2, 8, 2, 2), (2, 8, 4, 4), (2, 4, 8, 8)]
    assert all(set(mask.flatten().tolist()) <= {0.0, 1.0} for mask in masks)
    assert abs(torch.cat([mask.flatten() for mask in masks]).mean() - KEEP) < 0.1
    assert torch.equal(network(images, *masks), network(images, *masks))
    assert not torch.equal(network(images, *masks), network(images, *others))


def test_dropout_keeps_the_mean() -> None:
    """A mask of ones doubles, as a half of the units dropped halves."""
    network = Translator((1, 1), [2, 2], skips=False, dropout=1)
    seen: list[Tensor] = []
    cast(Any, network.ups[1]).upsample.register_forward_pre_hook(
        lambda _m, inputs: seen.append(inputs[0])
    )
    images = torch.rand(1, 1, 4, 4)
    ((channels, side),) = network.mask_shapes
    network(images, torch.ones(1, channels, 4 // side, 4 // side))
    network(images)
    torch.testing.assert_close(seen[0], seen[1] * 2)


@pytest.mark.parametrize("patch", [1, *HALVINGS])
def test_a_patch_is_as_large_as_it_says(patch: int) -> None:
    """By counting, and by the gradient of one logit: the pixels it depends on."""
    network = PatchDiscriminator(1, 2, patch, "none").double()
    assert receptive_field(network) == patch
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 0.1)  # nothing cancels
    side = 2 * patch + 64
    images = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    middle = logits.shape[1] // 2
    (gradient,) = torch.autograd.grad(logits[0, middle, middle], images)
    rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == patch


@pytest.mark.parametrize(("size", "field"), [(16, 16), (28, 34), (64, 70), (256, 286), (286, 286)])
def test_a_full_patch_holds_the_whole_picture(size: int, field: int) -> None:
    assert patch_of(size, "full") == field
    assert PatchDiscriminator(1, 2, field, "instance")(torch.rand(2, 1, size, size)).ndim == 3


def test_a_patch_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"patch of 286 .* than 64: choose recipe.patch=142"):
        patch_of(64, 286)
    with pytest.raises(ConfigError, match=r"recipe\.patch=34"):
        pix2pix(patch=70)
    with pytest.raises(ConfigError, match=r"no patch holds .* 287 pixels: choose recipe.patch=286"):
        patch_of(287, "full")


# --- The losses. ---


@pytest.mark.parametrize(("settings", "expected"), [case[1:] for case in ABLATION])
def test_the_paper_s_losses_are_configurations(
    settings: dict[str, Any], expected: set[str]
) -> None:
    found = terms(pix2pix(**settings), tiny_batch(channels=3))
    assert set(found) == expected
    assert all(term.ndim == 0 and term.isfinite() for term in found.values())


def test_terms_are_weighted() -> None:
    batch = tiny_batch(channels=3)
    plain = terms(pix2pix(d_weight=1.0, reconstruction_weight=1.0), batch)
    weighted = terms(pix2pix(d_weight=0.5, reconstruction_weight=7.0), batch)
    assert weighted["g/l1"].item() == pytest.approx(7 * plain["g/l1"].item(), rel=1e-5)
    assert weighted["d/adversarial"].item() == pytest.approx(plain["d/adversarial"].item() / 2)
    assert weighted["g/adversarial"].item() == pytest.approx(plain["g/adversarial"].item())


def test_the_reconstruction_is_the_distance_from_the_truth() -> None:
    batch = tiny_batch(channels=3)
    for name, distance in (("l1", Tensor.abs), ("l2", Tensor.square)):
        recipe = pix2pix(reconstruction=name, reconstruction_weight=3.0)
        torch.manual_seed(2)
        made = recipe.generator(*recipe.inputs(batch))
        torch.manual_seed(2)
        found = recipe.g_loss(batch, 0)[name]
        assert found.item() == pytest.approx(3 * distance(made - batch.x).mean().item(), rel=1e-6)


@pytest.mark.parametrize(("adversarial", "sees"), [("conditional", True), ("unconditional", False)])
def test_only_the_conditional_judge_sees_the_source(adversarial: str, sees: bool) -> None:
    recipe = pix2pix(adversarial=adversarial)
    batch = tiny_batch(channels=3)
    assert batch.source is not None
    other = Batch(batch.x, None, -batch.source)
    different = not torch.equal(recipe.logits(batch.x, batch), recipe.logits(batch.x, other))
    assert different == sees


def test_a_step_changes_only_what_its_phase_learns() -> None:
    recipe = pix2pix()
    for phase in recipe.phases():
        recipe.requires_grad_(False)
        recipe.zero_grad(set_to_none=True)
        phase.learns.requires_grad_(True)
        loss = torch.stack(list(phase.loss(tiny_batch(channels=3), 0).values())).sum()
        torch.autograd.backward(loss)
        moved = {name for name, p in recipe.named_parameters() if p.grad is not None}
        network = {"d": "discriminator", "g": "generator"}[phase.name]
        assert moved == {n for n, _ in recipe.named_parameters() if n.startswith(f"{network}.")}


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="both none: nothing is learnt"):
        tiny_config("x", "pix2pix", {"reconstruction": "none", "adversarial": "none"})


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        (Shape(3, 16), {}, "learns from pairs, and the data has none"),
        (Shape(3, 24, (), 1), {}, r"24 pixels cannot be halved 4 times: choose data.size=32"),
        (Shape(3, 16, (), 1), {"depth": 2}, "choose at most recipe.dropout_levels=1"),
    ],
)
def test_data_that_does_not_fit(shape: Shape, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pix2pix(shape, **settings)


# --- Training. ---


class Inverted(Batches):
    """Each picture is the negative of its source, a plain grey."""

    def __init__(self) -> None:
        levels = np.linspace(0, 255, 32).astype(np.uint8)[:, None, None, None]
        sources = np.broadcast_to(levels, (32, 16, 16, 1)).copy()
        super().__init__(Dataset("", "", "", (), 255 - sources, None, "", sources=sources), 16, 0)


def test_it_learns_what_can_be_learnt() -> None:
    shape = Shape(1, 16, (), source_channels=1)
    settings = {"g_optimizer": {"lr": 0.01}, "d_optimizer": {"lr": 0.001}, "depth": 3}
    settings |= {"dropout_levels": 0, "initial_std": None}
    recipe = pix2pix(shape, **settings)
    config = tiny_config("none", "pix2pix", settings, batch=16, kimg=0.64)
    state = begin(recipe, 0, 0, torch.device("cpu"))
    before = recipe.signals(Inverted().batch(0))["l1"].item()
    for _ in range(40):
        iterate(state, Inverted(), config.schedule, Fabric(devices=1))
    after_ = recipe.signals(Inverted().batch(0))["l1"].item()
    assert after_ < 0.5 * before


def test_resumed_is_bit_for_bit_what_was_never_stopped(npz: Path, tmp_path: Path) -> None:
    config = tiny_config(npz, "pix2pix")
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"jitter": 2, "flip": True})}
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(config, whole, Silent(), never)
    assert not train(config, parts, Silent(), after(7))
    assert resume(parts, Silent(), never)
    assert same(newest(whole), newest(parts))
    assert stats(whole) == stats(parts)


def test_grids_show_input_output_and_truth(npz: Path, tmp_path: Path) -> None:
    config = tiny_config(npz, "pix2pix")
    batches = Inverted()
    recipe = pix2pix(Shape(1, 16, (), source_channels=1))
    state = begin(recipe, 0, 0, torch.device("cpu"))
    pictures = sample_grid(state, batches, config.schedule.seed)
    assert len(pictures) == 3 * 27
    assert (pictures[0] == 0).all()
    assert (pictures[2] == 255).all()
    assert np.array_equal(pictures[1::3], sample_grid(state, batches, config.schedule.seed)[1::3])
    assert len(np.unique(pictures[1])) > 1


def test_triples_have_the_most_channels() -> None:
    grey, colour = np.zeros((2, 4, 4, 1), np.uint8), np.full((2, 4, 4, 3), 9, np.uint8)
    found = triples(grey, colour, colour)
    assert found.shape == (6, 4, 4, 3)
    assert [int(picture[0, 0, 2]) for picture in found] == [0, 9, 9, 0, 9, 9]
