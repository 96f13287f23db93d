"""A surface that is being learnt, and the band of tetrahedra that follows it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geneman.errors import EmptySurfaceError
from geneman.fields.networks import SdfField
from geneman.fields.tetrahedra import Band, Lattice, band_along, band_of, evaluate
from geneman.mesh import Mesh

CORE = 0.5
"""Cells from the surface that it may move before all of the band is asked for again."""
PATIENCE = 8
"""Surfaces after which it is anyway: what appears elsewhere is seen then."""


@dataclass(frozen=True)
class _Known:
    """What the distance was when all of the band was asked for, and where that may change."""

    values: Float[Tensor, "v"]
    near: Int[Tensor, "n"]
    """The ends of all edges that are crossed or lead to the core: while only the core changes
    sides, a surface is extracted from their values alone. Of all others it needs the side."""
    shell: Bool[Tensor, "n"]
    """Those that are not of the core: no surface may come to them unseen."""
    outside: Bool[Tensor, "n"]

    @staticmethod
    def of(values: Float[Tensor, "v"], band: Band) -> "_Known":
        core, outside = values.abs() <= CORE * band.lattice.spacing, values >= 0
        here, there = band.edges.unbind(dim=1)
        wanted = core[here] | core[there] | (outside[here] != outside[there])
        marks = torch.zeros_like(core)
        marks[band.edges[wanted].reshape(-1)] = True
        near = marks.nonzero()[:, 0]
        return _Known(values, near, ~core[near], outside[near])

    def holds(self, near_values: Float[Tensor, "n"]) -> bool:
        """Say whether no surface has come to the shell since."""
        return not bool(((near_values >= 0) != self.outside)[self.shell].any())


class Shape:
    """The learnt distance and the band of tetrahedra that follows its surface."""

    def __init__(self, field: SdfField) -> None:
        """Begin without a band: the first `surface` builds it."""
        self.field = field
        self._band: Band | None = None
        self._outside: Tensor | None = None
        self._first: Tensor | None = None
        self._known: _Known | None = None
        self._age = 0

    def surface(self, resolution: int) -> tuple[Mesh, Float[Tensor, ""]]:
        """Extract the mesh, and move the band first where the surface has come to its rim.

        Args:
            resolution: Cells along the box's longest side; another than before makes a new band.

        Returns:
            The mesh, differentiably, and the mean squared deviation of the distance
            from the first one, near the surface.
        """
        if self._band is None or self._band.lattice.resolution != resolution:
            self._rebuild(resolution)
        values = self._values()
        assert self._band is not None
        if self._outside is None or not torch.equal(values[self._band.rim] >= 0, self._outside):
            self._rebuild(resolution)
            values = self._values()
        mesh = self._band.surface(values)
        if len(mesh.faces) == 0:
            raise EmptySurfaceError("the surface vanished while it was sculpted")
        assert self._first is not None and self._known is not None  # noqa: PT018
        near = self._known.near
        return mesh, (values[near] - self._first[near]).square().mean()

    def state_dict(self) -> dict[str, object]:
        """Give the band's cells and what is known of it: their history decides what comes next."""
        if self._band is None or self._outside is None or self._known is None:
            return {}
        return {
            "cells": self._band.cells,
            "resolution": torch.tensor([self._band.lattice.resolution]),
            "outside": self._outside,
            "values": self._known.values,
            "age": torch.tensor([self._age]),
        }

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Build the band again from its cells."""
        names = ("cells", "resolution", "outside", "values", "age")
        kept = [value for n in names if isinstance(value := state_dict.get(n), Tensor)]
        if len(kept) == len(names):
            cells, resolution, outside, values, age = kept
            lattice = Lattice(self.field.box, int(resolution))
            band = band_of(cells.to(self.field.grid.device), lattice)
            self._take(band)
            self._outside = outside.to(band.points.device)
            self._known, self._age = _Known.of(values.to(band.points.device), band), int(age)

    def _values(self) -> Float[Tensor, "v"]:
        """Ask for the distance near the surface, and now and then for all of it."""
        assert self._band is not None
        assert self._first is not None
        points, first = self._band.points, self._first
        if self._known is not None and self._age < PATIENCE:
            near = self._known.near
            near_values = first[near] + self.field.added(points[near])
            if self._known.holds(near_values):
                self._age += 1
                return self._known.values.index_copy(0, near, near_values)
        values = first + self.field.added(points)
        self._known, self._age = _Known.of(values.detach(), self._band), 1
        return values

    def _rebuild(self, resolution: int) -> None:
        lattice, device = Lattice(self.field.box, resolution), self.field.grid.device
        band = band_along(self.field.distance, lattice, device=device)
        self._take(band)
        self._outside = evaluate(self.field.distance, band.points[band.rim]) >= 0

    def _take(self, band: Band) -> None:
        # The first distance is frozen: it is looked up once for as long as the band stays.
        self._band, self._first = band, evaluate(self.field.initial, band.points)
        self._known = None


def largest_component(mesh: Mesh) -> Mesh:
    """Keep the piece with the most triangles, and only the vertices that it uses."""
    faces = mesh.faces.long()
    corners, count = faces.cpu().numpy(), len(mesh.vertices)
    ends = np.concatenate([corners[:, :2], corners[:, 1:]])
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (count, count))
    _, label = connected_components(graph, directed=False)
    kept = label[corners[:, 0]] == np.bincount(label[corners[:, 0]]).argmax()
    faces = faces[torch.from_numpy(kept).to(faces.device)]
    used, numbered = torch.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], numbered)
