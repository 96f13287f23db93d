import pytest
import torch

from geneman.camera import Orbit, Rays
from geneman.kernels.visibility import cast, closest, hierarchy, signed_distance, visible
from geneman.mesh import Mesh
from tests.synthetic import figure_mesh, figure_sdf

TRIANGLE = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))


@pytest.fixture(scope="module")
def figure():
    mesh = figure_mesh(64)
    return mesh, hierarchy(mesh)


def test_closest_points_of_one_triangle():
    points = torch.tensor([[0.25, 0.25, 0.5], [2.0, 0, 0], [-1, -1, 0]])
    found = closest(points, hierarchy(TRIANGLE))
    torch.testing.assert_close(found.distance, torch.tensor([0.5, 1.0, 2**0.5]))
    expected = torch.tensor([[0.5, 0.25, 0.25], [0, 1, 0], [1, 0, 0]])
    torch.testing.assert_close(found.barycentric, expected)
    assert found.face.tolist() == [0, 0, 0]


def test_closest_equals_looking_at_every_corner_and_centre(figure):
    mesh, asked = figure
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    found = closest(points, asked)
    corners = mesh.vertices[mesh.faces.long()]
    sampled = torch.cdist(points, torch.cat([mesh.vertices, corners.mean(dim=1)])).amin(dim=1)
    assert (found.distance <= sampled + 1e-6).all()
    assert (found.distance > sampled - 0.02).all()
    places = (corners[found.face.long()] * found.barycentric[..., None]).sum(dim=1)
    torch.testing.assert_close((points - places).norm(dim=-1), found.distance, atol=1e-5, rtol=0)


def test_signed_distance_knows_the_figures_inside(figure):
    points = (torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.9
    expected = figure_sdf(points)
    found = signed_distance(points, figure[1])
    clear = expected.abs() > 0.01
    assert (expected[clear] < 0).sum() > 40
    assert ((found < 0) == (expected < 0))[clear].all()


def test_rays_hit_the_nearest_triangle_or_nothing():
    rays = Rays(
        torch.tensor([[0.2, 0.2, 3.0], [2.0, 2, 3]]), torch.tensor([[0.0, 0, -1], [0, 0, -1]])
    )
    distance, face = cast(rays, hierarchy(TRIANGLE))
    assert distance.tolist() == pytest.approx([3.0, float("inf")])
    assert face.tolist() == [0, -1]


def test_a_camera_sees_the_front_and_not_the_back(figure):
    _, asked = figure
    chest, back = torch.tensor([[0.0, -0.078, 0.15]]), torch.tensor([[0.0, 0.078, 0.15]])
    points = torch.cat([chest, back])
    assert visible(points, Orbit(), asked, slack=0.01).tolist() == [True, False]
    assert visible(points, Orbit(azimuth_deg=180), asked, slack=0.01).tolist() == [False, True]


def test_every_point_that_is_rasterised_is_visible(figure):
    from geneman.kernels.rasterise import interpolate, rasterise

    mesh, asked = figure
    orbit = Orbit(azimuth_deg=40, elevation_deg=10)
    raster = rasterise(orbit.clip_coordinates(mesh.vertices), mesh.faces, 96)
    seen = interpolate(mesh.vertices, mesh.faces, raster).reshape(-1, 3)[raster.pixels]
    assert visible(seen, orbit, asked).float().mean() > 0.999


def test_no_questions_have_no_answers():
    assert len(signed_distance(torch.zeros(0, 3), hierarchy(TRIANGLE))) == 0
