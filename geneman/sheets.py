"""Two sides of a person at the pixels of one picture, joined along the outline.

G pixels along a side.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def closed_sheets(inside: Bool[Tensor, "g g"]) -> Int[Tensor, "f 3"]:
    """Give the triangles of both sheets and of the wall between them, facing outward.

    Args:
        inside: The person's pixels; those that are no corner of a cell inside belong to nothing.

    Returns:
        Corners: pixels row by row, those of the side that the camera sees first.
    """
    quads, count = _quads(inside), inside.numel()
    front = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    a, b = _wall(front).unbind(dim=1)
    upper, lower = torch.stack([b, a, a + count], dim=1), torch.stack([b, a + count, b + count], 1)
    return torch.cat([front, front.flip(1) + count, upper, lower])


def _quads(inside: Bool[Tensor, "g g"]) -> Int[Tensor, "q 4"]:
    """Give the cells whose four corners are inside, counter-clockwise as the camera sees them."""
    whole = inside[:-1, :-1] & inside[1:, :-1] & inside[1:, 1:] & inside[:-1, 1:]
    row, column = whole.nonzero(as_tuple=True)
    grid = inside.shape[1]
    first = row * grid + column
    return torch.stack([first, first + grid, first + grid + 1, first + 1], dim=1)


def _wall(front: Int[Tensor, "f 3"]) -> Int[Tensor, "e 2"]:
    """Give the directed edges that no other triangle of the sheet runs along the other way."""
    edges = torch.cat([front[:, [0, 1]], front[:, [1, 2]], front[:, [2, 0]]])
    size = int(front.max()) + 1 if len(front) else 1
    own, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    return edges[~torch.isin(own, back)]
