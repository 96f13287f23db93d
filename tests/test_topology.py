from dataclasses import replace

import pytest
import torch

from geneman.mesh import Mesh, TexturedMesh
from geneman.topology import mended, topology
from tests.textured import embossed, textured_figure

TETRAHEDRON = Mesh(
    torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


def textured(mesh):
    return TexturedMesh(mesh, mesh.vertices[:, :2].clamp(0, 1), mesh.faces, torch.ones(4, 4, 3))


def test_a_tetrahedron_is_watertight_and_holds_a_sixth():
    counted = topology(TETRAHEDRON)
    assert counted.watertight
    assert (counted.vertices, counted.faces, counted.components, counted.euler) == (4, 4, 1, 2)
    assert counted.volume == pytest.approx(1 / 6)


def test_a_torus_has_euler_number_0():
    n, m = 6, 5
    i, j = torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij")
    u, v = i * (2 * torch.pi / n), j * (2 * torch.pi / m)
    ring = 2 + v.cos()
    vertices = torch.stack([ring * u.cos(), ring * u.sin(), v.sin()], -1).reshape(-1, 3)
    a, b = i * m + j, (i + 1) % n * m + j
    c, d = (i + 1) % n * m + (j + 1) % m, i * m + (j + 1) % m
    quads = [torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)]
    counted = topology(Mesh(vertices, torch.cat([q.reshape(-1, 3) for q in quads])))
    assert counted.watertight
    assert counted.euler == 0


def test_a_missing_face_is_a_hole_with_its_rim():
    counted = topology(Mesh(TETRAHEDRON.vertices, TETRAHEDRON.faces[1:]))
    assert counted.boundary_edges == 3
    assert not counted.watertight


def test_a_face_the_wrong_way_round_makes_its_edges_odd():
    faces = TETRAHEDRON.faces.clone()
    faces[0] = faces[0].flip(0)
    counted = topology(Mesh(TETRAHEDRON.vertices, faces))
    assert (counted.boundary_edges, counted.odd_edges) == (0, 3)
    assert not counted.watertight


def test_a_fin_makes_one_odd_edge_and_two_rims():
    vertices = torch.cat([TETRAHEDRON.vertices, torch.tensor([[2.0, 2, 2]])])
    fin = torch.tensor([[1, 2, 4]])
    counted = topology(Mesh(vertices, torch.cat([TETRAHEDRON.faces, fin])))
    assert (counted.boundary_edges, counted.odd_edges) == (2, 1)


def test_inside_out_is_not_watertight():
    counted = topology(Mesh(TETRAHEDRON.vertices, TETRAHEDRON.faces.flip(-1)))
    assert counted.volume == pytest.approx(-1 / 6)
    assert not counted.watertight


def test_pieces_are_counted_and_unused_vertices_are_not():
    twice = torch.cat([TETRAHEDRON.vertices, TETRAHEDRON.vertices + 3, torch.ones(7, 3)])
    counted = topology(Mesh(twice, torch.cat([TETRAHEDRON.faces, TETRAHEDRON.faces + 4])))
    assert (counted.components, counted.vertices, counted.euler) == (2, 8, 4)


def test_no_faces_are_not_watertight():
    counted = topology(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)))
    assert not counted.watertight
    assert counted.components == 0


def test_a_face_without_area_is_counted():
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2]]))
    assert topology(flat).degenerate_faces == 1


def test_mending_leaves_a_sound_mesh_alone():
    figure = textured_figure()
    back = mended(figure)
    assert torch.equal(back.mesh.vertices, figure.mesh.vertices)
    assert torch.equal(back.mesh.faces, figure.mesh.faces)
    assert torch.equal(back.uv_faces, figure.uv_faces)


def test_mending_closes_seams_drops_crumbs_slivers_and_turns_the_surface_out():
    figure = textured_figure()
    soup = figure.mesh.vertices[figure.mesh.faces].reshape(-1, 3)
    crumb, sliver = TETRAHEDRON.vertices * 0.01 + 0.5, torch.tensor([[0, 0, 1]])
    faces = torch.arange(len(soup)).reshape(-1, 3)
    faces = torch.cat([faces, TETRAHEDRON.faces + len(soup), sliver]).flip(-1)
    uv_faces = torch.cat([figure.uv_faces, torch.zeros(5, 3, dtype=torch.long)]).flip(-1)
    broken = TexturedMesh(Mesh(torch.cat([soup, crumb]), faces), figure.uv, uv_faces, figure.albedo)
    assert topology(broken.mesh).boundary_edges > 0
    fixed = mended(broken)
    counted = topology(fixed.mesh)
    assert counted.watertight
    assert (counted.components, counted.euler) == (1, 2)
    assert counted.vertices == len(figure.mesh.vertices) == len(fixed.mesh.vertices)
    # Every corner still carries its own texture coordinate.
    before = torch.cat([figure.mesh.vertices[figure.mesh.faces], figure.uv[figure.uv_faces]], -1)
    after = torch.cat([fixed.mesh.vertices[fixed.mesh.faces], fixed.uv[fixed.uv_faces]], -1)
    torch.testing.assert_close(after, before)


def test_mending_keeps_finer_normals_outward():
    figure = embossed(textured_figure())
    spare = replace(figure, uv=torch.cat([figure.uv, torch.zeros(1, 2)]))
    assert torch.equal(mended(spare).normals, figure.normals)
    inward = replace(
        figure,
        mesh=replace(figure.mesh, faces=figure.mesh.faces.flip(-1)),
        uv_faces=figure.uv_faces.flip(-1),
        normals=-figure.normals,
    )
    assert torch.equal(mended(inward).normals, figure.normals)


def test_mending_keeps_the_largest_piece():
    both = torch.cat([textured_figure().mesh.vertices, TETRAHEDRON.vertices + 3])
    faces = textured_figure().mesh.faces
    mesh = Mesh(both, torch.cat([TETRAHEDRON.faces + len(both) - 4, faces]))
    figure = replace(textured(mesh), uv_faces=mesh.faces)
    assert topology(mended(figure).mesh).faces == len(faces)
