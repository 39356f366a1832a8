"""What a run offers: its networks behind per-row inputs, as the manifest will declare them.

A ``Servable`` is one graph of a bundle. Its network takes one tensor per declared input, batch
first, and holds no randomness: latents, noise maps and dropout masks come in as rows. Knobs are
per-row tensors, so that requests with different knobs share a batch. Pictures leave as uint8,
denormalised inside the graph: a quarter of the bytes cross to whoever asked.

``SERVABLES`` is the one place where a training system becomes something to serve.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from export.errors import NotServable
from export.manifest import (
    FixedSize,
    Image,
    ImageOutput,
    Input,
    Label,
    Latent,
    Output,
    Scalar,
    ScoreOutput,
    Size,
    Task,
)
from export.rows import Rows, Run
from training.layers import to_uint8

if TYPE_CHECKING:
    from training.run import LoadedRun

FLOAT = ".float"  # no Identifier has a dot, so no declared output can have this ending


class Servable(nn.Module):
    """One graph: one tensor per input, batch first, to one finished tensor per output.

    Args:
        network: returns a tensor per output, in order (alone, or in a tuple); an image as
            float32 [N, C, H, W] in [-1, 1].
        inputs: of ``network``, in order.
        outputs: what it returns, in order.
    """

    def __init__(
        self, network: nn.Module, inputs: Sequence[Input], outputs: Sequence[Output]
    ) -> None:
        super().__init__()
        self.network = network
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    @property
    def names(self) -> list[str]:
        """The outputs' names, in order."""
        return [output.name for output in self.outputs]

    def floats(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """The outputs as the network gives them, before quantisation."""
        outputs = self.network(*rows)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def finish(self, floats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The same outputs as the bundle gives them."""
        declared = zip(self.outputs, floats, strict=True)
        return tuple(
            to_uint8(value) if isinstance(output, ImageOutput) else value
            for output, value in declared
        )

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """What the bundle answers with."""
        return self.finish(self.floats(*rows))


class Probe(nn.Module):
    """A servable that also gives its pictures as they were before quantisation.

    Parity is measured on these; the published graph does not have them.
    """

    def __init__(self, servable: Servable) -> None:
        super().__init__()
        self.servable = servable

    @property
    def names(self) -> list[str]:
        """The outputs' names, in order: the servable's, then one float per picture."""
        images = [output for output in self.servable.outputs if isinstance(output, ImageOutput)]
        return self.servable.names + [output.name + FLOAT for output in images]

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """The finished outputs, then the float pictures."""
        floats = self.servable.floats(*rows)
        pairs = zip(self.servable.outputs, floats, strict=True)
        images = (value for output, value in pairs if isinstance(output, ImageOutput))
        return (*self.servable.finish(floats), *images)


def torch_run(module: Callable[..., Any], inputs: Sequence[Input], names: Sequence[str]) -> Run:
    """A torch module, eager or TorchScript, as a function of arrays."""

    def run(rows: Rows) -> Rows:
        with torch.inference_mode():
            outputs = module(*(torch.from_numpy(rows[entry.name]) for entry in inputs))
        return {name: tensor.numpy() for name, tensor in zip(names, outputs, strict=True)}

    return run


@dataclass(frozen=True)
class Offer:
    """All that a bundle will serve: its graphs, the task that each answers, and the size."""

    graphs: Mapping[str, Servable]
    tasks: Mapping[Task, str]
    size: Size


def offer(run: LoadedRun) -> Offer:
    """What a trained run has to serve.

    Raises:
        NotServable: there is no row in SERVABLES for the system that was trained.
    """
    system = run.config.recipe.system
    if system not in SERVABLES:
        near = difflib.get_close_matches(system, SERVABLES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NotServable(
            f"system {system!r} has no row in export/servable.py, only "
            f"{', '.join(sorted(SERVABLES))} have: add one{hint}"
        )
    return SERVABLES[system](run)


# --- Generators of pictures from a latent, with or without a class. ---


class Truncated(nn.Module):
    """A generator whose z is scaled towards its mean, which is 0, by a knob per row.

    z and the knob are the first and the last input: ``(z, truncation)`` or
    ``(z, label, truncation)``.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        *conditions, truncation = rest
        return cast(Tensor, self.generator(z * truncation[:, None], *conditions))


TRUNCATION = Scalar(
    name="truncation",
    low=0.0,
    high=1.0,
    default=1.0,
    description="z is multiplied by it: 1 is the full variety, 0 the picture at the mean of z.",
)


def _from_latent(run: LoadedRun) -> Offer:
    generator = cast(Any, run.recipe.generator)
    return _pictures(generator, (_latent(run), TRUNCATION), torch.zeros(2, generator.latent))


def _from_latent_and_label(run: LoadedRun) -> Offer:
    generator = cast(Any, run.recipe.generator)
    names = tuple(run.dataset["classes"]) or tuple(str(k) for k in range(generator.classes))
    if len(names) != generator.classes:
        raise NotServable(
            f"the generator has {generator.classes} classes, its data set {len(names)} names: "
            "train on a data set with a name for each class"
        )
    inputs = (_latent(run), Label(name="label", classes=names), TRUNCATION)
    zeros = torch.zeros(2, generator.latent), torch.zeros(2, dtype=torch.int64)
    return _pictures(generator, inputs, *zeros)


def _latent(run: LoadedRun) -> Latent:
    shape = (cast(Any, run.recipe.generator).latent,)
    return Latent(name="z", shape=shape, distribution=run.config.recipe.prior)


def _pictures(generator: nn.Module, inputs: Sequence[Input], *example: Tensor) -> Offer:
    with torch.no_grad():
        _, channels, height, width = generator(*example).shape
    servable = Servable(
        Truncated(generator), inputs, [ImageOutput(name="image", channels=channels)]
    )
    size = FixedSize(height=height, width=width)
    return Offer({"generator": servable}, {"generate": "generator"}, size)


# --- Autoencoders that tell how unusual a picture is. ---

STEPS = 33  # quantiles of the energies known: a share is read between two of them


class Scored(nn.Module):
    """Pictures to their energy, and to the share of the images learnt from that have a lower one.

    Args:
        autoencoder: gives the pictures made again, and their codes.
        distance: of pictures from themselves made again, [N].
        known: energies of real images, [M]; between their quantiles the share is a straight line,
            so that rounding does not make it jump.
    """

    low: Tensor
    width: Tensor

    def __init__(
        self, autoencoder: nn.Module, distance: Callable[[Tensor, Tensor], Tensor], known: Tensor
    ) -> None:
        super().__init__()
        self.autoencoder, self.distance = autoencoder, distance
        steps = torch.quantile(known, torch.linspace(0, 1, STEPS))
        least = (steps[-1] - steps[0]) / 100 + 1e-6  # equal energies are a slope, not a cliff
        self.register_buffer("low", steps[:-1])
        self.register_buffer("width", steps.diff().clamp_min(least))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The energy [N], and the share [N] in [0, 1]."""
        made, _ = self.autoencoder(images)
        energy = self.distance(images, made)
        passed = ((energy[:, None] - self.low) / self.width).clamp(0, 1)
        return energy, passed.mean(1)


def _from_latent_and_scores(run: LoadedRun) -> Offer:
    drawn, recipe = _from_latent(run), cast(Any, run.recipe)
    known = recipe.energies[-max(1, run.images_seen) :]  # those before are not of images
    channels = cast(ImageOutput, drawn.graphs["generator"].outputs[0]).channels
    energy = Servable(
        Scored(recipe.discriminator, recipe.energy, known),
        [Image(name="image", channels=channels)],
        [ScoreOutput(name="energy"), ScoreOutput(name="share_below")],
    )
    graphs, tasks = {**drawn.graphs, "energy": energy}, {**drawn.tasks, "score": "energy"}
    return Offer(graphs, tasks, drawn.size)


SERVABLES: dict[str, Callable[[LoadedRun], Offer]] = {
    "gan": _from_latent,
    "dcgan": _from_latent,
    "cgan": _from_latent_and_label,
    "ebgan": _from_latent_and_scores,
}
