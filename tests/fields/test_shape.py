import pytest
import torch

from geneman.fields.networks import EncodingConfig, FieldConfig, SdfField, lattice
from geneman.fields.shape import PATIENCE, Shape
from geneman.mesh import Box

BOX = Box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
CONFIG = FieldConfig(EncodingConfig(levels=4, log2_table=12, base=4), width=32)
RESOLUTION = 32
CELL = 2.0 / RESOLUTION


def a_ball(radius=0.5):
    points = lattice(BOX, (33, 33, 33))
    grid = points.norm(dim=-1) - radius
    return Shape(SdfField(CONFIG, BOX, torch.Generator().manual_seed(0), grid))


def moved(shape, by):
    """Let the field add so much to its distance everywhere: the ball shrinks by it."""
    with torch.no_grad():
        shape.field.encoding.table.fill_(1.0)
        shape.field.network.hidden.fill_(1.0)
        last = shape.field.network.last
        last.fill_(by / (shape.field.network.hidden.shape[1] * last.numel()))


def radius_of(mesh):
    return float(mesh.vertices.detach().norm(dim=-1).mean())


@pytest.fixture
def asked(monkeypatch):
    """How many points each look at the field asked for, with gradients."""
    counts, real = [], SdfField.added

    def added(self, points):
        if torch.is_grad_enabled():
            counts.append(len(points))
        return real(self, points)

    monkeypatch.setattr(SdfField, "added", added)
    return counts


def test_between_looks_at_all_of_the_band_only_what_is_near_is_asked_for(asked):
    shape = a_ball()
    for _ in range(PATIENCE + 1):
        shape.surface(RESOLUTION)
    whole, *near, again = asked
    assert len(near) == PATIENCE - 1
    assert whole == again
    assert max(near) < 0.7 * whole


@pytest.mark.parametrize("direction", [-1, 1])
def test_the_surface_is_the_one_that_all_points_would_give(direction):
    for tenth in range(12):
        shape, all_of_it = a_ball(), a_ball()
        for each in (shape, all_of_it):
            each.surface(RESOLUTION)
            moved(each, direction * 0.1 * tenth * CELL)
        all_of_it._known = None
        ours, whole = shape.surface(RESOLUTION)[0], all_of_it.surface(RESOLUTION)[0]
        assert torch.equal(ours.faces, whole.faces)
        assert torch.equal(ours.vertices, whole.vertices)
        assert radius_of(ours) == pytest.approx(0.5 - direction * 0.1 * tenth * CELL, abs=3e-3)


def test_a_surface_that_moves_far_in_one_step_is_found(asked):
    shape = a_ball()
    shape.surface(RESOLUTION)
    moved(shape, 1.3 * CELL)
    mesh = shape.surface(RESOLUTION)[0]
    assert len(asked) == 3
    assert asked[2] > asked[1]
    assert radius_of(mesh) == pytest.approx(0.5 - 1.3 * CELL, abs=3e-3)


@pytest.mark.parametrize("cells", [0.2, 0.45, -0.45, 0.9])
def test_gradients_reach_the_field_as_if_all_points_had_been_asked_for(cells):
    shape, all_of_it = a_ball(), a_ball()
    found = []
    for each in (shape, all_of_it):
        each.surface(RESOLUTION)
        moved(each, cells * CELL)
        if each is all_of_it:
            each._known = None
        mesh, _ = each.surface(RESOLUTION)
        parameters = list(each.field.parameters())
        found.append(torch.autograd.grad(mesh.vertices.norm(dim=-1).sum(), parameters))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_the_deviation_is_that_of_the_points_near_the_surface():
    shape = a_ball()
    moved(shape, 0.3 * CELL)
    for _ in range(2):
        _, deviation = shape.surface(RESOLUTION)
        assert float(deviation.detach()) == pytest.approx((0.3 * CELL) ** 2, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 3, PATIENCE])
def test_a_shape_goes_on_from_its_state_with_the_same_bits(steps):
    shape = a_ball()
    for step in range(steps):
        moved(shape, 0.05 * step * CELL)
        shape.surface(RESOLUTION)
    again = a_ball()
    again.load_state_dict(shape.state_dict())
    for step in range(steps, steps + PATIENCE + 2):
        for each in (shape, again):
            moved(each, 0.05 * step * CELL)
        ours, theirs = (each.surface(RESOLUTION)[0] for each in (shape, again))
        assert torch.equal(ours.vertices, theirs.vertices)
        assert torch.equal(ours.faces, theirs.faces)
        assert shape._age == again._age


def test_what_appears_elsewhere_is_seen_when_all_is_asked_for_again(monkeypatch):
    shape = a_ball()
    monkeypatch.setattr(shape.field, "added", lambda points: torch.zeros(len(points)))
    ball = shape.surface(RESOLUTION)[0]
    away = shape._known.values.abs()
    away[shape._known.near] = 0
    far = int(away.argmax())
    speck, depth = shape._band.points[far], float(shape._first[far])

    def added(points):
        # One point far from the surface comes to lie on its other side.
        return -2 * depth * ((points - speck).norm(dim=-1) < 1e-6)

    monkeypatch.setattr(shape.field, "added", added)
    for _ in range(PATIENCE - 1):
        assert len(shape.surface(RESOLUTION)[0].faces) == len(ball.faces)
    assert len(shape.surface(RESOLUTION)[0].faces) > len(ball.faces)
