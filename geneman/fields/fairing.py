"""Make fair what nobody has seen: the flanks between the two sides of a reference view.

No render of the reference camera says how the surface bends where it turns away from it, so
optimisation leaves its noise there. Fairing replaces that strip by the smoothest sheet that
joins what is seen on either side and passes through the outline that the camera sees.

V vertices, F triangles.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import linalg
from torch.nn.functional import normalize

from geneman.camera import Orbit
from geneman.kernels.rasterise import rasterise
from geneman.mesh import Mesh, vertex_normals

GRAZING, FACING = 0.25, 0.6
"""Cosines to the ray below which a vertex is a flank's, and above which it is held fast."""

RIM_GRAZING, RIM_FACING = 0.5, 0.9
"""The same close to the outline, where a cleft runs along each side's end."""

RIM_PIXELS = (8.0, 24.0)
"""How far from the outline, in pixels of `OUTLINE_SIZE`, that is so, and where it ends."""

HELD = 30.0
"""Weight of what is held: not even bumps of one edge's length give way."""

OUTLINE_SIZE, OUTLINE_REACH = 1024, 1.5
"""Pixels of the picture in which the outline is looked for, and how close to it a vertex lies:
a pixel's centre inside the outline is half a pixel to one from it."""

Vectors = NDArray[np.float64]


def fair_flanks(mesh: Mesh, camera: Orbit, length: float) -> Mesh:
    """Smooth the vertices that the camera's rays graze, joining the others tangentially.

    Minimises |L x|^2 + w |x - x0|^2 + o (n . (x - x0))^2 (Botsch & Kobbelt, 2004) with the
    uniform Laplacian L; w is `HELD` where the surface faces the camera or its opposite, and
    falls on the flanks to where bumps shorter than `length` are gone; o is `HELD` at the
    vertices on the outline, so that these move in depth and along the outline only.

    Args:
        mesh: A closed mesh, world coordinates.
        camera: Whose rays count; both of its sides are held.
        length: In scene units; 0 leaves the mesh alone.
    """
    if length <= 0:
        return mesh
    places = mesh.vertices.double().cpu().numpy()
    faces = mesh.faces.cpu().numpy().astype(np.int64)
    links = _links(faces, len(places))
    laplacian = (sparse.identity(len(places)) - _averaging(links)).tocsr()
    bending = (laplacian.T @ laplacian).tocsr()
    edges = places[faces] - places[np.roll(faces, 1, axis=1)]
    # Bumps of |L|^2 = 1/n^4 have a length of n edges.
    floor = (float(np.linalg.norm(edges, axis=-1).mean()) / length) ** 4
    hold = _Hold.of(mesh, camera, links, min(floor, 1.0))
    moves = _solve(bending, hold, -(bending @ places))
    return Mesh(mesh.vertices + torch.from_numpy(moves).to(mesh.vertices), mesh.faces)


def _links(faces: NDArray[np.int64], count: int) -> sparse.csr_matrix:
    """Join the ends of every edge; a closed mesh names each edge once in each direction."""
    first, second = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    ones = np.ones(len(first))
    return sparse.csr_matrix((ones, (first, second)), shape=(count, count)).sign()


def _averaging(links: sparse.csr_matrix) -> sparse.csr_matrix:
    """Give the matrix that replaces each vertex by its neighbours' mean."""
    return (sparse.diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links).tocsr()


def _averaged(averaging: sparse.csr_matrix, values: Vectors, rounds: int) -> Vectors:
    for _ in range(rounds):
        values = averaging @ values
    return values


@dataclass(frozen=True)
class _Hold:
    """What keeps the vertices where they are."""

    everywhere: NDArray[np.float64]
    """V: weight of a move in any direction."""
    outward: Vectors
    """V x 3: where the outline's normal points, unit length; 0 off the outline."""

    @staticmethod
    def of(mesh: Mesh, camera: Orbit, links: sparse.csr_matrix, floor: float) -> "_Hold":
        """Weigh the vertices by how they lie to the camera's rays."""
        averaging = _averaging(links)
        rays = normalize(camera.position().to(mesh.vertices) - mesh.vertices, dim=-1)
        normals = vertex_normals(mesh)
        cosine = (normals * rays).sum(dim=-1, keepdim=True)
        toward = cosine[:, 0].double().cpu().numpy()
        outward = (normals - cosine * rays).double().cpu().numpy()
        pixels = _outline_distance(mesh, camera)
        # Normals on a bumpy strip jump: what counts is how the neighbourhood lies.
        facing = _averaged(averaging, np.abs(toward), 4)
        inner = _rising(pixels, *RIM_PIXELS)
        rim = np.maximum(_rising(facing, RIM_GRAZING, RIM_FACING), inner)
        held = np.minimum(_rising(facing, GRAZING, FACING), rim) ** 2
        outward = _averaged(averaging, outward, 4)
        # 1e-9 spares the zero vector, which stays one.
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        # A flat flank is all on the outline; its middle, where the sides meet, holds it.
        front = (_averaged(averaging, toward, 8) > 0).astype(np.float64)
        share = averaging @ front
        outward[(share == front) | (pixels > OUTLINE_REACH)] = 0.0
        return _Hold(floor + (HELD - floor) * held, outward)

    def pull(self, moves: Vectors) -> Vectors:
        """Give the force against moves (V x 3)."""
        out = (moves * self.outward).sum(axis=1, keepdims=True) * self.outward
        pulled: Vectors = self.everywhere[:, None] * moves + HELD * out
        return pulled

    def diagonal(self) -> Vectors:
        """Give what `pull` multiplies each coordinate itself by (V x 3)."""
        return self.everywhere[:, None] + HELD * self.outward**2


def _rising(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Rise from 0 at `low` to 1 at `high`."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _outline_distance(mesh: Mesh, camera: Orbit) -> NDArray[np.float64]:
    """Give each vertex's way to the outline in pixels, be it the outer one or a gap's."""
    raster = rasterise(camera.clip_coordinates(mesh.vertices), mesh.faces, OUTLINE_SIZE)
    inside = np.pad((raster.triangle >= 0).cpu().numpy(), 1)
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    x, y = camera.project(mesh.vertices)[:, :2].double().cpu().numpy().T
    places = np.stack([1 - y, 1 + x]) * (OUTLINE_SIZE / 2) - 0.5
    distance: NDArray[np.float64] = ndimage.map_coordinates(depth, places, order=1, mode="nearest")
    return distance


def _solve(bending: sparse.csr_matrix, hold: _Hold, forces: Vectors) -> Vectors:
    """Find the moves (V x 3) at which bending and holding balance the forces."""

    def resistance(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        moves = flat.reshape(forces.shape)
        resisted: NDArray[np.float64] = (bending @ moves + hold.pull(moves)).ravel()
        return resisted

    inverse = 1 / (bending.diagonal()[:, None] + hold.diagonal()).ravel()
    shape = (forces.size, forces.size)
    system = linalg.LinearOperator(shape, matvec=resistance, dtype=np.float64)
    jacobi = linalg.LinearOperator(shape, matvec=lambda flat: inverse * flat, dtype=np.float64)
    moves: Vectors = linalg.cg(system, forces.ravel(), rtol=1e-3, M=jacobi)[0]
    return moves.reshape(forces.shape)
