"""What every adversarial pair tells of itself once a tick: cheap, from one batch of each kind.

It costs what the loss of a discriminator's step costs without its gradient, and one table of
distances [2N, 2N]. Of the numbers below those of distances are relative: 1 is what the real
pictures of the batch are to one another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses import minimax_d
from training.metrics.divergence import jensen_shannon_of_loss

LEAST = 1e-6  # of a distance that is divided by
SAME = 1e-2  # of the mean distance: nearer real pictures are one that the batch holds twice


def adversarial_signals(
    real_logits: Tensor, fake_logits: Tensor, real: Tensor, fake: Tensor, boundary: float | None
) -> dict[str, Tensor]:
    """The signals of a discriminator, and of the pictures it looked at.

    ``d_real``, ``d_fake``: its probabilities. ``accuracy_real``, ``accuracy_fake``: the share of
    either kind that it tells. ``jsd``: a lower bound of the Jensen-Shannon divergence in nats,
    whatever the game (Goodfellow et al. 2014, theorem 1, holds for any discriminator as a bound),
    from the training pictures: where D knows those by heart, more than that from their source.

    Args:
        real_logits: [M], greater where it is surer that a picture is real.
        fake_logits: [M].
        real: [N, C, H, W].
        fake: [N, C, H, W].
        boundary: the logit at which it cannot tell; None where the game compares alone, and then
            midway between the two means.
    """
    if boundary is None:
        middle = (real_logits.mean() + fake_logits.mean()) / 2
        real_logits, fake_logits = real_logits - middle, fake_logits - middle
    else:
        real_logits, fake_logits = real_logits - boundary, fake_logits - boundary
    bound = jensen_shannon_of_loss(minimax_d(real_logits, fake_logits))
    return {
        "d_real": real_logits.sigmoid().mean(),
        "d_fake": fake_logits.sigmoid().mean(),
        "accuracy_real": (real_logits > 0).float().mean(),
        "accuracy_fake": (fake_logits < 0).float().mean(),
        "jsd": bound.clamp_min(0),
    } | picture_signals(real, fake)


def picture_signals(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """How varied generated pictures are, and how near to real ones; [N, C, H, W] both, N > 1.

    ``diversity``: their deviation over the real ones'. ``near_fake``: a generated picture's
    distance to the nearest other one; ``near_real``: to the nearest real one; ``left_out``: a
    real one's to the nearest generated one. Means, over a real one's to the nearest other.
    """
    a, b = real.flatten(1).float(), fake.flatten(1).float()
    spread = [x.var(0).sum().sqrt() for x in (a, b)]
    distances = torch.cdist(torch.cat([a, b]), torch.cat([a, b]))
    distances.fill_diagonal_(torch.inf)
    n = len(a)
    among_real = distances[:n, :n]
    typical = among_real[among_real.isfinite()].mean()
    others = among_real.masked_fill(among_real < SAME * typical, torch.inf).amin(1)
    unit = others.nan_to_num(posinf=0.0).mean().clamp_min(LEAST)
    return {
        "diversity": spread[1] / spread[0].clamp_min(LEAST),
        "near_fake": distances[n:, n:].amin(1).mean() / unit,
        "near_real": distances[n:, :n].amin(1).mean() / unit,
        "left_out": distances[:n, n:].amin(1).mean() / unit,
    }
