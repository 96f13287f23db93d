"""Marching tetrahedra over a whole box in plain torch, as DMTet and kaolin do it.

Every cube of the box is cut into six tetrahedra (Kuhn), every corner has a value, and the crossed
edges are found by sorting those of all crossed tetrahedra.
"""

import itertools

import torch

TRIANGLES = torch.tensor(
    [
        [-1, -1, -1, -1, -1, -1],
        [1, 0, 2, -1, -1, -1],
        [4, 0, 3, -1, -1, -1],
        [1, 4, 2, 1, 3, 4],
        [3, 1, 5, -1, -1, -1],
        [2, 3, 0, 2, 5, 3],
        [1, 4, 0, 1, 5, 4],
        [4, 2, 5, -1, -1, -1],
        [4, 5, 2, -1, -1, -1],
        [4, 1, 0, 4, 5, 1],
        [3, 2, 0, 3, 5, 2],
        [1, 3, 5, -1, -1, -1],
        [4, 1, 2, 4, 3, 1],
        [3, 0, 4, -1, -1, -1],
        [2, 0, 1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1],
    ]
)
"""Edges of a tetrahedron's triangles, by which of its corners are inside; seen from there."""
EDGES = torch.tensor([0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3])


def lattice(box, shape):
    """Give the corners (V x 3) of a box cut into cubes, and the tetrahedra (T x 4, int64)."""
    axes = [
        torch.linspace(a, b, n + 1) for a, b, n in zip(box.minimum, box.maximum, shape, strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    number = torch.arange(len(points)).reshape([n + 1 for n in shape])
    tets = []
    for order in itertools.permutations(range(3)):
        at = [0, 0, 0]
        corners = [_shifted(number, at)]
        for axis in order:
            at[axis] = 1
            corners.append(_shifted(number, at))
        if sum(a > b for a, b in itertools.combinations(order, 2)) % 2:
            corners[1:3] = corners[2:0:-1]  # all of one hand
        tets.append(torch.stack(corners, dim=1))
    return points, torch.cat(tets)


def _shifted(number, at):
    x, y, z = (slice(1, None) if step else slice(-1) for step in at)
    return number[x, y, z].reshape(-1)


def extract(points, values, tets):
    """Give vertices, differentiable in `values`, and faces of the zero of `values`."""
    with torch.no_grad():
        inside = values < 0
        count = inside[tets].sum(dim=-1)
        crossed = tets[(count > 0) & (count < 4)]
        edges = crossed[:, EDGES].reshape(-1, 2).sort(dim=1).values
        unique, number = torch.unique(edges, dim=0, return_inverse=True)
        used = inside[unique].sum(dim=-1) == 1
        mapping = torch.full((len(unique),), -1).masked_scatter(used, torch.arange(int(used.sum())))
        edge_of = mapping[number].reshape(-1, 6)
        ends = unique[used]
        pattern = (inside[crossed] * torch.tensor([1, 2, 4, 8])).sum(dim=-1)
        rows = TRIANGLES[pattern]
        faces = torch.cat(
            [
                edge_of[rows[:, at] >= 0].gather(1, rows[rows[:, at] >= 0][:, at : at + 3])
                for at in (0, 3)
            ]
        )
    a, b = values[ends].unbind(dim=1)
    share = (a / (a - b))[:, None]
    return points[ends[:, 0]] + share * (points[ends[:, 1]] - points[ends[:, 0]]), faces.flip(1)
