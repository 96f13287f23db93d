import torch

from geneman.kernels import scatter
from geneman.kernels.scatter import gather, scatter_sum


def rows(count=5000, cells=300):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(cells, (count,), generator=generator)
    return torch.randn(count, 4, generator=generator), index, cells


def test_scatter_sum_equals_its_definition():
    values, index, cells = rows()
    expected = torch.zeros(cells, 4)
    for value, cell in zip(values, index.tolist(), strict=True):
        expected[cell] += value
    assert torch.equal(scatter_sum(values, index, cells), expected)


def test_the_sorted_way_of_cuda_gives_the_same_bits():
    values, index, cells = rows()
    ordered, order = torch.sort(index, stable=True)
    starts = torch.searchsorted(ordered, torch.arange(cells + 1))
    out = torch.zeros(cells, 4)
    scatter.launch(scatter._add_sorted, cells, (starts, order, values, out), values.device)
    assert torch.equal(out, scatter_sum(values, index, cells))


def test_gather_and_its_gradient_equal_torchs():
    values, index, _ = rows(count=600, cells=50)
    index, own = index.reshape(20, 30), values[:50].clone().requires_grad_()
    torchs = values[:50].clone().requires_grad_()
    weights = torch.randn(20, 30, 4)
    taken, expected = gather(own, index), torchs[index]
    assert torch.equal(taken, expected)
    (taken * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(own.grad, torchs.grad)


def test_the_gradient_of_a_sum_is_the_cells_own():
    values, index, cells = rows(count=200, cells=20)
    values.requires_grad_()
    weights = torch.randn(cells, 4)
    (scatter_sum(values, index, cells) * weights).sum().backward()
    assert torch.equal(values.grad, weights[index])


def test_nothing_adds_up_to_zeros():
    none = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(scatter_sum(torch.zeros(0, 2), none, 3), torch.zeros(3, 2))
