import pytest
import torch

from geneman.errors import EmptySurfaceError
from geneman.fields.networks import interpolate, lattice
from geneman.fields.signed_distance import carved, distance_grid, shape_of, surface_of
from geneman.mesh import Box
from geneman.topology import topology
from tests.synthetic import BOX, figure_sdf, figure_view

BOX_AROUND = BOX.padded(0.03)


def cloud(points):
    """A density that is 25 on the figure's surface."""
    return 50 * torch.sigmoid(-figure_sdf(points) / 0.005)


def extract(density, threshold=25.0, resolution=64, blur=0.0):
    return surface_of(density, BOX_AROUND, resolution=resolution, threshold=threshold, blur=blur)


def test_the_surface_of_a_cloud_is_the_figure():
    mesh = extract(cloud, resolution=96)
    found = topology(mesh)
    assert found.watertight
    assert found.components == 1
    assert figure_sdf(mesh.vertices).abs().mean() < 2e-3


def test_cavities_are_filled_and_crumbs_are_dropped():
    def shell(points):
        distance = figure_sdf(points)
        hollow = cloud(points) * (distance > -0.025)
        crumb = 50.0 * ((points - points.new_tensor([0.25, 0.1, 0.3])).norm(dim=-1) < 0.05)
        return hollow + crumb

    solid, hollow = topology(extract(cloud)), topology(extract(shell))
    assert hollow.components == 1
    assert hollow.volume == pytest.approx(solid.volume, rel=0.02)


def test_what_reaches_the_box_is_closed():
    box = Box((-0.3, -0.2, -0.1), (0.3, 0.2, 0.5))
    mesh = surface_of(cloud, box, resolution=48, threshold=25.0, blur=0.5)
    assert topology(mesh).watertight


def test_an_empty_cloud_is_an_error():
    with pytest.raises(EmptySurfaceError, match="nowhere as dense"):
        extract(lambda points: torch.zeros_like(points[:, 0]))


def test_the_grid_holds_the_distance_to_the_mesh():
    mesh = extract(cloud, resolution=96)
    grid = distance_grid(mesh, BOX_AROUND, resolution=64, blur=0.0)
    assert grid.shape == shape_of(BOX_AROUND, 64)
    points = (torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.5
    expected = figure_sdf(points)
    near = expected.abs() < 0.05
    found = interpolate(grid, BOX_AROUND, points)
    assert (found - expected)[near].abs().mean() < 4e-3
    assert ((found < 0) == (expected < 0))[expected.abs() > 0.01].all()


def test_carving_opens_what_the_mask_shows_and_leaves_the_rest():
    points = lattice(BOX_AROUND, shape_of(BOX_AROUND, 64))
    truth = figure_sdf(points.reshape(-1, 3)).reshape(points.shape[:3])
    view = figure_view(256)
    kept = carved(truth, BOX_AROUND, view)
    near = truth.abs() < 0.03
    assert (kept - truth)[near].abs().mean() < 1e-3
    # A slab between the legs and under the arms, closed on every side, is cut along the outline.
    slab = torch.minimum(truth, points[..., 1].abs() - 0.02)
    opened = carved(slab, BOX_AROUND, view)
    seen = view.camera.project(points.reshape(-1, 3))
    row, column = ((1 - seen[:, 1]) * 128).long(), ((seen[:, 0] + 1) * 128).long()
    outside = ~view.inside[row.clamp(0, 255), column.clamp(0, 255)].reshape(truth.shape)
    assert (slab[outside] < 0).sum() > 500
    assert (opened[outside] > -0.003).all()
