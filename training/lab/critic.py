"""A discriminator of numbers, trained on two distributions that stand still."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.losses import minimax_d

POINTS = 500
HIDDEN = 32

Watch = Callable[[int, nn.Module], None]


def learn(
    real: Tensor, fake: Tensor, steps: int, watch: Watch = lambda step, critic: None
) -> nn.Module:
    """A perceptron [N] -> [N] logits after ``steps`` of Adam on all points at once.

    Args:
        real: [N].
        fake: [N].
        steps: of the optimiser; its rate falls linearly to zero.
        watch: told of the critic before each step, and at the end.
    """
    torch.manual_seed(0)
    critic = nn.Sequential(
        nn.Unflatten(0, (-1, 1)),
        nn.Linear(1, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, 1),
        nn.Flatten(0),
    )
    optimizer = torch.optim.Adam(critic.parameters(), 0.01, (0.9, 0.99))
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for step in range(steps):
        watch(step, critic)
        loss = minimax_d(critic(real), critic(fake))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        rate.step()
    watch(steps, critic)
    return critic
