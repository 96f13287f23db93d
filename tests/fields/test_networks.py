import pytest
import torch

from geneman.errors import RunFolderError
from geneman.fields import networks
from geneman.fields.networks import (
    ColourField,
    EncodingConfig,
    FieldConfig,
    RadianceConfig,
    RadianceField,
    SdfField,
    interpolate,
    lattice,
)
from geneman.mesh import Box

BOX = Box((-0.3, -0.2, -0.5), (0.4, 0.2, 0.5))
ENCODING = EncodingConfig(levels=4, log2_table=10, base=4, growth=1.5)
SMALL = FieldConfig(encoding=ENCODING, width=8)
RADIANCE = RadianceConfig(encoding=ENCODING, width=8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points_in_the_box(count=50):
    low, size = torch.tensor(BOX.minimum), torch.tensor(BOX.size)
    return low + size * torch.rand(count, 3, generator=seeded(1))


def make(kind):
    grid = lattice(BOX, (4, 3, 5)).norm(dim=-1) - 0.2
    match kind:
        case "radiance":
            return RadianceField(RADIANCE, BOX, seeded())
        case "radiance with a grid":
            return RadianceField(RADIANCE, BOX, seeded(), grid)
        case "sdf":
            return SdfField(SMALL, BOX, seeded(), grid, reach=0.02)
        case _:
            return ColourField(SMALL, BOX, seeded())


def values(field, points):
    match field:
        case RadianceField():
            return torch.cat([field.density(points)[:, None], field.colour(points)], dim=-1)
        case SdfField():
            return field.distance(points)
        case _:
            return field.colour(points)


KINDS = ["radiance", "radiance with a grid", "sdf", "colour"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_comes_back_from_its_file_as_it_was(kind, tmp_path):
    field, points = make(kind), points_in_the_box()
    with torch.no_grad():
        field.encoding.table.normal_(generator=seeded(2))
    field.encoding.open_levels = 3
    field.save(tmp_path / "field.safetensors")
    again = type(field).load(tmp_path / "field.safetensors")
    assert again.config == field.config
    assert again.box == BOX
    assert torch.equal(values(again, points), values(field, points))
    assert [path.name for path in tmp_path.iterdir()] == ["field.safetensors"]


def test_a_file_of_another_field_is_refused(tmp_path):
    make("colour").save(tmp_path / "field.safetensors")
    with pytest.raises(RunFolderError, match="must hold a RadianceField, but got ColourField"):
        RadianceField.load(tmp_path / "field.safetensors")


def test_a_missing_or_broken_file_is_refused(tmp_path):
    (tmp_path / "broken").write_bytes(b"not a field")
    for name in ("missing", "broken"):
        with pytest.raises(RunFolderError, match="re-run its stage"):
            ColourField.load(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_field_and_every_weight_has_a_gradient(kind):
    field, points = make(kind), points_in_the_box()
    assert torch.equal(values(field, points), values(make(kind), points))
    values(field, points).square().sum().backward()
    for name, weight in field.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_an_untrained_density_is_the_blob_inside_the_box_and_nothing_outside():
    field, points = make("radiance"), points_in_the_box()
    blob = torch.nn.functional.softplus(10 * (1 - points.norm(dim=-1) / 0.5))
    torch.testing.assert_close(field.density(points), blob, atol=1e-3, rtol=1e-3)
    assert (field.density(points + 2) == 0).all()


def test_looking_once_for_both_gives_what_two_looks_give():
    field, points = make("radiance"), points_in_the_box()
    density, colour = field.density_and_colour(points)
    assert torch.equal(density, field.density(points))
    assert torch.equal(colour, field.colour(points))


def test_the_normal_of_a_blob_points_away_from_its_centre():
    field, points = make("radiance"), points_in_the_box() * 0.8
    normal = field.normal(points, field.density(points))
    outward = torch.nn.functional.normalize(points, dim=-1)
    assert (normal * outward).sum(dim=-1).min() > 0.9


def test_an_untrained_distance_is_the_grid_and_training_never_moves_its_start():
    field, points = make("sdf"), points_in_the_box()
    before = field.initial(points)
    torch.testing.assert_close(field.distance(points), before, atol=1e-3, rtol=0)
    optimiser = torch.optim.SGD(field.parameters(), lr=1.0)
    field.distance(points).sum().backward()
    optimiser.step()
    assert torch.equal(field.initial(points), before)
    assert (field.distance(points) < before).all()


def test_interpolating_a_grid_of_a_linear_function_gives_that_function():
    slope = torch.tensor([1.0, -2, 0.5])
    points = points_in_the_box()
    grid = lattice(BOX, (4, 3, 6)) @ slope
    torch.testing.assert_close(interpolate(grid, BOX, points), points @ slope)
    corners = torch.tensor([BOX.minimum, BOX.maximum])
    torch.testing.assert_close(interpolate(grid, BOX, corners + corners.sign()), corners @ slope)


def test_closed_levels_do_not_move_the_field():
    field, points = make("colour"), points_in_the_box()
    field.encoding.open_levels = 2
    before = field.colour(points)
    with torch.no_grad():
        field.encoding.table[field.encoding.levels.offsets[2] :].normal_()
    assert torch.equal(field.colour(points), before)


def test_a_distance_moves_no_farther_than_its_reach_and_small_moves_go_through():
    grid = torch.zeros(4, 3, 5)
    free, bound = (SdfField(SMALL, BOX, seeded(), grid, reach=reach) for reach in (0.0, 0.02))
    points = points_in_the_box()
    for scale, most in ((1e-2, 2e-3), (10.0, 0.02)):
        for field in (free, bound):
            with torch.no_grad():
                field.encoding.table.normal_(generator=seeded(2)).mul_(scale)
        moved, held = free.distance(points), bound.distance(points)
        assert held.abs().max() <= 0.02
        small = moved.abs() < most
        assert torch.allclose(held[small], moved[small], rtol=0.3)
    assert moved.abs().max() > 0.02


@pytest.mark.parametrize(("features", "width"), [(6, 8), (24, 32)])
def test_a_network_is_two_products_and_a_cut_whoever_multiplies(features, width):
    generator = torch.Generator().manual_seed(0)
    network = networks.Perceptron(features, width, 2, generator)
    rows = torch.randn(50, features, generator=generator)
    expected = (rows @ network.hidden.T).clamp_min(0) @ network.last.T
    torch.testing.assert_close(network(rows), expected, rtol=1e-4, atol=1e-5)
