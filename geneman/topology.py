"""Is a surface closed, whole and the right way out? Countable answers, and small mends."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geneman.mesh import Mesh, TexturedMesh, face_normals

Edges = NDArray[np.int64]


@dataclass(frozen=True)
class Topology:
    """Counts that tell how a surface hangs together; vertices that no face uses do not count."""

    vertices: int
    faces: int
    components: int
    boundary_edges: int
    """Edges with one face: the rims of holes."""
    odd_edges: int
    """Edges with more than two faces, or with two that disagree about which side is out."""
    degenerate_faces: int
    """Faces without area."""
    euler: int
    """V - E + F: 2 for a sphere, 0 for a torus."""
    volume: float
    """Enclosed, in cubed units; below 0 when faces point inward. Means little with holes."""

    @property
    def watertight(self) -> bool:
        """Say whether the surface is closed, consistently wound, and points outward."""
        return self.faces > 0 and not self.boundary_edges and not self.odd_edges and self.volume > 0


def topology(mesh: Mesh) -> Topology:
    """Count."""
    faces = _faces(mesh)
    used = np.unique(faces)
    directed, times = np.unique(_directed_edges(faces), axis=0, return_counts=True)
    undirected, sides = np.unique(
        np.sort(_directed_edges(faces), axis=1), axis=0, return_counts=True
    )
    twice_same_way = np.unique(np.sort(directed[times > 1], axis=1), axis=0)
    odd = (sides > 2).sum() + _count_only(twice_same_way, undirected[sides > 2])  # noqa: PLR2004
    labels = _component_of_face(faces)
    corners = mesh.vertices.double()[mesh.faces.long()]
    a, b, c = (corners - corners.mean(dim=(0, 1)) if len(corners) else corners).unbind(dim=1)
    return Topology(
        vertices=len(used),
        faces=len(faces),
        components=len(np.unique(labels)),
        boundary_edges=int((sides == 1).sum()),
        odd_edges=int(odd),
        degenerate_faces=int((face_normals(mesh).norm(dim=-1) == 0).sum()),
        euler=len(used) - len(undirected) + len(faces),
        volume=(torch.linalg.cross(a, b) * c).sum().item() / 6,
    )


def mended(textured: TexturedMesh) -> TexturedMesh:
    """Mend what can be mended without inventing surface.

    Vertices at exactly the same place become one, faces that use a vertex twice go (their edges
    fall together, so nothing opens), of several pieces the largest stays, and a surface that
    faces inward is turned. Unused vertices go. A mesh without these faults comes back as it was.
    """
    textured = _welded(textured)
    faces = textured.mesh.faces
    textured = _kept(
        textured,
        (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0]),
    )
    labels = _component_of_face(_faces(textured.mesh))
    if len(labels):
        largest = np.bincount(labels).argmax()
        textured = _kept(textured, torch.from_numpy(labels == largest).to(faces.device))
    textured = _without_unused(textured)
    if topology(textured.mesh).volume < 0:
        mesh = replace(textured.mesh, faces=textured.mesh.faces.flip(-1))
        normals = None if textured.normals is None else -textured.normals
        textured = replace(
            textured, mesh=mesh, uv_faces=textured.uv_faces.flip(-1), normals=normals
        )
    return textured


def _welded(textured: TexturedMesh) -> TexturedMesh:
    mesh = textured.mesh
    places, number = np.unique(mesh.vertices.cpu().numpy(), axis=0, return_inverse=True)
    if len(places) == len(mesh.vertices):
        return textured
    first = np.full(len(places), len(number))
    np.minimum.at(first, number, np.arange(len(number)))  # the lowest number stands for all
    onto = torch.from_numpy(first[number]).to(mesh.faces)
    return replace(textured, mesh=replace(mesh, faces=onto[mesh.faces.long()]))


def _kept(textured: TexturedMesh, keep: Bool[Tensor, "f"]) -> TexturedMesh:
    if bool(keep.all()):
        return textured
    mesh = replace(textured.mesh, faces=textured.mesh.faces[keep])
    return replace(textured, mesh=mesh, uv_faces=textured.uv_faces[keep])


def _without_unused(textured: TexturedMesh) -> TexturedMesh:
    mesh = textured.mesh
    used, uv_used = torch.unique(mesh.faces.long()), torch.unique(textured.uv_faces.long())
    if len(used) < len(mesh.vertices):
        mesh = Mesh(mesh.vertices[used], _renumbered(mesh.faces, used))
    if len(uv_used) == len(textured.uv):
        return replace(textured, mesh=mesh)
    uv_faces = _renumbered(textured.uv_faces, uv_used)
    return replace(textured, mesh=mesh, uv=textured.uv[uv_used], uv_faces=uv_faces)


def _renumbered(faces: Int[Tensor, "f 3"], used: Int[Tensor, "n"]) -> Int[Tensor, "f 3"]:
    numbers: Tensor = torch.searchsorted(used, faces.long()).to(faces.dtype)
    return numbers


def _faces(mesh: Mesh) -> Edges:
    return mesh.faces.detach().cpu().numpy().astype(np.int64)


def _directed_edges(faces: Edges) -> Edges:
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def _component_of_face(faces: Edges) -> NDArray[np.int32]:
    """Number the pieces; faces that share a vertex belong together."""
    if not len(faces):
        return np.zeros(0, np.int32)
    edges, count = _directed_edges(faces), int(faces.max()) + 1
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), (count, count))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[faces[:, 0]], np.int32)


def _count_only(edges: Edges, known: Edges) -> int:
    """Count the edges that are not among the known ones."""
    seen = {tuple(edge) for edge in known.tolist()}
    return sum(tuple(edge) not in seen for edge in edges.tolist())
