"""Instant-NGP's encoding in plain torch, all levels at once: what nerfstudio falls back to.

Where tiny-cuda-nn is missing, nerfstudio looks up the eight corners of all points and levels as
whole tensors, and lets torch differentiate. The layout of the table is ours, so that both give
the same features.
"""

import itertools

import torch


def encode(points, table, levels):
    """Give N x 2 L features; differentiable by torch itself."""
    resolution = torch.tensor(levels.resolutions)
    at = points.clamp(0, 1)[:, None] * resolution[:, None]
    low = torch.minimum(at.detach().floor().long(), resolution[:, None] - 1)
    part = at - low
    total = 0
    for upper in itertools.product((0, 1), repeat=3):
        entry = _entries(low + torch.tensor(upper), resolution, levels)
        share = torch.where(torch.tensor(upper, dtype=torch.bool), part, 1 - part).prod(dim=-1)
        total = total + share[..., None] * table[entry]
    return total.flatten(1)


def _entries(corners, resolution, levels):
    """Index each corner (N x L x 3) in the table."""
    side = resolution + 1
    x, y, z = corners.unbind(dim=-1)
    direct = x + side * (y + side * z)
    mixed = (x ^ (y * 2654435761) ^ (z * 805459861)) & (levels.table_size - 1)
    fits = side**3 <= levels.table_size
    return torch.where(fits, direct, mixed) + torch.tensor(levels.offsets[:-1])
