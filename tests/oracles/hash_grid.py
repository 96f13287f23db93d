"""Instant-NGP's encoding written down one corner at a time, in the dtype of its inputs."""

import itertools

import torch


def entry(corner, resolution, table_size):
    """Index of a lattice corner within its level; `corner` holds Python integers."""
    x, y, z = corner
    side = resolution + 1
    if side**3 <= table_size:
        return x + side * y + side * side * z
    mixed = x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)
    return mixed % table_size


def encode(points, table, levels, open_levels):
    """Give N x 2 L features; differentiable by torch itself."""
    columns = []
    for level, resolution in enumerate(levels.resolutions):
        if level >= open_levels:
            columns.append(torch.zeros(len(points), 2, dtype=table.dtype))
            continue
        at = points.clamp(0, 1) * resolution
        low = at.detach().floor().long().clamp_max(resolution - 1)
        part = at - low
        total = torch.zeros(len(points), 2, dtype=table.dtype)
        for upper in itertools.product((0, 1), repeat=3):
            corners = (low + torch.tensor(upper)).tolist()
            index = [entry(corner, resolution, levels.table_size) for corner in corners]
            share = torch.where(torch.tensor(upper, dtype=torch.bool), part, 1 - part)
            values = table[torch.tensor(index) + levels.offsets[level]]
            total = total + share.prod(dim=-1, keepdim=True) * values
        columns.append(total)
    return torch.cat(columns, dim=-1)
