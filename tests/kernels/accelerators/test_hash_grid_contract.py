import pytest
import torch

from geneman.kernels.accelerators import tinycudann as owner
from geneman.kernels.hash_grid import HashLevels
from tests.oracles import hash_grid as oracle

LEVELS = HashLevels.geometric(levels=5, base=3, growth=1.7, table_size=256)
NEAR = {"rtol": 1e-4, "atol": 1e-4}
"""A shift of half a cell costs tiny-cuda-nn the last bits of a point."""


def inputs(count=200):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 3, generator=generator) * 1.2 - 0.1  # some lie outside
    return points, torch.randn(LEVELS.offsets[-1], 2, generator=generator)


def test_the_levels_of_the_tests_are_of_both_kinds_and_need_gaps():
    sizes = [end - start for start, end in zip(LEVELS.offsets, LEVELS.offsets[1:], strict=False)]
    assert sizes == [64, 216, 256, 256, 256]
    odd = HashLevels.geometric(levels=1, base=2, growth=1.0, table_size=256)
    assert odd.offsets == (0, 27)
    assert len(owner._with_gaps(torch.zeros(27, 2), odd, 1)) == 32


@pytest.mark.parametrize("levels", [LEVELS, HashLevels.geometric(3, 2, 2.0, 128)])
def test_a_table_means_the_same_to_all(grid, levels):
    points, _ = inputs()
    table = torch.randn(levels.offsets[-1], 2, generator=torch.Generator().manual_seed(1))
    expected = oracle.encode(points, table, levels, levels.count)
    torch.testing.assert_close(grid.encode(points, table, levels), expected, **NEAR)


@pytest.mark.parametrize("open_levels", [0, 1, 3])
def test_closed_levels_give_zeros_behind_the_open_ones(grid, open_levels):
    points, table = inputs(50)
    features = grid.encode(points, table, LEVELS, open_levels=open_levels)
    assert features.shape == (50, 10)
    assert (features[:, 2 * open_levels :] == 0).all()
    whole = grid.encode(points, table, LEVELS)
    torch.testing.assert_close(features[:, : 2 * open_levels], whole[:, : 2 * open_levels])


def test_weights_add_up_to_one(grid):
    points, table = inputs()
    features = grid.encode(points, torch.full_like(table, 0.25), LEVELS)
    torch.testing.assert_close(features, torch.full_like(features, 0.25))


def test_points_outside_are_moved_to_the_surface(grid):
    points, table = inputs()
    moved = grid.encode(points.clamp(0, 1), table, LEVELS)
    torch.testing.assert_close(grid.encode(points, table, LEVELS), moved, **NEAR)


def test_gradients_equal_those_of_the_definition(grid):
    points, table = (value.requires_grad_() for value in inputs())
    probe = torch.randn(len(points), 10, generator=torch.Generator().manual_seed(2))
    got = torch.autograd.grad((grid.encode(points, table, LEVELS) * probe).sum(), [points, table])
    slow = oracle.encode(points, table, LEVELS, 5)
    want = torch.autograd.grad((slow * probe).sum(), [points, table])
    torch.testing.assert_close(got[0], want[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(got[1], want[1], **NEAR)
    outside = ((points < 0) | (points > 1)).detach()
    assert (got[0][outside] == 0).all()


def test_the_slope_equals_finite_differences(grid):
    points, table = inputs()
    points = points.clamp(0.01, 0.99)
    levels = HashLevels.geometric(levels=1, base=4, growth=1.0, table_size=256)
    away = ((points * 4 % 1 > 0.05) & (points * 4 % 1 < 0.95)).all(dim=-1)  # from creases
    held = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(grid.encode(held, table[:125], levels).sum(), [held])
    for axis in range(3):
        step = torch.eye(3)[axis] * 1e-3
        ahead, behind = (
            grid.encode(points + s, table[:125], levels).sum(-1) for s in (step, -step)
        )
        expected = (ahead - behind)[away] / 2e-3
        torch.testing.assert_close(slope[away, axis], expected, rtol=1e-2, atol=2e-2)


def test_a_bfloat16_table_is_read_as_its_values(grid):
    points, table = inputs()
    small = table.bfloat16()
    features = grid.encode(points, small, LEVELS)
    torch.testing.assert_close(features, grid.encode(points, small.float(), LEVELS))
    held = small.requires_grad_()
    (slope,) = torch.autograd.grad(grid.encode(points, held, LEVELS).sum(), [held])
    assert slope.dtype == torch.bfloat16


def test_a_version_with_other_tables_is_refused(stand_ins):
    from geneman.errors import MissingComponentError

    points, table = inputs()
    grids = owner._grids(LEVELS, 5)
    grids.params = torch.nn.Parameter(torch.zeros(7))
    with pytest.raises(MissingComponentError, match=r"as version 2\.0 does, but got 7 numbers"):
        owner.encode(points, table, LEVELS)
