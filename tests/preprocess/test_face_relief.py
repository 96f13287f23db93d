import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from geneman.camera import REFERENCE
from geneman.preprocess.face_relief import engraved, with_face
from geneman.priors.bundle import Surfaces
from geneman.view import HiddenSide

SIZE = 256
RADIUS = 0.4
"""Of the cap that stands for a face, in half sides of the image."""


def cap(centre=(0.1, 0.2), radius=RADIUS, deep=1.0, rings=12):
    """Points of a spherical cap that bulges to the viewer, and its triangles."""
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = [np.zeros((1, 2))]
    for ring in range(1, rings + 1):
        r = 0.8 * ring / rings
        flat.append(np.stack([r * np.cos(turns), r * np.sin(turns)], axis=-1))
    flat = np.concatenate(flat)
    triangles = Delaunay(flat).simplices
    # Counter-clockwise as the viewer sees them, y up.
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    ahead = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[ahead < 0] = triangles[ahead < 0][:, [0, 2, 1]]
    depth = -deep * np.sqrt(1 - (flat**2).sum(1))
    points = np.concatenate([flat * radius + centre, depth[:, None] * radius], axis=1)
    return points.astype(np.float32), triangles.astype(np.int64)


def flat_depth():
    return np.full((SIZE, SIZE), REFERENCE.distance)


def everywhere():
    return np.ones((SIZE, SIZE), bool)


def pixel(x, y):
    return int((1 - y) / 2 * SIZE), int((x + 1) / 2 * SIZE)


def place(row, column):
    return np.array([(column + 0.5) / SIZE * 2 - 1, 1 - (row + 0.5) / SIZE * 2])


def test_a_cap_stands_out_by_its_own_height():
    points, triangles = cap()
    found = engraved(flat_depth(), everywhere(), points, triangles)
    middle, aside = pixel(0.1, 0.2), pixel(0.1 + 0.4 * RADIUS, 0.2)
    unit = RADIUS * REFERENCE.distance / REFERENCE.focal
    out = [np.hypot(*(place(*p) - (0.1, 0.2))) / RADIUS for p in (middle, aside)]
    wanted = unit * (np.sqrt(1 - out[0] ** 2) - np.sqrt(1 - out[1] ** 2))
    assert found.share[middle] == found.share[aside] == 1
    assert found.depth[aside] - found.depth[middle] == pytest.approx(wanted, rel=0.03)


def test_beside_the_face_nothing_moves():
    points, triangles = cap()
    ramp = flat_depth() + np.linspace(0, 0.1, SIZE)
    found = engraved(ramp, everywhere(), points, triangles)
    far = np.hypot(*(np.indices((SIZE, SIZE)) - np.reshape(pixel(0.1, 0.2), (2, 1, 1))))
    outside = far > RADIUS * SIZE / 2
    assert (found.share[outside] == 0).all()
    np.testing.assert_array_equal(found.depth[outside], ramp[outside])
    assert np.abs(found.depth - ramp).max() > 0.02


@settings(max_examples=10, deadline=None)
@given(st.floats(-2, 2))
def test_where_a_mesh_says_it_is_in_depth_does_not_matter(shift):
    points, triangles = cap()
    moved = points + np.array([0, 0, shift], np.float32)
    before = engraved(flat_depth(), everywhere(), points, triangles)
    after = engraved(flat_depth(), everywhere(), moved, triangles)
    np.testing.assert_allclose(after.depth, before.depth, atol=1e-4)


def test_the_seam_has_no_step():
    points, triangles = cap()
    found = engraved(flat_depth(), everywhere(), points, triangles)
    steps = np.hypot(*np.gradient(found.depth))
    pixel_side = 2 / SIZE * REFERENCE.distance / REFERENCE.focal
    # A cap that ends at 53 degrees has a slope of 4/3 at its rim; a step would be far above.
    assert steps.max() < 2 * pixel_side


def test_a_face_never_reaches_out_of_the_person():
    points, triangles = cap()
    inside = everywhere()
    inside[:, SIZE // 2 + 10 :] = False
    found = engraved(flat_depth(), inside, points, triangles)
    assert (found.share[:, SIZE // 2 + 16 :] == 0).all()


@pytest.mark.parametrize(
    "points",
    [cap(radius=0.02)[0], cap(centre=(0.9, 0.2))[0], cap(radius=0.3)[0] * (1, 1, -20)],
    ids=["a dozen pixels", "cut off by the image", "turned away"],
)
def test_faces_that_are_too_small_cut_off_or_turned_away_change_nothing(points):
    found = engraved(flat_depth(), everywhere(), points.astype(np.float32), cap()[1])
    np.testing.assert_array_equal(found.depth, flat_depth())
    assert not found.share.any()


def test_normals_turn_with_the_relief():
    points, triangles = cap()
    towards = torch.tensor([0.0, 0.0, 1.0]).expand(SIZE, SIZE, 3)
    depth = torch.from_numpy(flat_depth()).float()
    hidden = HiddenSide(depth + 0.1, -towards, torch.zeros(SIZE, SIZE, 3))
    found = with_face(Surfaces(towards, depth, hidden), torch.ones(SIZE, SIZE), points, triangles)
    torch.testing.assert_close(found.normal.norm(dim=-1), torch.ones(SIZE, SIZE))
    assert found.normal[pixel(0.1 + 0.4 * RADIUS, 0.2)][0] == pytest.approx(0.4, abs=0.05)
    assert found.normal[pixel(0.1, 0.2 + 0.4 * RADIUS)][1] == pytest.approx(0.4, abs=0.05)
    torch.testing.assert_close(found.normal[0, 0], towards[0, 0])
    assert found.hidden is hidden


def test_points_that_crowd_at_other_depths_yield(monkeypatch):
    points, triangles = cap()
    plain = engraved(flat_depth(), everywhere(), points, triangles).depth
    row = np.stack([np.linspace(-0.25, 0.25, 12) * RADIUS + 0.1, np.full(12, 0.2)], axis=-1)
    beneath = -np.sqrt(1 - ((row - (0.1, 0.2)) ** 2).sum(1) / RADIUS**2) * RADIUS
    lips = [
        np.column_stack([row + np.array([0, apart]), beneath + deep])
        for apart, deep in ((0.0, -0.012), (0.002, 0.012))
    ]
    crowded = np.concatenate([points, *lips]).astype(np.float32)
    (top, left), (bottom, right) = pixel(0.0, 0.22), pixel(0.2, 0.18)

    def comb():
        depth = engraved(flat_depth(), everywhere(), crowded, triangles).depth
        return np.abs(np.diff((depth - plain)[top:bottom, left:right], n=2, axis=1)).mean()

    yielding = comb()
    monkeypatch.setattr("geneman.preprocess.face_relief.CROWDED", 1e-9)
    assert yielding < 0.7 * comb()
