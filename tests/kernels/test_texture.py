import pytest
import torch

from geneman.kernels.texture import footprints, level_count, read_texture
from tests.oracles.texture import read_one_sample_at_a_time


def random_samples(count, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    uv = torch.rand(count, 2, generator=generator) * 1.2 - 0.1  # some beyond the border
    level = torch.rand(count, generator=generator) * 6 - 1
    return uv, level


@pytest.mark.parametrize("size", [1, 12, 16])
def test_reading_equals_its_definition(size):
    uv, level = random_samples(60)
    texture = torch.rand(size, size, 3)
    values = read_texture(texture, footprints(uv, level, size=size))
    torch.testing.assert_close(values, read_one_sample_at_a_time(texture, uv, level))


def test_the_adjoint_equals_that_of_the_definition():
    uv, level = random_samples(80)
    ours = torch.rand(16, 16, 3).requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    weights = torch.randn(80, 3)
    (read_texture(ours, footprints(uv, level, size=16)) * weights).sum().backward()
    (read_one_sample_at_a_time(plain, uv, level) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


def test_a_sample_at_a_texels_centre_reads_that_texel_and_row_0_is_at_the_top():
    texture = torch.arange(16.0).reshape(4, 4, 1)
    uv = torch.tensor([[0.125, 0.875], [0.875, 0.125]])
    values = read_texture(texture, footprints(uv, torch.zeros(2), size=4))
    assert values.flatten().tolist() == [0.0, 15.0]


def test_the_coarsest_level_reads_the_mean():
    texture = torch.rand(8, 8, 3)
    values = read_texture(texture, footprints(torch.rand(5, 2), torch.full((5,), 9.0), size=8))
    torch.testing.assert_close(values, texture.mean(dim=(0, 1)).expand(5, 3))


def test_weights_of_every_sample_add_up_to_one():
    prints = footprints(*random_samples(500), size=64)
    torch.testing.assert_close(prints.weights.sum(dim=1), torch.ones(500))


def test_the_adjoint_has_the_same_bits_every_time():
    uv, level = random_samples(30_000)
    prints = footprints(uv, level, size=64)
    gradients = []
    for _ in range(3):
        texture = torch.zeros(64, 64, 3, requires_grad=True)
        (read_texture(texture, prints) * uv[:, :1]).sum().backward()
        gradients.append(texture.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_footprints_of_another_size_are_refused():
    prints = footprints(torch.rand(3, 2), torch.zeros(3), size=8)
    with pytest.raises(ValueError, match="Footprints of size 8 cannot read 16 texels"):
        read_texture(torch.rand(16, 16, 3), prints)


@pytest.mark.parametrize(("size", "levels"), [(1, 1), (2048, 12), (12, 3), (7, 1)])
def test_a_side_is_halved_as_long_as_it_is_even(size, levels):
    assert level_count(size) == levels
