"""How much of a picture survives a coder, beside principal components and JPEG; a VAE's bound.

``python -m bench.coders RUN``, for a trained run of ``autoencoder`` or ``vae``, on the test split
of what it learnt from. Squared errors are of pixels clipped to [0, 1], whoever made them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table
from sklearn.decomposition import PCA
from torch import Tensor, nn

from bench.command import BenchError, console, run
from bench.result import Result
from export.coders import Blocks
from training.data import load
from training.data.photograph_blocks import photographs
from training.metrics.judge import to_tensor
from training.metrics.principal import Rows, principal_axes, rows_of, squared_errors
from training.metrics.reconstruction import largest_angle_degrees, psnr_db
from training.recipe import Batch
from training.recipes.autoencoder import Autoencoder, Coder
from training.recipes.vae import VAE, VariationalCoder
from training.run import LoadedRun, load_run

LEVELS = 256  # of a number of a code, when a photograph is stored: a byte
CHUNK = 500

Row = dict[str, Any]
Grey = NDArray[np.uint8]


def reconstruction(loaded: LoadedRun) -> Iterator[Row]:
    """The squared error on held-out pictures, and that of PCA with as many numbers."""
    seen, unseen = (
        load(loaded.config.data.source, split=split, size=loaded.dataset["size"]).images
        for split in ("train", "test")
    )
    coder = cast(Any, loaded.recipe.generator)
    axes = principal_axes(seen, coder.latent)
    for name, images in (("training", seen), ("held-out", unseen)):
        pictures = to_tensor(images)
        difference = through(coder, pictures).clip(-1, 1) - pictures
        ours = float(difference.square().mean()) / 4
        theirs = float(squared_errors(axes, images, clipped=True).mean())
        row = {"pictures": name, "count": len(images), "mse": ours, "pca_mse": theirs}
        yield row | {"times_pca": ours / theirs}
    recipe = loaded.recipe
    if isinstance(recipe, Autoencoder) and recipe.config.activation == "linear":
        last = next(m for m in coder.decoder if isinstance(m, nn.Linear))
        spanned = last.weight.detach().numpy().T
        yield {"largest_angle_degrees": largest_angle_degrees(spanned, axes.components_)}


@torch.no_grad()
def through(coder: Coder | VariationalCoder, pictures: Tensor) -> Tensor:
    """Pictures as their codes tell them; of a posterior, as its mean does."""
    variational = isinstance(coder, VariationalCoder)
    parts = [
        coder(coder.encode(x)) if variational else coder(x) for x in torch.split(pictures, CHUNK)
    ]
    return torch.cat(parts)


def compression(loaded: LoadedRun) -> Iterator[Row]:
    """Each whole photograph in a byte per number of each block's code, and a JPEG of that size.

    Its left three quarters were learnt from; ``held_out`` is the PSNR of the rest alone. Weights,
    axes and the ranges of their codes are of the blocks learnt from, and no part of the bytes.
    """
    coder = cast(Coder, loaded.recipe.generator)
    blocks = load(loaded.config.data.source).images
    axes = principal_axes(blocks, coder.latent)
    by_ours = Bytes.of(encoded(coder, blocks))
    by_theirs = Bytes.of(axes.transform(rows_of(blocks)))
    side = loaded.dataset["size"]
    for name, whole in zip(loaded.dataset["classes"], photographs(), strict=True):
        picture = whole[: len(whole) // side * side]
        ours = by_coder(coder, by_ours, side, picture)
        theirs = by_components(axes, by_theirs, side, picture)
        nbytes = picture.size // side**2 * coder.latent
        quality, jpeg = jpeg_within(picture, nbytes)
        for method, found in (("ours", ours), ("PCA", theirs), (f"JPEG {quality}", jpeg)):
            psnr = {"psnr_db": psnr_db(found, picture)}
            psnr["held_out_psnr_db"] = psnr_db(found[:, 480:], picture[:, 480:])
            yield {"photograph": name, "method": method, "bytes": nbytes} | psnr


@dataclass(frozen=True)
class Bytes:
    """Codes [..., Z] in a byte per number, between the least and the greatest of known ones."""

    low: Rows
    step: Rows

    @classmethod
    def of(cls, known: Rows) -> Bytes:
        """By codes [N, Z]."""
        low, high = known.min(0), known.max(0)
        return cls(low, np.maximum(high - low, 1e-6) / (LEVELS - 1))

    def __call__(self, codes: Rows) -> Rows:
        """What is left of the codes."""
        told = np.clip(np.round((codes - self.low) / self.step), 0, LEVELS - 1)
        return told * self.step + self.low


@torch.no_grad()
def encoded(coder: Coder, images: NDArray[np.uint8]) -> Rows:
    """The codes of pictures, [N, Z]."""
    parts = torch.split(to_tensor(images), CHUNK)
    return torch.cat([coder.encode(x) for x in parts]).numpy().astype(np.float64)


@torch.no_grad()
def by_coder(coder: Coder, rounded: Bytes, side: int, picture: Grey) -> Grey:
    """The picture from the rounded codes of its blocks."""
    blocks = Blocks(coder, side)
    codes = blocks.encode(to_tensor(picture[None, ..., None])).permute(0, 2, 3, 1)
    told = torch.from_numpy(rounded(codes.numpy().astype(np.float64))).float()
    return levels(blocks.decode(told.permute(0, 3, 1, 2))[0, 0].numpy())


def by_components(axes: PCA, rounded: Bytes, side: int, picture: Grey) -> Grey:
    """The same with principal components of blocks."""
    height, width = picture.shape
    cut = picture.reshape(height // side, side, width // side, side).transpose(0, 2, 1, 3)
    codes = axes.transform(rows_of(cut.reshape(-1, side, side, 1)))
    found = axes.inverse_transform(rounded(codes))
    laid = found.reshape(height // side, width // side, side, side).transpose(0, 2, 1, 3)
    return levels(2 * laid.reshape(height, width) - 1)


def levels(pixels: NDArray[np.floating]) -> Grey:
    """[-1, 1] to uint8."""
    return np.clip(np.round((pixels + 1) * 127.5), 0, 255).astype(np.uint8)


def jpeg_within(picture: Grey, nbytes: int) -> tuple[int, Grey]:
    """The best quality whose file is not larger, and its pixels."""
    for quality in range(95, 0, -1):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= nbytes:
            break
    return quality, np.asarray(Image.open(file))


@torch.no_grad()
def bound(loaded: LoadedRun, seed: int = 0) -> Iterator[Row]:
    """The negative evidence lower bound in nats per held-out picture, by one draw for each."""
    recipe = cast(VAE, loaded.recipe)
    data = load(loaded.config.data.source, split="test", size=loaded.dataset["size"])
    torch.manual_seed(seed)
    parts = torch.split(to_tensor(data.images), CHUNK)
    sums, means = torch.zeros(2, dtype=torch.float64), []
    for x in parts:
        nll, kl, mean = recipe.bound(Batch(x))
        sums += len(x) * torch.stack([nll, kl]).double()
        means.append(mean)
    nll_nats, kl_nats = (sums / len(data)).tolist()
    active = int((torch.cat(means).var(0) > 0.01).sum())
    found = {"nats": nll_nats + kl_nats, "nll_nats": nll_nats, "kl_nats": kl_nats}
    yield {"pictures": "held-out", "count": len(data), **found, "active": active}


def main(
    path: Annotated[Path, typer.Argument(help="A run of autoencoder or vae.")],
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Measure a coder."""
    loaded = load_run(path)
    system = loaded.config.recipe.system
    if system not in ("autoencoder", "vae"):
        raise BenchError(f"{path} is a run of {system}: give one of autoencoder or vae")
    parts = {"reconstruction": list(reconstruction(loaded))}
    if system == "vae":
        parts["bound"] = list(bound(loaded))
    if getattr(loaded.config.recipe, "blocks", False):
        parts["compression"] = list(compression(loaded))
    for title, rows in parts.items():
        console().print(table(f"{loaded.config.preset}: {title}", rows))
    result = Result("coders", preset=loaded.config.preset, images_seen=loaded.images_seen, **parts)
    result.update(complete=True)
    result.write(json)


def table(title: str, rows: list[Row]) -> Table:
    """Rows with the same columns, and below them what has others."""
    shown = Table(title=title, title_justify="left")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(*(_cell(row.get(name, "")) for name in names))
    return shown


def _cell(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(main)
