"""A trained coder as what a bundle serves.

Either half alone, both with the noise between them as an input, or block by block over pictures of
any size.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.recipes.autoencoder import Coder
from training.recipes.vae import VariationalCoder, reparameterise


class Blocks(nn.Module):
    """A coder of square pictures on the blocks of larger ones: codes [N, Z, H/side, W/side]."""

    def __init__(self, coder: Coder, side: int) -> None:
        super().__init__()
        self.coder, self.side = coder, side

    def encode(self, images: Tensor) -> Tensor:
        """The code of each block, in its place."""
        count, channels, height, width = images.shape
        side, rows, columns = self.side, height // self.side, width // self.side
        cut = images.reshape(count, channels, rows, side, columns, side)
        blocks = cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, side, side)
        codes = self.coder.encode(blocks).reshape(count, rows, columns, self.coder.latent)
        return codes.permute(0, 3, 1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """The picture of each code, side by side."""
        count, latent, rows, columns = codes.shape
        blocks = self.coder.decode(codes.permute(0, 2, 3, 1).reshape(-1, latent))
        channels, side = blocks.shape[1], self.side
        laid = blocks.reshape(count, rows, columns, channels, side, side)
        whole = laid.permute(0, 3, 1, 4, 2, 5)
        return whole.reshape(count, channels, rows * side, columns * side)

    def forward(self, images: Tensor) -> Tensor:
        """The pictures again, as well as their codes tell them."""
        return self.decode(self.encode(images))


class Encoder(nn.Module):
    """Pictures to codes."""

    def __init__(self, coder: Coder | VariationalCoder | Blocks) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, image: Tensor) -> Tensor:
        """Codes; of a posterior, its mean."""
        return self.coder.encode(image)


class Decoder(nn.Module):
    """Codes to pictures."""

    def __init__(self, coder: Coder | Blocks) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, z: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        return self.coder.decode(z)


class Resampler(nn.Module):
    """Pictures as the posterior would tell them again; ``strength`` scales its noise per row."""

    def __init__(self, coder: VariationalCoder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, image: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        mean, log_variance = self.coder.posterior(image)
        z = reparameterise(mean, log_variance, strength[:, None] * noise)
        return self.coder(z)  # type: ignore[no-any-return]
