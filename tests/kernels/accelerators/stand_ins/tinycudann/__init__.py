"""tiny-cuda-nn's `Encoding` as version 2.0 documents it, for composites of hash grids; slow."""

import itertools
import math

import torch

WORD = 0xFFFFFFFF  # its coordinates and indices are unsigned numbers of 32 bits
PRIMES = (1, 2654435761, 805459861)


class Grid:
    def __init__(self, config):
        assert config["otype"] == "HashGrid"
        assert config["hash"] == "CoherentPrime"
        assert config["interpolation"] == "Linear"
        assert config["n_features_per_level"] == 2
        assert config["n_dims_to_encode"] == 3
        self.most = 2 ** config["log2_hashmap_size"]
        growth = math.log2(config["per_level_scale"])
        self.scales = [
            2 ** (level * growth) * config["base_resolution"] - 1
            for level in range(config["n_levels"])
        ]
        self.corners = [math.ceil(scale) + 1 for scale in self.scales]
        self.sizes = [min(-(-(side**3) // 8) * 8, self.most) for side in self.corners]

    def __call__(self, points, params):
        columns = []
        for scale, side, table in zip(
            self.scales, self.corners, params.reshape(-1, 2).split(self.sizes), strict=True
        ):
            at = points * scale + 0.5
            low = at.detach().floor()
            part, total = at - low, 0
            for upper in itertools.product((0, 1), repeat=3):
                share = torch.where(torch.tensor(upper, dtype=torch.bool), part, 1 - part)
                index = place(low.long() + torch.tensor(upper), side, len(table))
                total = total + share.prod(dim=1, keepdim=True) * table[index]
            columns.append(total)
        return torch.cat(columns, dim=1)


def place(corner, side, size):
    x, y, z = (corner & WORD).unbind(dim=1)
    if size < side**3:
        mixed = x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]
        return (mixed & WORD) % size
    return ((x + y * side + z * side * side) & WORD) % size


class Encoding(torch.nn.Module):
    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        super().__init__()
        assert encoding_config["otype"] == "Composite"
        assert encoding_config["reduction"] == "Concatenation"
        assert dtype == torch.float32
        self.grids = [Grid(nested) for nested in encoding_config["nested"]]
        assert n_input_dims == 3 * len(self.grids)
        self.n_output_dims = sum(2 * len(grid.sizes) for grid in self.grids)
        count = sum(2 * sum(grid.sizes) for grid in self.grids)
        self.params = torch.nn.Parameter(torch.full((count,), torch.nan))

    def forward(self, x):
        assert self.params.dtype == torch.float32
        parts = self.params.split([2 * sum(grid.sizes) for grid in self.grids])
        each = zip(self.grids, x.split(3, dim=1), parts, strict=True)
        return torch.cat([grid(points, part) for grid, points, part in each], dim=1)
