"""A band of tetrahedra along a surface: as fine as wanted, and no larger than the surface.

The lattice is body-centred cubic: corners and centres of cubic cells. A tetrahedron joins the
centres of two cells that share a side with one edge of that side; all have the same shape, four
of them around each shared side, and no direction is preferred as it is by cubes cut in six.

N cells, V lattice points, E edges, T tetrahedra.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geneman.errors import EmptySurfaceError
from geneman.kernels.marching_tets import march, zero_points
from geneman.mesh import Box, Mesh

SignedDistance = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
"""Positive outside, in scene units; called with a few hundred thousand points at most."""

CHUNK = 1 << 18
"""Points that a distance is asked for at once: bounds the memory of a field's activations."""
COARSEST = 8
"""Cells along the longest side of the box where the search for the surface begins, at least."""
STEEPEST = 1.5
"""Slope that the distance may have while a cell that the surface crosses is still found."""
SPARSE = 4
"""Keys are numbered by flags while there may be at most so many times as many, else by sorting:
the memory grows with the surface however fine the lattice."""
DIAGONAL = 3**0.5 / 2
"""From a cell's centre to its corner, in sides."""


@dataclass(frozen=True)
class Lattice:
    """Cubic cells that fill a box."""

    box: Box
    resolution: int
    """Cells along the longest side of the box."""

    @property
    def spacing(self) -> float:
        """Side of a cell in scene units."""
        return self.box.longest / self.resolution

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along each side: as many as cover the box."""
        x, y, z = (max(round(side / self.spacing + 0.499), 1) for side in self.box.size)
        return x, y, z

    def place(self, halves: Int[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Give the world points at coordinates counted in half cells."""
        corner = torch.tensor(self.box.minimum, device=halves.device)
        return corner + halves * (self.spacing / 2)

    def wall(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Give how far points lie outside the box less one cell: a shape is cut off there."""
        half = points.new_tensor(self.shape) * (self.spacing / 2)
        centre = points.new_tensor(self.box.minimum) + half
        return ((points - centre).abs() - half).amax(dim=-1) + self.spacing


@dataclass(frozen=True)
class Band:
    """The tetrahedra along a surface."""

    lattice: Lattice
    cells: Int[Tensor, "n 3"]
    """Coordinates of the cells, ascending: all that must be kept to build the rest again."""
    points: Float[Tensor, "v 3"]
    """Lattice points in world coordinates: the cells' centres first, then their corners."""
    corners: Int[Tensor, "n 8"]
    """Which points are the corners of each cell; its centre has the cell's own number."""
    rim: Bool[Tensor, "v"]
    """Points of cells that have no neighbour on some side: no surface may pass them."""
    edges: Int[Tensor, "e 2"]
    tets: Int[Tensor, "t 4"]
    tet_edges: Int[Tensor, "t 6"]

    @functools.cached_property
    def wall(self) -> Float[Tensor, "v"]:
        """How far each point lies outside the box less one cell."""
        return self.lattice.wall(self.points)

    def crossed(self, values: Float[Tensor, "v"]) -> bool:
        """Say whether there is any surface."""
        solid = torch.maximum(values, self.wall) < 0
        return bool(solid.any() and not solid.all())

    def surface(self, values: Float[Tensor, "v"]) -> Mesh:
        """Extract where `values` (positive outside) cross 0; gradients flow to `values`."""
        values = torch.maximum(values, self.wall)
        ends, faces = march(values, self.edges, self.tets, self.tet_edges)
        return Mesh(zero_points(self.points, values, ends), faces)


def evaluate(distance: SignedDistance, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Call `distance` chunk by chunk, without gradients."""
    with torch.no_grad():
        return torch.cat([distance(chunk) for chunk in points.split(CHUNK)])


def band_along(
    distance: SignedDistance,
    lattice: Lattice,
    *,
    width: float = 2.0,
    device: torch.device | None = None,
) -> Band:
    """Build the band around the zero of a signed distance, coarse to fine.

    Where the shape reaches the box, it is closed one cell inside.

    Args:
        distance: Positive outside; its slope may reach `STEEPEST`.
        lattice: Box and resolution.
        width: How far a cell's nearest part may lie from the surface, in cells; 1 at least.
        device: Where the distance is asked and the band will be; the CPU unless given.

    Raises:
        EmptySurfaceError: The distance crosses zero nowhere in the box.
    """
    near, halvings = width * lattice.spacing, 0
    while lattice.resolution >> (halvings + 1) >= COARSEST:
        halvings += 1
    shape = torch.tensor(lattice.shape, device=device)
    axes = [torch.arange(-(-side // (1 << halvings)), device=device) for side in lattice.shape]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    bits = torch.arange(8, device=device)[:, None]
    children = bits >> torch.arange(2, -1, -1, device=device) & 1
    while True:
        side = lattice.spacing * (1 << halvings)
        centres = lattice.place((2 * cells + 1) << halvings)
        away = torch.maximum(evaluate(distance, centres), lattice.wall(centres)).abs()
        slope = STEEPEST if halvings else 1.0
        cells = cells[away <= near + slope * DIAGONAL * side]
        if halvings == 0:
            break
        halvings -= 1
        cells = (2 * cells[:, None] + children).reshape(-1, 3)
        cells = cells[((cells << halvings) < shape).all(dim=1)]
    if len(cells) == 0:
        raise EmptySurfaceError("the shape has no surface inside its box")
    return _closed(distance, band_of(cells, lattice))


def _closed(distance: SignedDistance, band: Band) -> Band:
    """Add cells where the surface passes the rim, until it passes nowhere.

    A distance that is steeper than `STEEPEST` somewhere may leave cells out that it crosses.
    """
    device = band.points.device
    shape = torch.tensor(band.lattice.shape, device=device)
    ahead = torch.eye(3, dtype=torch.int64, device=device)
    sides = torch.cat([ahead, -ahead])
    while True:
        values = evaluate(distance, band.points)
        if not band.crossed(values):
            raise EmptySurfaceError("the shape has no surface inside its box")
        solid = torch.maximum(values, band.wall) < 0
        centres = torch.arange(len(band.cells), device=device)
        all_points = torch.cat([centres[:, None], band.corners], dim=1)
        inside = solid[all_points].sum(dim=1)
        mixed = (inside > 0) & (inside < all_points.shape[1]) & band.rim[: len(band.cells)]
        around = (band.cells[mixed][:, None] + sides).reshape(-1, 3)
        around = around[((around >= 0) & (around < shape)).all(dim=1)]
        key = _key(band.cells, shape)
        added = torch.unique(_key(around, shape))
        added = added[~torch.isin(added, key)]
        if len(added) == 0:
            return band
        band = band_of(_unkey(torch.cat([key, added]), shape), band.lattice)


def band_of(cells: Int[Tensor, "n 3"], lattice: Lattice) -> Band:
    """Join the centres and corners of cells into tetrahedra.

    Args:
        cells: Coordinates of different cells, in any order.
        lattice: What they belong to.
    """
    device = cells.device
    shape = torch.tensor(lattice.shape, device=device)
    cells = cells[torch.argsort(_key(cells, shape))].long()
    count = len(cells)
    bits = torch.arange(8, device=device)[:, None] >> torch.arange(3, device=device) & 1
    corner_keys = _key(cells[:, None] + bits, shape + 1)
    corner_key, corner = _numbered(corner_keys, int((shape + 1).prod()))
    corners = _unkey(corner_key, shape + 1)
    del corner_keys, corner_key
    halves = torch.cat([2 * cells + 1, 2 * corners])
    sides = [_shared_sides(cells, shape, axis) for axis in range(3)]
    tets, centre_corner, long_keys, tips = _tets(sides, corner, count)
    # Edges: from centre to centre, one for each side; centre to corner; corner to corner.
    pairs = torch.cat([pair for pair, _ in sides])
    numbers = torch.arange(count, dtype=torch.int32, device=device)
    spokes = torch.stack([numbers[:, None].expand(-1, 8), corner + count], dim=-1)
    long_key, long_edge = _numbered(long_keys, 3 * len(corners))
    # Whoever meets an edge says the same of its upper end.
    upper = torch.empty_like(long_key, dtype=torch.int32)
    upper[long_edge] = tips
    long_ends = torch.stack([(long_key // 3 + count).to(torch.int32), upper], dim=1)
    del long_keys, tips, upper
    side = torch.arange(len(pairs), dtype=torch.int32, device=device)
    side = side[:, None].expand(-1, 4).reshape(-1, 1)
    tet_edges = torch.cat(
        [side, centre_corner + len(pairs), long_edge[:, None] + len(pairs) + 8 * count], dim=1
    )
    neighbours = torch.zeros(count, dtype=torch.int64, device=device).index_add(
        0, pairs.reshape(-1), torch.ones(pairs.numel(), dtype=torch.int64, device=device)
    )
    open_cell = neighbours < 6  # noqa: PLR2004 (sides of a cube)
    rim = torch.zeros(len(halves), dtype=torch.bool, device=device)
    rim[:count] = open_cell
    rim[corner[open_cell].reshape(-1).long() + count] = True
    return Band(
        lattice,
        cells,
        lattice.place(halves),
        corner.long() + count,
        rim,
        torch.cat([pairs, spokes.reshape(-1, 2), long_ends]),
        tets,
        tet_edges,
    )


def _key(cells: Int[Tensor, "*n 3"], shape: Int[Tensor, "3"]) -> Int[Tensor, "*n"]:
    """Number cells (or points) by their coordinates in a lattice of `shape`."""
    return (cells[..., 0] * shape[1] + cells[..., 1]) * shape[2] + cells[..., 2]


def _unkey(key: Int[Tensor, "n"], shape: Int[Tensor, "3"]) -> Int[Tensor, "n 3"]:
    """Give the coordinates back: the inverse of `_key`."""
    z, rest = key % shape[2], key // shape[2]
    return torch.stack([rest // shape[1], rest % shape[1], z], dim=1)


def _numbered(keys: Int[Tensor, "*n"], end: int) -> tuple[Int[Tensor, "k"], Int[Tensor, "*n"]]:
    """Number different keys below `end` as they ascend.

    Returns:
        The different keys, and the number of each given one, int32.
    """
    # In 64 bits numbers were most of the memory that a band takes while it is built.
    if end > SPARSE * keys.numel():
        found, numbers = torch.unique(keys, return_inverse=True)
        return found, numbers.to(torch.int32)
    there = torch.zeros(end, dtype=torch.bool, device=keys.device)
    there[keys.reshape(-1).long()] = True
    number = there.cumsum(0, dtype=torch.int32) - 1
    return there.nonzero()[:, 0], number[keys.long()]


def _shared_sides(
    cells: Int[Tensor, "n 3"], shape: Int[Tensor, "3"], axis: int
) -> tuple[Int[Tensor, "s 2"], int]:
    """Find the pairs of cells that touch along an axis, the lower one first."""
    key = _key(cells, shape)
    step = torch.nn.functional.one_hot(torch.tensor(axis, device=cells.device), 3)
    wanted = _key(cells + step, shape)
    found = torch.searchsorted(key, wanted).clamp(max=len(key) - 1)
    there = (key[found] == wanted) & (cells[:, axis] + 1 < shape[axis])
    return torch.stack([there.nonzero()[:, 0], found[there]], dim=1).to(torch.int32), axis


def _tets(
    sides: list[tuple[Int[Tensor, "_ 2"], int]], corner: Int[Tensor, "n 8"], count: int
) -> tuple[Int[Tensor, "t 4"], Int[Tensor, "t 4"], Int[Tensor, "t"], Int[Tensor, "t"]]:
    """Put four tetrahedra around each shared side.

    Returns:
        The points of each, the numbers of its four edges from centre to corner (8 n + local
        corner, for cell n); of its edge from corner to corner a key (3 c + 2 - axis, for the
        lower corner c) and the point at its upper end.
    """
    tets, spokes, long_keys, tips = [], [], [], []
    device = corner.device
    for pairs, axis in sides:
        right, up = (axis + 1) % 3, (axis + 2) % 3
        u, v = 1 << right, 1 << up
        # Around the side, counter-clockwise seen from the upper cell, as bits of the corner.
        ring = torch.tensor([0, u, u + v, v], dtype=torch.int32, device=device)
        here, there = ring, ring.roll(-1)
        lower, upper = pairs[:, :1], pairs[:, 1:]
        p = corner[lower, here + (1 << axis)] + count
        q = corner[lower, there + (1 << axis)] + count
        lower, upper = lower.expand(-1, 4), upper.expand(-1, 4)
        tets.append(torch.stack([lower, upper, p, q], dim=-1))
        spokes.append(
            torch.stack(
                [
                    8 * lower + here + (1 << axis),
                    8 * lower + there + (1 << axis),
                    8 * upper + here,
                    8 * upper + there,
                ],
                dim=-1,
            )
        )
        along = torch.tensor([right, up, right, up], dtype=torch.int32, device=device)
        long_keys.append(3 * (torch.minimum(p, q) - count) + 2 - along)
        tips.append(torch.maximum(p, q))
    return (
        torch.cat(tets).reshape(-1, 4),
        torch.cat(spokes).reshape(-1, 4),
        torch.cat(long_keys).reshape(-1),
        torch.cat(tips).reshape(-1),
    )
