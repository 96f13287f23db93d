"""The band's surface beside that of the whole box, and the memory that each needs."""

import itertools

import torch

from geneman.fields.tetrahedra import Lattice, band_along, evaluate
from geneman.mesh import Box, Mesh, face_normals
from geneman.topology import topology
from tests.oracles import marching_tets_dense as dense
from tests.synthetic import BOX, figure_sdf

BALL = Box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))


def ball(points):
    return points.norm(dim=-1) - 0.37


def volume(mesh):
    a, b, c = mesh.vertices[mesh.faces].double().unbind(dim=1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_the_dense_algorithm_gives_a_closed_outward_ball_as_the_band_does():
    lattice = Lattice(BALL, 24)
    points, tets = dense.lattice(BALL, lattice.shape)
    whole = Mesh(*dense.extract(points, ball(points), tets))
    band = band_along(ball, lattice)
    ours = band.surface(evaluate(ball, band.points))
    for mesh in (whole, ours):
        assert topology(mesh).watertight
        assert abs(volume(mesh) / (4 / 3 * torch.pi * 0.37**3) - 1) < 0.01
        middles = mesh.vertices[mesh.faces].mean(dim=1)
        assert ((face_normals(mesh) * middles).sum(dim=-1) > 0).all()


def test_the_lattice_grows_with_the_surface_up_to_512_cells():
    cells = []
    for resolution in (128, 256, 512):
        band = band_along(figure_sdf, Lattice(BOX, resolution))
        cells.append(len(band.cells))
        arrays = (band.points, band.edges, band.tets, band.tet_edges, band.corners)
        # Every array has a fixed number of rows a cell: memory follows the surface alone.
        assert sum(a.numel() * a.element_size() for a in arrays) < 1000 * len(band.cells)
    for coarse, fine in itertools.pairwise(cells):
        assert 3.6 < fine / coarse < 4.4  # 8 for a box
