"""A surface that is being learnt, and the band of tetrahedra that follows it."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geneman.errors import EmptySurfaceError
from geneman.fields.networks import SdfField
from geneman.fields.tetrahedra import Band, Lattice, band_along, band_of, evaluate
from geneman.mesh import Mesh


class Shape:
    """The learnt distance and the band of tetrahedra that follows its surface."""

    def __init__(self, field: SdfField) -> None:
        """Begin without a band: the first `surface` builds it."""
        self.field = field
        self._band: Band | None = None
        self._outside: Tensor | None = None
        self._first: Tensor | None = None

    def surface(self, resolution: int) -> tuple[Mesh, Float[Tensor, ""]]:
        """Extract the mesh, and move the band first where the surface has come to its rim.

        Args:
            resolution: Cells along the box's longest side; another than before makes a new band.

        Returns:
            The mesh, differentiably, and the mean squared deviation of the distance
            from the first one, within the band.
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
        assert self._first is not None
        return mesh, (values - self._first).square().mean()

    def state_dict(self) -> dict[str, object]:
        """Give the band's cells: their history decides when it moves next."""
        if self._band is None or self._outside is None:
            return {}
        resolution = torch.tensor([self._band.lattice.resolution])
        return {"cells": self._band.cells, "resolution": resolution, "outside": self._outside}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Build the band again from its cells."""
        cells, resolution = state_dict.get("cells"), state_dict.get("resolution")
        outside = state_dict.get("outside")
        if isinstance(cells, Tensor) and isinstance(resolution, Tensor):
            self._take(band_of(cells, Lattice(self.field.box, int(resolution))))
            self._outside = outside if isinstance(outside, Tensor) else None

    def _values(self) -> Float[Tensor, "v"]:
        assert self._band is not None
        assert self._first is not None
        return self._first + self.field.added(self._band.points)

    def _rebuild(self, resolution: int) -> None:
        band = band_along(self.field.distance, Lattice(self.field.box, resolution))
        self._take(band)
        self._outside = evaluate(self.field.distance, band.points[band.rim]) >= 0

    def _take(self, band: Band) -> None:
        # The first distance is frozen: it is looked up once for as long as the band stays.
        self._band, self._first = band, evaluate(self.field.initial, band.points)


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
