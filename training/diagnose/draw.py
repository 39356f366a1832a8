"""What a trained generator makes, for a diagnosis: pictures, and walks between latents."""

from __future__ import annotations

import torch
from torch import Tensor

from training.data.batches import Batches
from training.data.dataset import Dataset, Images
from training.layers import to_uint8
from training.recipe import Batch, Recipe

BATCH = 50
WALKS, STEPS = 6, 9


@torch.no_grad()
def draws_from_a_prior(recipe: Recipe, batches: Batches) -> bool:
    """Whether the generator's inputs are drawn, and are no pictures of the data."""
    batch = batches.fixed(2)
    blank = Batch(
        torch.zeros_like(batch.x),
        batch.y,
        None if batch.source is None else torch.zeros_like(batch.source),
        batch.text,
    )
    one, other = (_seeded(recipe, each, 0) for each in (batch, blank))
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@torch.no_grad()
def draw(recipe: Recipe, data: Dataset, count: int, seed: int) -> Images:
    """``count`` pictures, uint8 [N, H, W, C], whose conditions are those of the data, in turn."""
    batches = Batches(data, min(BATCH, len(data)), seed)
    parts = []
    for k in range(-(-count // batches.size)):
        parts.append(to_uint8(recipe.generator(*_seeded(recipe, batches.batch(k), seed + k))))
    return torch.cat(parts)[:count].numpy()


@torch.no_grad()
def walk(recipe: Recipe, data: Dataset, seed: int) -> Images:
    """``WALKS`` rows of ``STEPS`` pictures: from one draw to another, all else as at the start."""
    batches = Batches(data, min(2 * WALKS, len(data)), seed)
    inputs = _seeded(recipe, batches.fixed(2 * WALKS), seed)
    shares = torch.linspace(0, 1, STEPS)
    rows = []
    for k in range(WALKS):
        steps = [
            torch.stack([between(part[k], part[WALKS + k], share) for share in shares])
            for part in inputs
        ]
        rows.append(to_uint8(recipe.generator(*steps)))
    return torch.cat(rows).numpy()


def between(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """On the great circle from a to b (White 2016, arXiv:1609.04468); what is no real number is a.

    Draws of a prior lie far from its middle, where a straight line would lead.
    """
    if not a.is_floating_point():
        return a
    cosine = torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle.sin() < 1e-4:  # one direction, or opposite ones
        return torch.lerp(a, b, share)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / angle.sin()


def _seeded(recipe: Recipe, batch: Batch, seed: int) -> tuple[Tensor, ...]:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return recipe.inputs(batch)
