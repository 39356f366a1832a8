"""What parity accepts and refuses, with functions of arrays in the place of graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from export.errors import ParityError
from export.manifest import Label, Latent, Scalar
from export.parity import (
    BATCHES,
    Case,
    Deviation,
    Findings,
    check_generator,
    check_rows,
    check_same,
    deviation,
    measure,
)
from export.rows import Rows, Run
from export.servable import Probe, offer, torch_run
from tests.export.networks import Conditional, Convolutional, loaded_run, seeded

INPUTS = (
    Latent(name="z", shape=(16, 16)),
    Label(name="label", classes=("a", "b")),
    Scalar(name="truncation", low=0, high=1, default=1),
)
CASE = Case(INPUTS, ((16, 16),))


def generator(rows: Rows) -> Rows:
    """A smooth picture of each row, as floats and as bytes."""
    x = np.tanh(rows["z"] * rows["truncation"][:, None, None] + rows["label"][:, None, None])
    return finished(x.astype(np.float32))


def finished(x: np.ndarray) -> Rows:
    levels = np.rint((np.nan_to_num(x) + 1) * 127.5).clip(0, 255)
    return {"image": levels.astype(np.uint8), "image.float": x}


TRIALS = check_generator(generator, CASE)


def changed(change: Callable[[np.ndarray, int], np.ndarray]) -> Run:
    """The generator with its floats changed; ``change`` is told the batch."""

    def run(rows: Rows) -> Rows:
        x = generator(rows)["image.float"]
        return finished(change(x, len(x)))

    return run


def bytes_changed(change: Callable[[np.ndarray], None]) -> Run:
    """The generator with its bytes changed in place, and no floats: a published graph."""

    def run(rows: Rows) -> Rows:
        image = generator(rows)["image"].copy()
        change(image)
        return {"image": image}

    return run


def test_equal_is_within() -> None:
    found = check_same("it", generator, TRIALS)
    assert found == Deviation(0, 0, 0, sum(BATCHES) * 256)


def test_small_difference_is_measured_and_allowed() -> None:
    found = check_same("it", changed(lambda x, n: x + np.float32(5e-6)), TRIALS)
    assert 4e-6 < found.max_abs < 6e-6
    assert found.within


@pytest.mark.parametrize("batch", BATCHES)
def test_difference_is_found_at_every_batch_size(batch: int) -> None:
    run = changed(lambda x, n: x + np.float32(1e-3 if n == batch else 0))
    with pytest.raises(ParityError, match=rf"it is not the generator at batch {batch} of 16x16"):
        check_same("it", run, TRIALS)


def test_one_value_beyond_the_limit_is_enough() -> None:
    def spoil(x: np.ndarray, n: int) -> np.ndarray:
        x = x.copy()
        x[-1, 3, 4] += 2e-4
        return x

    with pytest.raises(ParityError, match=r"2\.0e-04 before quantisation \(limit 1e-04\)"):
        check_same("it", changed(spoil), TRIALS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_value_that_is_no_number_is_a_difference(value: float) -> None:
    def run(rows: Rows) -> Rows:
        x = generator(rows)["image.float"]
        x[0, 0, 0] = value
        return {"image.float": x}

    with pytest.raises(ParityError, match="inf before quantisation"):
        check_same("it", run, TRIALS)


def two_levels(image: np.ndarray) -> None:
    image[0, 0, 0] ^= 2


def test_two_levels_are_too_many() -> None:
    with pytest.raises(ParityError, match="2 levels after it"):
        check_same("it", bytes_changed(two_levels), TRIALS)


def test_one_level_in_a_few_values_is_allowed() -> None:
    def few(image: np.ndarray) -> None:
        if len(image) == 17:
            image[0, 0, :7] ^= 1  # 7 of 7,936

    found = check_same("it", bytes_changed(few), TRIALS)
    assert (found.max_levels, found.differing) == (1, 7)


def test_one_level_in_many_values_is_refused() -> None:
    def many(image: np.ndarray) -> None:
        image[0, 0, 0] ^= 1
        image[0, 0, 1] ^= 1  # 2 of each batch: 10 of 7,936

    with pytest.raises(ParityError, match=r"0\.13% of the values \(limit 0\.1%\)"):
        check_same("it", bytes_changed(many), TRIALS)


def test_other_shape_or_type_is_refused() -> None:
    expected = generator({name: rows for name, rows in _rows().items()})
    with pytest.raises(ParityError, match=r"uint8 \[2, 16\], expected uint8 \[2, 16, 16\]"):
        deviation(expected, {"image": expected["image"][:, 0]})
    with pytest.raises(ParityError, match="float32"):
        deviation(expected, {"image": expected["image"].astype(np.float32)})


def _rows() -> Rows:
    return {
        "z": np.zeros((2, 16, 16), np.float32),
        "label": np.zeros(2, np.int64),
        "truncation": np.ones(2, np.float32),
    }


def test_independent_rows_are_exact() -> None:
    assert check_rows("it", generator, CASE).max_abs == 0


@pytest.mark.parametrize(
    "mix",
    [
        pytest.param(lambda x, n: x - x.mean(0, keepdims=True), id="mean of the batch"),
        pytest.param(lambda x, n: x + np.float32(0.01 * (n > 8)), id="batch size"),
        pytest.param(lambda x, n: x + np.float32(1e-3) * np.roll(x, 1, 0), id="one neighbour"),
        pytest.param(
            lambda x, n: x + np.float32(1e-3) * np.arange(n, dtype=np.float32)[:, None, None],
            id="place in the batch",
        ),
    ],
)
def test_rows_that_depend_on_neighbours_are_refused(
    mix: Callable[[np.ndarray, int], np.ndarray],
) -> None:
    with pytest.raises(ParityError, match="rows of it depend on their neighbours"):
        check_rows("it", changed(mix), CASE)


def test_generator_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ParityError, match=r"NaN or infinity.*export an earlier checkpoint"):
        check_generator(changed(lambda x, n: np.where(x > 0.9, np.float32(np.nan), x)), CASE)


def test_generator_that_draws_inside_is_refused() -> None:
    random = np.random.default_rng(0)
    run = changed(lambda x, n: x + random.normal(size=x.shape).astype(np.float32))
    with pytest.raises(ParityError, match=r"differs from itself.*must become an input"):
        check_generator(run, CASE)


def test_measure_gives_the_worst_of_each_kind() -> None:
    a_little = changed(lambda x, n: x + np.float32(1e-6))
    found = measure(TRIALS, [generator, a_little], [generator], CASE)
    assert found.onnx is not None
    assert 0 < found.onnx.max_abs < 3e-6
    assert found.torchscript is not None
    assert (found.torchscript.max_abs, found.rows.max_abs) == (0, 0)
    record = found.record()
    assert record.batches == BATCHES
    assert (record.onnx_max_abs, record.torchscript_max_abs) == (found.onnx.max_abs, 0)


def test_torchscript_left_out_is_not_recorded_as_measured() -> None:
    assert measure(TRIALS, [generator], [], CASE).record().torchscript_max_abs is None


def test_graph_that_is_its_own_measure_is_not_recorded_as_compared() -> None:
    alone = Findings(None, None, Deviation(1e-8, 1, 1, 10))
    record = (alone | alone).record()
    assert record.onnx_max_abs is record.torchscript_max_abs is None
    assert (record.max_levels, record.pixels_differing, record.row_max_abs) == (1, 0.1, 1e-8)


def test_torchscript_is_checked_too() -> None:
    with pytest.raises(ParityError, match="TorchScript is not the generator"):
        measure(TRIALS, [generator], [changed(lambda x, n: x * np.float32(0.9))], CASE)


def test_worst_of_several_graphs() -> None:
    one = Findings(Deviation(1e-6, 0, 0, 10), Deviation(2e-6), Deviation())
    two = Findings(Deviation(1e-7, 1, 2, 10), None, Deviation(1e-8))
    record = (one | two).record()
    assert (record.onnx_max_abs, record.torchscript_max_abs) == (1e-6, 2e-6)
    assert (record.max_levels, record.pixels_differing, record.row_max_abs) == (1, 0.1, 1e-8)


# --- Real networks that break the rule. ---


def eager(network: nn.Module, system: str) -> tuple[Run, Case]:
    servable = offer(loaded_run(network, system)).graphs["generator"]
    probe = Probe(servable)
    return torch_run(probe, servable.inputs, probe.names), Case(servable.inputs, ((8, 8),))


@pytest.mark.parametrize(("network", "system"), [(Convolutional, "dcgan"), (Conditional, "cgan")])
def test_batch_norm_in_eval_mode_is_accepted(network: type[nn.Module], system: str) -> None:
    trials = check_generator(*eager(seeded(network()), system))
    assert [len(trial.rows["z"]) for trial in trials] == list(BATCHES)


def test_batch_norm_in_train_mode_is_refused() -> None:
    with pytest.raises(ParityError, match=r"depend on their neighbours.*eval mode"):
        check_generator(*eager(seeded(Convolutional()).train(), "dcgan"))


class BatchStatistics(nn.BatchNorm2d):
    """Batch norm that has no running averages: eval mode does not help."""

    def __init__(self, features: int) -> None:
        super().__init__(features, track_running_stats=False)


def test_batch_statistics_in_eval_mode_are_refused() -> None:
    network = seeded(Convolutional(norm=BatchStatistics))
    with pytest.raises(ParityError, match="depend on their neighbours"):
        check_generator(*eager(network, "dcgan"))


class Dropping(Convolutional):
    """A generator with dropout that is on whatever the mode, as pix2pix has it."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(z, 0.5, training=True))


def test_dropout_inside_is_refused() -> None:
    with pytest.raises(ParityError, match="differs from itself"):
        check_generator(*eager(seeded(Dropping()), "dcgan"))


def test_generator_that_cannot_make_one_picture_is_refused() -> None:
    class Flat(nn.Module):
        latent = 6

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(6)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            pictures: torch.Tensor = self.norm(z).reshape(-1, 1, 2, 3)
            return pictures

    with pytest.raises(ParityError, match="fails at batch 1"):
        check_generator(*eager(seeded(Flat()).train(), "gan"))


def test_outputs_that_share_no_name_are_not_compared_as_equal() -> None:
    with pytest.raises(ParityError, match="no output is shared"):
        deviation({"image": np.zeros(2)}, {"picture": np.ones(2)})
