import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.camera import Orbit, Rays, pixel_grid
from geneman.kernels.compositing import accumulate, visible, weigh
from geneman.kernels.ray_march import Samples, march
from geneman.mesh import Box
from tests.oracles import volume as oracle

BOX = Box((-0.3, -0.2, -0.5), (0.4, 0.2, 0.5))


def random_samples(rays=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 7, (rays,), generator=generator, dtype=torch.int32)
    owners = torch.repeat_interleave(torch.arange(rays), counts)
    near = torch.arange(len(owners)) * 0.1
    far = near + 0.1 * torch.rand(len(owners), generator=generator)
    starts = (counts.cumsum(0) - counts).int()
    density = torch.rand(len(owners), generator=generator) * 20
    return Samples(starts, counts, owners, near, far), density


@pytest.mark.parametrize("camera", [Orbit(), Orbit(azimuth_deg=70, elevation_deg=30)])
def test_marching_equals_its_definition(camera):
    rays = camera.rays(pixel_grid(12).reshape(-1, 2))
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(5, 4, 6, generator=generator) > 0.5
    jitter = torch.rand(144, generator=generator)
    samples = march(rays, BOX, cells, step=0.05, jitter=jitter)
    missed = 0
    for ray in range(144):
        own = slice(samples.starts[ray], samples.starts[ray] + samples.counts[ray])
        want = oracle.march(
            rays.origins[ray].tolist(),
            rays.directions[ray].tolist(),
            BOX,
            cells,
            0.05,
            jitter[ray].item(),
        )
        assert (samples.rays[own] == ray).all()
        got = torch.stack([samples.near[own], samples.far[own]], dim=-1)
        if len(got) != len(want):  # a middle on the border of two cells, to rounding
            missed += 1
            continue
        torch.testing.assert_close(got, torch.tensor(want).reshape(-1, 2), atol=1e-5, rtol=0)
    assert missed <= 1
    assert len(samples.near) > 200


def test_a_full_grid_is_covered_without_gaps():
    rays = Orbit(azimuth_deg=33, elevation_deg=10).rays(torch.zeros(1, 2))
    cells = torch.ones(2, 2, 2, dtype=torch.bool)
    samples = march(rays, BOX, cells, step=0.03, jitter=torch.tensor([0.7]))
    torch.testing.assert_close(samples.near[1:], samples.far[:-1])
    ends = rays.origins + torch.stack([samples.near[0], samples.far[-1]])[:, None] * rays.directions
    assert BOX.padded(1e-5).contains(ends).all()
    assert not BOX.padded(-1e-5).contains(ends).any()


def test_rays_that_miss_or_look_away_have_no_samples():
    origins = torch.tensor([[0.0, -3, 2], [0, -3, 0], [0, 0, 0]])
    directions = torch.tensor([[0.0, 1, 0], [0, -1, 0], [1, 0, 0]])
    cells = torch.ones(3, 3, 3, dtype=torch.bool)
    samples = march(Rays(origins, directions), BOX, cells, step=0.1)
    assert samples.counts.tolist() == [0, 0, 4]
    torch.testing.assert_close(samples.far[-1].item(), 0.4)


def test_keeping_samples_keeps_their_rays_together():
    samples, density = random_samples()
    keep = density > 10
    kept = samples.kept(keep)
    assert torch.equal(kept.rays, samples.rays[keep])
    assert torch.equal(kept.counts, torch.bincount(kept.rays, minlength=9).int())
    assert torch.equal(kept.starts, (kept.counts.cumsum(0) - kept.counts).int())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_compositing_and_its_gradients_equal_their_definition(seed):
    samples, density = random_samples(seed=seed)
    if len(density) == 0:
        return
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(density), 5, generator=generator).requires_grad_()
    density.requires_grad_()
    weights = weigh(density, samples)
    sums = accumulate(weights, values, samples)
    near, far = samples.near.double(), samples.far.double()
    slow_weights, slow_sums = oracle.composite(
        density.double(), values.double(), near, far, samples.rays, 9
    )
    torch.testing.assert_close(weights.double(), slow_weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sums.double(), slow_sums, rtol=1e-4, atol=1e-5)
    probe = torch.randn(sums.shape, generator=generator)
    extra = torch.randn(weights.shape, generator=generator)
    got = torch.autograd.grad((sums * probe).sum() + (weights * extra).sum(), [density, values])
    want = torch.autograd.grad(
        (slow_sums * probe).sum() + (slow_weights * extra).sum(), [density, values]
    )
    for ours, slow in zip(got, want, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-3, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_weights_add_up_to_at_most_one_and_are_never_negative(seed):
    samples, density = random_samples(seed=seed)
    weights = weigh(density, samples)
    total = accumulate(weights, torch.ones(len(weights), 1), samples)
    assert (weights >= 0).all()
    assert (total <= 1 + 1e-6).all()
    optical = accumulate(
        density * (samples.far - samples.near), torch.ones(len(weights), 1), samples
    )
    torch.testing.assert_close(total, 1 - torch.exp(-optical), rtol=1e-4, atol=1e-6)


def test_an_opaque_sample_hides_everything_behind_it():
    starts, counts = torch.tensor([0], dtype=torch.int32), torch.tensor([3], dtype=torch.int32)
    near = torch.tensor([0.0, 1, 2])
    samples = Samples(starts, counts, torch.zeros(3, dtype=torch.long), near, near + 1)
    density = torch.tensor([0.0, 1e6, 1e6])
    assert weigh(density, samples).tolist() == [0, 1, 0]
    marks = visible(density, samples, least_light=1e-3, least_alpha=0.01)
    assert marks.tolist() == [False, True, False]
