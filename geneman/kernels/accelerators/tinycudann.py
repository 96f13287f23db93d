"""tiny-cuda-nn (BSD-3-Clause): the hash grid. Its interface as of version 2.0.

N points, L levels, T entries of all levels together.

Its own grid of many levels is not ours: its resolutions are not whole numbers of cells, and every
level is shifted by half a cell. A table would then mean something else on each machine. But a
grid of one level, with one corner more than we have cells, has our cells, our order of corners
and our hash; what is left is the shift, and that each level takes up a multiple of 8 entries.
So we ask for a composite of such grids and give each its own shifted points.

Gradients of the table are added up in any order: two runs agree to rounding, not to the bit.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from geneman.errors import MissingComponentError
from geneman.kernels.hash_grid import FEATURES, HashLevels

MULTIPLE = 8
"""Entries to which tiny-cuda-nn rounds the size of a level up."""


def encode(
    points: Float[Tensor, "n 3"],
    table: Float[Tensor, "t 2"],
    levels: HashLevels,
    *,
    open_levels: int | None = None,
) -> Float[Tensor, "n features"]:
    """Look points up in every level of a hash grid: see `kernels.hash_grid.encode`.

    Args:
        points: In the unit cube; those outside are moved to its surface and get no gradient.
        table: Entries of all levels in our layout, float32 or bfloat16.
        levels: The layout of `table`.
        open_levels: The finer levels from here on give 0.

    Raises:
        MissingComponentError: The installed version lays its tables out in another way.
    """
    count = levels.count if open_levels is None else min(open_levels, levels.count)
    if count == 0 or len(points) == 0:
        return points.new_zeros(len(points), FEATURES * levels.count)
    inside = (points > 0) & (points < 1)
    held = torch.where(inside, points, points.detach().clamp(0, 1))
    shifts = [0.5 / cells for cells in levels.resolutions[:count]]
    shifted = torch.cat([held - shift for shift in shifts], dim=1)
    grids = _grids(levels, count)
    entries = _with_gaps(table.float(), levels, count).flatten()
    if entries.shape != grids.params.shape:
        raise MissingComponentError(
            "tiny-cuda-nn must keep its tables as version 2.0 does",
            value=f"{len(grids.params)} numbers where {len(entries)} are known",
            remedy="set GENEMAN_ACCELERATORS=none, or install version 2.0",
        )
    features = torch.func.functional_call(grids, {"params": entries}, (shifted,))
    return pad(features, (0, FEATURES * (levels.count - count)))


@functools.cache
def _grids(levels: HashLevels, count: int) -> Any:
    """Make grids of one level each, laid side by side; their own parameters are never read."""
    import tinycudann

    nested = [
        {
            "otype": "HashGrid",
            "hash": "CoherentPrime",
            "interpolation": "Linear",
            "n_levels": 1,
            "n_features_per_level": FEATURES,
            "log2_hashmap_size": levels.table_size.bit_length() - 1,
            "base_resolution": cells + 1,  # corners along a side
            "per_level_scale": 1.0,
            "n_dims_to_encode": 3,
        }
        for cells in levels.resolutions[:count]
    ]
    config = {"otype": "Composite", "reduction": "Concatenation", "nested": nested}
    return tinycudann.Encoding(3 * count, config, dtype=torch.float32)


def _with_gaps(table: Tensor, levels: HashLevels, count: int) -> Tensor:
    """Lay the open levels out as tiny-cuda-nn does: the gaps behind them are never read."""
    parts = []
    for level in range(count):
        part = table[levels.offsets[level] : levels.offsets[level + 1]]
        full = len(part) == levels.table_size
        parts.append(part if full else pad(part, (0, 0, 0, -len(part) % MULTIPLE)))
    return torch.cat(parts)
