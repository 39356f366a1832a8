"""Several processes that compute what one would.

Every process walks through the same batches with the same random numbers, and computes its own
rows of each: random tensors are drawn for the whole batch and cut, batch norm takes the statistics
of the whole batch, and a layer that compares rows asks for all of them by :func:`whole`. Gradients
are averaged before a step. So weights, averages and random state are the same everywhere, a
checkpoint is that of one process, and what a batch is does not depend on how many share it.

With one process every function here is what its arguments already are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from training.data.batches import split
from training.errors import ProcessLost
from training.recipe import Batch


def count() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def leads() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def _others() -> tuple[int, int]:
    """How many processes come before this one, and how many after."""
    return rank(), count() - rank() - 1


def any_of(flag: bool) -> bool:
    """Whether one of the processes says so; all of them must ask."""
    if count() == 1:
        return flag
    on_gpu = dist.get_backend() == "nccl"
    votes = torch.tensor([float(flag)], device="cuda" if on_gpu else "cpu")
    return bool(_sum(votes).item())


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    found = list(tensors)
    if count() == 1 or not found:
        return
    means = _sum(torch.cat([tensor.detach().reshape(-1).float() for tensor in found])) / count()
    for tensor, mean in zip(found, torch.split(means, [t.numel() for t in found]), strict=True):
        tensor.detach().copy_(mean.view(tensor.shape))


@contextlib.contextmanager
def share(batch: Batch) -> Iterator[Batch]:
    """This process's rows of a batch; what is computed on them meanwhile is of the whole batch."""
    if count() == 1:
        yield batch
        return
    own = split(batch, count())[rank()]
    with _Share(len(own)):
        yield own


def whole(rows: Tensor) -> Tensor:
    """All rows of the batch that is shared, given this process's; a derivative goes to all."""
    if not _Share.active:
        return rows
    before, after = (rows.new_zeros((k * len(rows), *rows.shape[1:])) for k in _others())
    return _summed(torch.cat([before, rows, after]))


def own(every: Tensor) -> Tensor:
    """This process's rows out of all rows of the batch that is shared."""
    return every.chunk(count())[rank()] if _Share.active else every


class _Share(TorchFunctionMode):
    """Meanwhile draws and batch norms are those of the whole batch.

    A draw is known by its ``rows`` rows, or by two for each, those of a batch that is asked twice:
    all of it, then all of it again.
    """

    active = False

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def __enter__(self) -> _Share:
        _Share.active = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        _Share.active = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Called by torch in the place of each of its functions."""
        kwargs = dict(kwargs or {})
        if func is functional.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func in DRAWS_OF_A_SHAPE:
            shape = _shape(args)
            if shape and shape[0] in (self.rows, 2 * self.rows):
                return self._own(func((shape[0] * count(), *shape[1:]), **kwargs))
        if func in DRAWS_FOR_ROWS and len(args[0]) in (self.rows, 2 * self.rows):
            every = self._every(args[0])
            return self._own(func(every, *args[1:], **kwargs))
        return func(*args, **kwargs)

    def _every(self, rows: Tensor) -> Tensor:
        """As many as all processes have together, for a draw that asks for these."""
        times = (count(), *[1] * (rows.dim() - 1))
        return torch.cat([part.repeat(times) for part in torch.split(rows, self.rows)])

    def _own(self, every: Tensor) -> Tensor:
        """This process's part of a draw for all."""
        return torch.cat([own(part) for part in torch.split(every, self.rows * count())])


DRAWS_OF_A_SHAPE = {torch.rand, torch.randn}
DRAWS_FOR_ROWS = {
    torch.bernoulli,
    torch.rand_like,
    torch.randint_like,
    torch.randn_like,
    functional.dropout,
}


def _shape(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Of ``torch.rand(2, 3)`` and of ``torch.rand((2, 3))``."""
    return tuple(args[0] if args and not isinstance(args[0], int) else args)


def _batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``functional.batch_norm`` with the statistics of all processes' rows."""
    if not training:
        return functional.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)
    axes = [0, *range(2, x.dim())]
    along = (1, -1, *[1] * (x.dim() - 2))
    found = x.float()
    own = torch.stack([found.mean(axes), found.var(axes, unbiased=False)])
    centres, spreads = whole(own[None]).unbind(1)
    centre = centres.mean(0)
    spread = spreads.mean(0) + (centres - centre).square().mean(0)  # within shares, and between
    found = (found - centre.view(along)) * (spread + eps).rsqrt().view(along)
    if weight is not None and bias is not None:
        found = torch.addcmul(bias.view(along), found, weight.view(along))
    if mean is not None and variance is not None:
        values = count() * x.numel() // x.shape[1]
        with torch.no_grad():
            mean.lerp_(centre, momentum)
            variance.lerp_(spread * (values / (values - 1)), momentum)
    return found.to(x.dtype)


class _Summed(torch.autograd.Function):
    """The sum over the processes; so is its derivative, of any order."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        return _sum(tensor.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> Tensor:  # noqa: ANN401
        return _summed(slopes[0])


def _summed(tensor: Tensor) -> Tensor:
    total: Tensor = _Summed.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def _sum(tensor: Tensor) -> Tensor:
    """Add up a tensor in place.

    Raises:
        ProcessLost: one of the processes has ended.
    """
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise ProcessLost(
            f"process {rank()} has lost another process of this run: it was killed, or its message "
            "is above; what was kept is good: `ganymede resume` goes on from the last checkpoint"
        ) from error
    return tensor
