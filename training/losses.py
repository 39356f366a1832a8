"""Losses as their papers state them: pure functions of logits, one equation each.

``real`` and ``fake`` are unbounded discriminator outputs, [N]; every function returns a scalar,
the mean over N. D = sigmoid(logits), so that log D = -softplus(-logits) and
log(1 - D) = -softplus(logits), which neither overflow nor round to log 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-E[t log D + (1 - t) log(1 - D)], for targets t in [0, 1] of the logits' shape.

    The stable form max(x, 0) - x t + log(1 + exp(-|x|)), with x the logits.
    """
    return (relu(logits) - logits * targets + torch.log1p(torch.exp(-logits.abs()))).mean()


def minimax_d(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))]. Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1."""
    return softplus(-real).mean() + softplus(fake).mean()


def minimax_g(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]. Goodfellow et al. 2014, eq. 1: vanishes where D wins."""
    return -softplus(fake).mean()


def nonsaturating_g(fake: Tensor) -> Tensor:
    """-E[log D(G(z))]. Goodfellow 2016 tutorial (arXiv:1701.00160), eq. 13, without the 1/2."""
    return softplus(-fake).mean()


def maximum_likelihood_g(fake: Tensor) -> Tensor:
    """-E[exp(logits)], logits = sigmoid^-1(D(G(z))). Goodfellow 2016, eq. 14, without the 1/2.

    Unbounded by nature: infinite in float32 once D is surer than a logit of 88.
    """
    return -fake.exp().mean()


def least_squares_d(real: Tensor, fake: Tensor) -> Tensor:
    """(E[(D(x) - 1)^2] + E[D(G(z))^2]) / 2. Mao et al. 2017 (arXiv:1611.04076), eq. 9."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def least_squares_g(fake: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2] / 2. Mao et al. 2017, eq. 9."""
    return (fake - 1).square().mean() / 2


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]. Miyato et al. 2018 (1802.05957), eq. 16."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_g(fake: Tensor) -> Tensor:
    """-E[D(G(z))]. Miyato et al. 2018, eq. 17."""
    return -fake.mean()


def relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log sigmoid(D(x) - D(G(z)))]. Jolicoeur-Martineau 2018 (arXiv:1807.00734), section 4.1.

    Each real image is paired with one fake: the loss of R3GAN (Huang et al. 2025).
    """
    return softplus(fake - real).mean()


def relativistic_g(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log sigmoid(D(G(z)) - D(x))]. Jolicoeur-Martineau 2018, section 4.1."""
    return softplus(real - fake).mean()


def zero_centred_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """E[||grad_x D(x)||^2]: R1 on real images, R2 on generated ones.

    Mescheder et al. 2018 (arXiv:1801.04406), eq. 9 and 10, without the gamma / 2.

    Args:
        logits: [N], D(images).
        images: [N, C, H, W]; must require grad.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()


def reconstruction_norm(images: Tensor, made: Tensor) -> Tensor:
    """||Dec(Enc(x)) - x||, [N], the energy of Zhao et al. 2017 (arXiv:1609.03126), section 2.3."""
    difference = (made - images).flatten(1).float()
    norm: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norm


def cosine_distance(images: Tensor, made: Tensor) -> Tensor:
    """1 - cos(x, Dec(Enc(x))) of the brightness above black, [N] in [0, 1].

    An energy that does not grow with the ink: a plain picture is not near for being nearly empty.
    """
    bright, remade = (images.flatten(1).float() + 1, made.flatten(1).float() + 1)
    return 1 - torch.cosine_similarity(bright, remade, dim=1, eps=1e-6)


ENERGIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": reconstruction_norm,
    "cosine": cosine_distance,
}


def margin_d(real: Tensor, fake: Tensor, margin: float) -> Tensor:
    """E[D(x)] + E[max(0, m - D(G(z)))], D an energy. Zhao et al. 2017, eq. 1."""
    return real.mean() + relu(margin - fake).mean()


def energy_g(fake: Tensor) -> Tensor:
    """E[D(G(z))], D an energy. Zhao et al. 2017, eq. 2."""
    return fake.mean()


def pulling_away(codes: Tensor) -> Tensor:
    """Mean over i != j of cos(S_i, S_j)^2, in [0, 1]. Zhao et al. 2017, section 2.4.

    Args:
        codes: [N, Z], N at least 2: Enc of a batch of generated images.
    """
    unit = torch.nn.functional.normalize(codes.float(), dim=1)
    cosines = (unit @ unit.T).square()
    count = len(codes)
    return (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))


def matching(similarity: Tensor, own: Tensor) -> Tensor:
    """-E[log softmax_j(s_ij)] at j = own_i: which of N texts does picture i show?

    Zhang et al. 2021 (arXiv:2101.04702), equation 4.

    Args:
        similarity: [M, N], of pictures to texts.
        own: [M] int64, the text that each picture is of.
    """
    return torch.nn.functional.cross_entropy(similarity.float(), own)


def mode_seeking(images: Tensor, others: Tensor, latents: Tensor, other_latents: Tensor) -> Tensor:
    """1 / (mean |I_1 - I_2| / mean |z_1 - z_2| + 1e-5): small when latents apart give images apart.

    Mao et al. 2019 (arXiv:1903.05628), equation 2, maximises d(I_1, I_2) / d(z_1, z_2). This is the
    form of the authors' code: the means run over the whole batch, so that a row alone has no ratio,
    and it is the inverse that is minimised, which is bounded by 1e5.

    Args:
        images: [N, C, H, W], made from ``latents``.
        others: likewise from ``other_latents``, under the same conditions row by row.
        latents: [N, Z].
        other_latents: [N, Z], drawn anew.
    """
    apart = (others.float() - images.float()).abs().mean()
    return 1 / (apart / (other_latents - latents).abs().mean() + 1e-5)


@dataclass(frozen=True)
class Objective:
    """Both sides of a game. ``g`` takes (real, fake); ``pairs`` says that it looks at ``real``.

    ``boundary`` is the logit at which D cannot tell; None where logits are only compared.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    pairs: bool = False
    boundary: float | None = 0.0


def _fake_only(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda _real, fake: loss(fake)


OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(minimax_d, _fake_only(minimax_g)),
    "nonsaturating": Objective(minimax_d, _fake_only(nonsaturating_g)),
    "maximum_likelihood": Objective(minimax_d, _fake_only(maximum_likelihood_g)),
    "least_squares": Objective(least_squares_d, _fake_only(least_squares_g), boundary=0.5),
    "hinge": Objective(hinge_d, _fake_only(hinge_g)),
    "relativistic": Objective(relativistic_d, relativistic_g, pairs=True, boundary=None),
}


def mean_squared_error(found: Tensor, target: Tensor) -> Tensor:
    """E[(x' - x)^2] over pictures and pixels. Rumelhart et al. 1986 (Nature 323), eq. 3, scaled."""
    return (found - target).square().mean()


def mean_absolute_error(found: Tensor, target: Tensor) -> Tensor:
    """E[|y - G(x)|] over pictures and pixels. Isola et al. 2017 (arXiv:1611.07004), eq. 3."""
    return (found - target).abs().mean()


def bernoulli_nll(logits: Tensor, target: Tensor) -> Tensor:
    """-E[log p(x|z)] in nats, each pixel a coin of that logit; Kingma & Welling 2014, eq. 11.

    arXiv:1312.6114, appendix C.1. Both [N, ...]; x in [0, 1], grey where it is not 0 or 1.
    """
    return sigmoid_cross_entropy(logits, target) * target[0].numel()


def gaussian_nll(mean: Tensor, log_std: Tensor, target: Tensor) -> Tensor:
    """-E[log p(x|z)] in nats, p = N(mean, std^2 I); Kingma & Welling 2014, appendix C.2.

    A density: negative where it is sure. ``log_std`` is one number for all pixels (Dai & Wipf
    2019, arXiv:1903.05789, learn it so).
    """
    scaled = (target - mean) * torch.exp(-log_std)
    constant = 0.5 * math.log(2 * math.pi)
    return (0.5 * scaled.square() + log_std + constant).mean() * target[0].numel()


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """E[KL(N(mean, variance) || N(0, I))] in nats; Kingma & Welling 2014, appendix B.

    -1/2 sum(1 + log variance - mean^2 - variance) over the Z of [N, Z].
    """
    divergences = mean.square() + log_variance.exp() - 1 - log_variance
    return 0.5 * divergences.sum(1).mean()
