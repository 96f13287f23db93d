"""Make fair what nobody has seen: the flanks between the two sides of a reference view.

No render of the reference camera says how the surface bends where it turns away from it, so
optimisation leaves its noise there. Fairing replaces that strip by the smoothest sheet that
joins what is seen on either side.
"""

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg

from geneman.camera import Orbit
from geneman.mesh import Mesh, vertex_normals

GRAZING, FACING = 0.25, 0.6
"""Cosines to the ray below which a vertex is a flank's, and above which it is held fast."""

HELD = 30.0
"""Weight of a held vertex: not even bumps of one edge's length give way."""


def fair_flanks(mesh: Mesh, camera: Orbit, length: float) -> Mesh:
    """Smooth the vertices that the camera's rays graze, joining the others tangentially.

    Minimises |L x|^2 + w |x - x0|^2 (Botsch & Kobbelt, 2004) with the uniform Laplacian L; w is
    `HELD` where the surface faces the camera or its opposite, and falls on the flanks to where
    bumps shorter than `length` are gone.

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
    averaging = sparse.diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links
    laplacian = sparse.identity(len(places)) - averaging
    edges = places[faces] - places[np.roll(faces, 1, axis=1)]
    # Bumps of |L|^2 = 1/n^4 have a length of n edges.
    floor = (float(np.linalg.norm(edges, axis=-1).mean()) / length) ** 4
    hold = sparse.diags(_hold(mesh, camera, averaging, min(floor, 1.0)))
    matrix = (laplacian.T @ laplacian + hold).tocsr()
    bumps = -(laplacian.T @ (laplacian @ places))
    jacobi = sparse.diags(1 / matrix.diagonal())
    moves = [linalg.cg(matrix, bumps[:, axis], rtol=1e-3, M=jacobi)[0] for axis in range(3)]
    return Mesh(mesh.vertices + torch.from_numpy(np.stack(moves, -1)).to(mesh.vertices), mesh.faces)


def _links(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """Join the ends of every edge; a closed mesh names each edge once in each direction."""
    first, second = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    ones = np.ones(len(first))
    return sparse.csr_matrix((ones, (first, second)), shape=(count, count)).sign()


def _hold(mesh: Mesh, camera: Orbit, averaging: sparse.csr_matrix, floor: float) -> np.ndarray:
    """Give the weight of each vertex's own place."""
    rays = torch.nn.functional.normalize(
        camera.position().to(mesh.vertices) - mesh.vertices, dim=-1
    )
    facing = (vertex_normals(mesh) * rays).sum(dim=-1).abs().double().cpu().numpy()
    # Normals on a bumpy strip jump: what counts is how the neighbourhood lies.
    for _ in range(4):
        facing = averaging @ facing
    held = np.clip((facing - GRAZING) / (FACING - GRAZING), 0.0, 1.0) ** 2
    return np.asarray(floor + (HELD - floor) * held)
