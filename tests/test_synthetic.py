import torch

from geneman.camera import Orbit, pixel_grid
from geneman.mesh import face_normals
from tests.synthetic import BOX, figure_mesh, figure_sdf, figure_view


def edges_met_once_each_way(faces):
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(pair) for pair in pairs.tolist()}
    return len(forward) == len(pairs) and all((b, a) in forward for a, b in forward)


def test_the_mesh_is_closed_faces_outward_and_lies_on_the_surface():
    mesh = figure_mesh(64)
    faces = mesh.faces.long()
    assert edges_met_once_each_way(faces)
    volume = (mesh.vertices[faces].mean(dim=1) * face_normals(mesh)).sum() / 6
    assert 0.01 < volume < 0.03
    assert figure_sdf(mesh.vertices).abs().mean() < 1e-3


def test_both_sides_of_the_view_lie_on_the_surface():
    view = figure_view(64)
    pixels = pixel_grid(64)[view.inside]
    for depth in (view.depth, view.hidden.depth):
        points = view.camera.unproject(pixels, depth[view.inside])
        assert figure_sdf(points).abs().median() < 1e-3
        assert BOX.contains(points).all()
    assert (view.hidden.depth >= view.depth)[view.inside].all()


def test_normals_face_the_viewer_in_front_and_away_behind():
    view = figure_view(64)
    assert (view.normal[view.inside][:, 2] > 0).float().mean() > 0.98
    assert (view.hidden.normal[view.inside][:, 2] < 0).float().mean() > 0.98


def test_the_badge_is_on_the_left_of_the_chest_and_the_back_differs():
    view = figure_view(64)
    yellow = (view.colour[..., 0] > 0.9) & (view.colour[..., 2] < 0.3) & view.inside
    assert (pixel_grid(64)[yellow][:, 0] > 0).all()
    assert yellow.any()
    back = figure_view(64, Orbit(azimuth_deg=180))
    assert (back.colour - view.colour)[view.inside & back.inside].abs().mean() > 0.1
