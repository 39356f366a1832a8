"""What a run offers: its networks behind per-row inputs, as the manifest will declare them.

A ``Servable`` is one graph of a bundle. Its network takes one tensor per declared input, batch
first, and holds no randomness: latents, noise maps and dropout masks come in as rows. So do knobs,
and requests with different ones share a batch. Pictures leave as uint8: a quarter of the bytes.

``SERVABLES`` is the one place where a training system becomes something to serve.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from export.coders import Blocks, Decoder, Encoder, Resampler
from export.errors import NotServable
from export.manifest import (
    FixedSize,
    FreeSize,
    Image,
    ImageOutput,
    Input,
    Label,
    Latent,
    Noise,
    Output,
    Scalar,
    ScoreOutput,
    Size,
    Task,
    VectorOutput,
)
from export.rows import Rows, Run
from export.scores import Scored
from export.spoken import spoken
from export.translators import domain_parts, translator_inputs, translator_size
from export.truncation import TRUNCATION, Truncated
from training.layers import to_uint8

if TYPE_CHECKING:
    from training.run import LoadedRun

FLOAT = ".float"  # no Identifier has a dot, so no declared output can have this ending


class Servable(nn.Module):
    """One graph: one tensor per input, batch first, to one finished tensor per output.

    Args:
        network: returns a tensor per output (alone, or in a tuple); an image as float32
            [N, C, H, W] in [-1, 1].
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
    files: Mapping[str, bytes] = field(default_factory=dict)  # that graphs name: tokenizers


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


def _from_latent_and_text(run: LoadedRun) -> Offer:
    generator, (text, files) = cast(Any, run.recipe.generator), spoken(run.dataset)
    zeros = torch.zeros(2, generator.latent), torch.zeros(2, text.length, dtype=torch.int64)
    return replace(_pictures(generator, (_latent(run), text, TRUNCATION), *zeros), files=files)


def _latent(run: LoadedRun) -> Latent:
    shape = (cast(Any, run.recipe.generator).latent,)
    return Latent(name="z", shape=shape, distribution=cast(Any, run.config.recipe).prior)


def _pictures(generator: nn.Module, inputs: Sequence[Input], *example: Tensor) -> Offer:
    with torch.no_grad():
        _, channels, height, width = generator(*example).shape
    servable = Servable(
        Truncated(generator), inputs, [ImageOutput(name="image", channels=channels)]
    )
    size = FixedSize(height=height, width=width)
    return Offer({"generator": servable}, {"generate": "generator"}, size)


# --- Coders: from a picture to numbers, and back. ---

STRENGTH = Scalar(
    name="strength",
    low=0.0,
    high=1.0,
    default=1.0,
    description="of the noise in the code: 1 draws from the posterior, 0 takes its mean.",
)
_SIDES = {"min_side": 1, "max_side": 2048, "max_pixels": 2**20}  # of what is coded block by block
_WARM_BLOCKS = 8


def _from_autoencoder(run: LoadedRun) -> Offer:
    coder, recipe = cast(Any, run.recipe.generator), cast(Any, run.config.recipe)
    distribution = "uniform" if recipe.code == "tanh" else "normal"
    shape: tuple[int | str, ...] = (coder.latent,)
    side = run.dataset["size"]
    size: Size = FixedSize(height=side, width=side)
    if recipe.blocks:
        coder = Blocks(coder, side)
        shape = (*shape, f"height//{side}", f"width//{side}")
        warm = (side * _WARM_BLOCKS,) * 2
        size = FreeSize(stride=side, warm=(warm,), **_SIDES)
    z, image = Latent(name="z", shape=shape, distribution=distribution), _picture(run)
    graphs = {
        "encoder": Servable(Encoder(coder), [image], [VectorOutput(name="z", shape=shape)]),
        "decoder": Servable(Decoder(coder), [z], [_answer(run)]),
        "coder": Servable(coder, [image], [_answer(run)]),
    }
    return Offer(graphs, {"encode": "encoder", "generate": "decoder", "translate": "coder"}, size)


def _from_posterior(run: LoadedRun) -> Offer:
    coder = cast(Any, run.recipe.generator)
    shape, image = (coder.latent,), _picture(run)
    inputs = (Latent(name="z", shape=shape), TRUNCATION)
    offered = _pictures(coder, inputs, torch.zeros(2, coder.latent))
    graphs = {
        **offered.graphs,
        "encoder": Servable(Encoder(coder), [image], [VectorOutput(name="z", shape=shape)]),
        "coder": Servable(
            Resampler(coder), [image, Noise(name="noise", shape=shape), STRENGTH], [_answer(run)]
        ),
    }
    tasks: dict[Task, str] = {"encode": "encoder", "translate": "coder"}
    return Offer(graphs, {**offered.tasks, **tasks}, offered.size)


def _picture(run: LoadedRun) -> Image:
    return Image(name="image", channels=run.dataset["channels"])


def _answer(run: LoadedRun) -> ImageOutput:
    return ImageOutput(name="reconstruction", channels=run.dataset["channels"])


# --- Translators: from picture to picture. ---


def _from_source(run: LoadedRun) -> Offer:
    translator, data = cast(Any, run.recipe.generator), run.dataset
    inputs = translator_inputs(translator, data["source_channels"])
    answer = ImageOutput(name="translation", channels=data["channels"])
    graphs = {"translator": Servable(translator, inputs, [answer])}
    size = translator_size(translator, data["size"])
    return Offer(graphs, {"translate": "translator"}, size)


def _from_domains(run: LoadedRun) -> Offer:
    translator = cast(Any, run.recipe.generator)
    graphs = {name: Servable(*part) for name, part in domain_parts(translator, run.dataset).items()}
    size = translator_size(translator, run.dataset["size"])
    return Offer(graphs, {"translate": "translator", "encode": "style"}, size)


# --- Energies: how unusual a picture is. ---


def _from_latent_and_scores(run: LoadedRun) -> Offer:
    drawn, recipe = _from_latent(run), cast(Any, run.recipe)
    channels = cast(ImageOutput, drawn.graphs["generator"].outputs[0]).channels
    pixels = VectorOutput(name="error", shape=(run.config.data.size, run.config.data.size))
    energy = Servable(
        Scored(recipe.discriminator, recipe.energy, recipe.energies),
        [Image(name="image", channels=channels)],
        [ScoreOutput(name="energy"), ScoreOutput(name="share_below"), pixels],
    )
    graphs, tasks = {**drawn.graphs, "energy": energy}, {**drawn.tasks, "score": "energy"}
    return Offer(graphs, tasks, drawn.size)


SERVABLES: dict[str, Callable[[LoadedRun], Offer]] = {
    "gan": _from_latent,
    "dcgan": _from_latent,
    "cgan": _from_latent_and_label,
    "autoencoder": _from_autoencoder,
    "vae": _from_posterior,
    "ebgan": _from_latent_and_scores,
    "pix2pix": _from_source,
    "text": _from_latent_and_text,
    "unpaired": _from_domains,
}
