import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.kernels import hash_grid, hash_grid_kernels, launch
from geneman.kernels.hash_grid import HashLevels, encode, encode_beside
from geneman.kernels.table_adam import TableGradients
from tests.oracles import hash_grid as oracle
from tests.oracles import hash_grid_torch

LEVELS = HashLevels.geometric(levels=5, base=3, growth=1.7, table_size=256)


def inputs(count=200, levels=LEVELS):
    generator = torch.Generator().manual_seed(0)
    # Some points lie outside, some on faces of the cube and of cells.
    points = torch.rand(count, 3, generator=generator) * 1.2 - 0.1
    points[:8] = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    points[8] = 1 / 3
    table = torch.randn(levels.offsets[-1], 2, generator=generator)
    return points, table


def test_coarse_levels_keep_every_corner_and_fine_ones_are_hashed():
    assert LEVELS.resolutions == (3, 5, 8, 14, 25)
    assert LEVELS.offsets == (0, 64, 280, 536, 792, 1048)


def test_the_table_size_must_be_a_power_of_two():
    with pytest.raises(ValueError, match="power of two, got 100"):
        HashLevels.geometric(levels=2, base=4, growth=2.0, table_size=100)


@pytest.mark.parametrize("open_levels", [0, 1, 3, 5])
def test_encode_and_its_gradients_equal_the_definition(open_levels):
    points, table = (value.requires_grad_() for value in inputs())
    probe = torch.randn(len(points), 10)
    ours = encode(points, table, LEVELS, open_levels=open_levels)
    slow = oracle.encode(points, table, LEVELS, open_levels)
    torch.testing.assert_close(ours, slow)
    if open_levels == 0:
        return
    got = torch.autograd.grad((ours * probe).sum(), [points, table])
    want = torch.autograd.grad((slow * probe).sum(), [points, table])
    inside = ((points > 0) & (points < 1)).all(dim=-1)  # on the faces torch halves the slope
    torch.testing.assert_close(got[0][inside], want[0][inside], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[1], want[1], rtol=1e-4, atol=1e-5)


def test_the_slope_equals_finite_differences():
    points, table = inputs()
    points = points.clamp(0.01, 0.99)[9:]
    points.requires_grad_()
    levels = HashLevels.geometric(levels=1, base=4, growth=1.0, table_size=256)
    cell = points.detach() * 4 % 1
    away = ((cell > 0.05) & (cell < 0.95)).all(dim=-1)  # from the creases between cells
    (slope,) = torch.autograd.grad(encode(points, table, levels).sum(), [points])
    for axis in range(3):
        step = torch.zeros(3)
        step[axis] = 1e-3
        ahead, behind = (encode(points.detach() + s, table, levels).sum(-1) for s in (step, -step))
        torch.testing.assert_close(
            slope[away, axis], (ahead - behind)[away] / 2e-3, rtol=1e-2, atol=2e-2
        )


def test_a_constant_table_gives_a_constant_everywhere():
    points, table = inputs()
    features = encode(points, torch.full_like(table, 0.25), LEVELS)
    torch.testing.assert_close(features, torch.full_like(features, 0.25))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_encode_is_linear_in_the_table(seed):
    points, table = inputs(40)
    other = torch.randn(table.shape, generator=torch.Generator().manual_seed(seed))
    together = encode(points, table + other, LEVELS)
    apart = encode(points, table, LEVELS) + encode(points, other, LEVELS)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(0, 3)] * 3))
def test_a_point_on_a_corner_reads_that_entry_alone(corner):
    _, table = inputs()
    features = encode(torch.tensor([corner]) / 3, table, LEVELS, open_levels=1)
    x, y, z = corner
    torch.testing.assert_close(features[0, :2], table[x + 4 * (y + 4 * z)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_for_cuda_do_the_same_work(dtype):
    points, table = inputs(500)
    table, gradient = table.to(dtype), torch.randn(500, 5, 2) * 1e-3
    layout = (*hash_grid._layout(LEVELS, points.device), LEVELS.table_size, 4)
    given = [points, hash_grid._words(table), *layout]
    vectors, plain = torch.zeros(2, 500, 5, 2)
    hash_grid._look_up(points, table, layout, vectors)
    launch.launch(hash_grid_kernels.FORWARD[dtype], 500 * 4, [*given, plain], points.device)
    torch.testing.assert_close(plain, vectors)
    vectors, plain = hash_grid._towards_points(points, table, layout, gradient), torch.zeros(500, 3)
    kernel = hash_grid_kernels.BACKWARD_POINTS[dtype]
    launch.launch(kernel, 500, [*given, gradient, plain], points.device)
    torch.testing.assert_close(plain, vectors, rtol=1e-4, atol=1e-6)
    vectors = torch.zeros(len(table), 2)
    hash_grid._spread(points, layout, gradient, vectors)
    plain = hash_grid._spread_whole_numbers(points, layout, gradient, table)
    torch.testing.assert_close(plain, vectors, rtol=1e-4, atol=1e-8)


def test_a_table_that_no_cache_holds_gets_the_same_gradient(monkeypatch):
    points, table = inputs(10_000)
    layout = (*hash_grid._layout(LEVELS, points.device), LEVELS.table_size, LEVELS.count)
    gradient = torch.randn(len(points), LEVELS.count, 2)
    kept, apart = torch.zeros(2, len(table), 2)
    hash_grid._spread(points, layout, gradient, kept)
    monkeypatch.setattr(hash_grid, "CACHED", 0)
    hash_grid._spread(points, layout, gradient, apart)
    assert torch.equal(kept, apart)


@pytest.mark.parametrize("count", range(1, 18))
def test_points_that_fill_no_vector_are_looked_up_as_among_others(count):
    points, table = (value.requires_grad_() for value in inputs(64))
    probe = torch.randn(64, 10)
    many, few = encode(points, table, LEVELS), encode(points[:count], table, LEVELS)
    assert torch.equal(few, many[:count])
    slope = torch.autograd.grad((many * probe).sum(), [points])[0]
    got = torch.autograd.grad((few * probe[:count]).sum(), [points, table])
    assert torch.equal(got[0][:count], slope[:count])
    assert not got[0][count:].any()
    want = torch.autograd.grad((encode(points, table, LEVELS) * probe)[:count].sum(), [table])
    assert torch.equal(got[1], want[0])


def test_a_table_may_lie_apart_in_memory():
    points, table = inputs()
    wide = torch.randn(len(table), 4)
    wide[:, :2] = table
    assert torch.equal(encode(points, wide[:, :2], LEVELS), encode(points, table, LEVELS))


def test_gradients_beside_a_table_are_refused_elsewhere():
    points, table = (value.to("meta") for value in inputs())
    with pytest.raises(ValueError, match="encode_beside works on a CPU, got tensors on meta"):
        encode_beside(points, table, LEVELS, TableGradients(table))


def test_a_point_that_is_no_number_reads_a_corner_and_breaks_nothing():
    points, table = inputs()
    points[3] = torch.nan
    features = encode(points, table, LEVELS)
    assert torch.equal(features[3], encode(torch.zeros(1, 3), table, LEVELS)[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_both_devices_give_the_same_and_cuda_always_the_same_bits():
    points, table = inputs(5000)
    probe = torch.randn(5000, 10)
    found = []
    for device in ("cpu", "cuda", "cuda"):
        here = [value.to(device).requires_grad_() for value in (points, table)]
        features = encode(*here, LEVELS)
        slopes = torch.autograd.grad((features * probe.to(device)).sum(), here)
        found.append([value.cpu() for value in (features, *slopes)])
    for cpu, cuda, again in zip(*found, strict=True):
        torch.testing.assert_close(cpu, cuda, rtol=1e-4, atol=1e-4)
        assert torch.equal(cuda, again)


@pytest.mark.parametrize("count", [1, 127, 5000])
def test_plain_torch_gives_the_same_whatever_the_blocks(count):
    points, table = inputs(max(count, 9))
    points, table = points[:count].requires_grad_(), table.requires_grad_()
    probe = torch.randn(count, 10)
    ours, plain = encode(points, table, LEVELS), hash_grid_torch.encode(points, table, LEVELS)
    torch.testing.assert_close(ours, plain)
    got, want = (torch.autograd.grad((o * probe).sum(), [points, table]) for o in (ours, plain))
    inside = ((points > 0) & (points < 1)).all(dim=-1)
    torch.testing.assert_close(got[0][inside], want[0][inside], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[1], want[1], rtol=1e-4, atol=1e-4)


def test_a_bfloat16_table_is_read_as_its_values_and_its_gradient_rounded_once():
    points, table = inputs()
    points, small = points.requires_grad_(), table.bfloat16().requires_grad_()
    same = small.detach().float().requires_grad_()
    probe = torch.randn(len(points), 10)
    ours, whole = encode(points, small, LEVELS), encode(points, same, LEVELS)
    assert torch.equal(ours, whole)
    got, want = (
        torch.autograd.grad((out * probe).sum(), [points, given])
        for out, given in ((ours, small), (whole, same))
    )
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1].bfloat16())


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_features_and_gradients_have_the_same_bits_on_any_number_of_threads(workers):
    points, table = (value.requires_grad_() for value in inputs(20_000))
    probe = torch.randn(len(points), 10)

    def everything(count):
        with launch.limited(count):
            features = encode(points, table, LEVELS)
            return features, *torch.autograd.grad((features * probe).sum(), [points, table])

    for one, many in zip(everything(1), everything(workers), strict=True):
        assert torch.equal(one, many)
