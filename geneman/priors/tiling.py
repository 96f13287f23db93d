"""Several views in one image, for one call of the denoiser: the paper's multi-view trick.

The views are buried in the same noise and laid side by side; the denoiser's convolutions and
attention see them together, so that what it adds to one agrees with what it adds to the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.errors import OptionError
from geneman.priors.diffusion import Denoiser


@dataclass(frozen=True)
class Tiled:
    """A denoiser that sees each so many images of its batch as one.

    What it is told (`conditions`) must be the same for the images that share a tile; each
    condition of the first one counts. Conditions that are maps (B C H W) are tiled as well.
    """

    denoiser: Denoiser
    columns: int
    rows: int = 1

    def __call__(
        self, sample: Float[Tensor, "b c h w"], timestep: Tensor, **conditions: Tensor
    ) -> Float[Tensor, "b c h w"]:
        """Ask the denoiser about whole tiles.

        Raises:
            OptionError: The batch does not fill whole tiles.
        """
        each = self.columns * self.rows
        if len(sample) % each:
            raise OptionError(
                f"Views come in whole tiles of {each}",
                value=f"{len(sample)} views",
                remedy=f"ask for a multiple of {each}, or for smaller tiles",
            )
        told: Mapping[str, Tensor] = {
            name: tiled(value, self.columns, self.rows) if value.ndim == 4 else value[::each]  # noqa: PLR2004 (B C H W)
            for name, value in conditions.items()
        }
        answer = self.denoiser(tiled(sample, self.columns, self.rows), timestep[::each], **told)
        whole = answer if isinstance(answer, Tensor) else answer.sample
        return untiled(whole, self.columns, self.rows)


def tiled(
    views: Float[Tensor, "b c h w"], columns: int, rows: int = 1
) -> Float[Tensor, "t c tall wide"]:
    """Lay each `rows` x `columns` views side by side, row by row; the inverse of `untiled`."""
    count, channels, height, width = views.shape
    grid = views.reshape(count // (rows * columns), rows, columns, channels, height, width)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, rows * height, columns * width)


def untiled(
    images: Float[Tensor, "t c tall wide"], columns: int, rows: int = 1
) -> Float[Tensor, "b c h w"]:
    """Cut tiles into their views again."""
    count, channels, tall, wide = images.shape
    grid = images.reshape(count, channels, rows, tall // rows, columns, wide // columns)
    return torch.flatten(grid.permute(0, 2, 4, 1, 3, 5), 0, 2)
