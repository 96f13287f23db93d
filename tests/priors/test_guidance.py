"""Score distillation, SDEdit and tiling against denoisers whose answer is known exactly."""

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel  # noqa: TID253 (what is tested)

from geneman.camera import Orbit
from geneman.errors import OptionError
from geneman.priors.bundle import Editor, Guidance
from geneman.priors.diffusion import Conditions, Diffusion, Steering, normal_noise
from geneman.priors.guidance import Repaint, ScoreDistillation, noise_share, time_of
from geneman.priors.tiling import Tiled, tiled, untiled

SIZE = 8
SPREAD = 0.3
"""Standard deviation of the Gaussian that the oracle believes in."""


def scheduler(prediction="epsilon", **options):
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.0120,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        **options,
    )


class Gaussian:
    """The exact denoiser of images drawn from N(mean, SPREAD^2): what a perfect network says."""

    def __init__(self, mean, schedule):
        self.mean, self.schedule = mean, schedule

    def __call__(self, sample, timestep, mean=None):
        mean = self.mean if mean is None else mean
        left = self.schedule.alphas_cumprod[timestep][:, None, None, None]
        apart = sample - left.sqrt() * mean
        noise = (1 - left).sqrt() * apart / (left * SPREAD**2 + 1 - left)
        if self.schedule.config.prediction_type == "epsilon":
            return noise
        clean = (sample - (1 - left).sqrt() * noise) / left.sqrt()
        if self.schedule.config.prediction_type == "sample":
            return clean
        return left.sqrt() * noise - (1 - left).sqrt() * clean


class Plain:
    """Pictures are the latents."""

    def encode(self, images):
        return images.movedim(-1, 1)

    def decode(self, latents, size):
        return latents.movedim(1, -1)


class Halved:
    """Latents are half as large: a codec through which gradients must find their way."""

    def encode(self, images):
        return torch.nn.functional.avg_pool2d(images.movedim(-1, 1), 2) * 2 - 1

    def decode(self, latents, size):
        return torch.nn.functional.interpolate((latents + 1) / 2, size=size).movedim(1, -1)


@pytest.fixture
def mean():
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def distillation(mean, prediction="epsilon", **options):
    schedule = scheduler(prediction)
    diffusion = Diffusion(Gaussian(mean, schedule), schedule)
    return ScoreDistillation(diffusion, Plain(), lambda orbits: Conditions(), **options)


ORBITS = [Orbit(), Orbit(90.0)]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_gradient_is_the_weighted_residual(mean, prediction):
    guidance = distillation(mean, prediction)
    assert isinstance(guidance, Guidance)
    images = torch.rand(2, SIZE, SIZE, 3, generator=drawn(1)).requires_grad_()
    guidance(images, ORBITS, noise=(0.2, 0.5), generator=drawn()).backward()
    # The same draws, in the same order, through the formula.
    generator = drawn()
    times = torch.randint(200, 501, (2,), generator=generator)
    noise = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    left = guidance.diffusion.scheduler.alphas_cumprod[times][:, None, None, None]
    noisy = left.sqrt() * images.detach().movedim(-1, 1) + (1 - left).sqrt() * noise
    oracle = Gaussian(mean, scheduler())(noisy, times)
    wanted = (1 - left) * (oracle - noise) / 2
    torch.testing.assert_close(images.grad.movedim(-1, 1), wanted, atol=2e-5, rtol=1e-4)


def test_the_gradient_passes_the_codec(mean):
    schedule = scheduler()
    small = Gaussian(mean[..., ::2, ::2], schedule)
    guidance = ScoreDistillation(Diffusion(small, schedule), Halved(), lambda orbits: Conditions())
    images = torch.rand(1, SIZE, SIZE, 3, generator=drawn(1)).requires_grad_()
    guidance(images, ORBITS[:1], noise=(0.2, 0.5), generator=drawn()).backward()
    # Each latent is twice the mean of four pixels, which therefore share half its gradient.
    blocks = images.grad.movedim(-1, 1).reshape(1, 3, 4, 2, 4, 2)
    torch.testing.assert_close(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
    latents = Halved().encode(images.detach()).movedim(1, -1).requires_grad_()
    plain = ScoreDistillation(Diffusion(small, schedule), Plain(), lambda orbits: Conditions())
    plain(latents, ORBITS[:1], noise=(0.2, 0.5), generator=drawn()).backward()
    torch.testing.assert_close(blocks[:, :, :, 0, :, 0] * 2, latents.grad.movedim(-1, 1))


def test_distillation_pulls_to_the_mode(mean):
    guidance, generator = distillation(mean), drawn()
    images = torch.zeros(1, SIZE, SIZE, 3).requires_grad_()
    optimiser = torch.optim.Adam([images], 0.05)
    for step in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / 300)
        optimiser.zero_grad()
        guidance(images, ORBITS[:1], noise=(0.02, 0.98), generator=generator).backward()
        optimiser.step()
    # The mode, not a sample: a sample would be SPREAD away.
    assert (images.detach().movedim(-1, 1) - mean).square().mean().sqrt() < 0.1 * SPREAD


def test_the_weight_is_the_share_of_noise():
    schedule = scheduler()
    diffusion = Diffusion(lambda *_: None, schedule)
    times = torch.tensor([0, 500, 999])
    torch.testing.assert_close(
        noise_share(diffusion, times).flatten(), 1 - schedule.alphas_cumprod[times]
    )


def test_both_forms_of_guidance_and_how_they_differ():
    """METHOD section 8: at scale 20 the colour guidance is in effect at 21."""
    given, absent = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 1.0)
    conditions = Conditions({"say": given}, {"say": absent})
    noisy, times = torch.zeros(1, 1, 2, 2), torch.tensor([10])

    def steered(form, scale):
        diffusion = Diffusion(lambda sample, timestep, say: say, scheduler(), scale, form)
        return diffusion.predict(noisy, times, conditions).unique().item()

    assert steered(Steering.FROM_UNCONDITIONED, 20) == 1 + 20 * 2
    assert steered(Steering.FROM_CONDITIONED, 20) == 3 + 20 * 2
    for scale in (0.0, 5.0, 20.0):
        assert steered(Steering.FROM_CONDITIONED, scale) == steered(
            Steering.FROM_UNCONDITIONED, scale + 1
        )
    assert steered(Steering.FROM_UNCONDITIONED, 1) == 3
    assert steered(Steering.FROM_UNCONDITIONED, 0) == 1


def test_steering_asks_once_with_and_without_the_conditions():
    calls = []

    def denoiser(sample, timestep, say):
        calls.append((sample.shape, timestep.tolist(), say.flatten().tolist()))
        return sample

    conditions = Conditions({"say": torch.ones(2, 1)}, {"say": torch.zeros(2, 1)})
    diffusion = Diffusion(denoiser, scheduler(), 2.0)
    diffusion.predict(torch.zeros(2, 1, 2, 2), torch.tensor([3, 4]), conditions)
    assert calls == [((4, 1, 2, 2), [3, 4, 3, 4], [1, 1, 0, 0])]
    for scale, form in ((1.0, Steering.FROM_UNCONDITIONED), (0.0, Steering.FROM_CONDITIONED)):
        calls.clear()
        plain = Diffusion(denoiser, scheduler(), scale, form)
        plain.predict(torch.zeros(2, 1, 2, 2), torch.tensor([3, 4]), conditions)
        assert calls == [((2, 1, 2, 2), [3, 4], [1, 1])]  # nothing to steer by: half the work


def test_a_scheduler_with_an_unknown_prediction_is_refused():
    schedule = scheduler()
    schedule.register_to_config(prediction_type="score")
    with pytest.raises(OptionError, match=r"'score'.*trained with"):
        Diffusion(lambda *_: None, schedule)


def repaint(mean, **options):
    schedule = scheduler(rescale_betas_zero_snr=True, prediction="v_prediction")
    schedule.alphas_cumprod[-1] = 1e-12  # the oracle divides by it
    diffusion = Diffusion(Gaussian(mean, schedule), schedule)
    return Repaint(diffusion, Plain(), lambda orbits, normals: Conditions(), **options)


def test_editing_without_noise_is_the_identity(mean):
    editor = repaint(mean)
    assert isinstance(editor, Editor)
    images = torch.rand(2, SIZE, SIZE, 3, generator=drawn(1))
    edited = editor(images, images, ORBITS, noise=(0.0, 0.0), generator=drawn())
    assert torch.equal(edited, images)


def test_editing_at_full_noise_forgets_the_render_and_draws_from_the_model(mean):
    editor = repaint(mean, steps=200)
    first, second = torch.zeros(2, SIZE, SIZE, 3), torch.ones(2, SIZE, SIZE, 3)
    drawings = [
        editor(images, images, ORBITS, noise=(1.0, 1.0), generator=drawn())
        for images in (first, second)
    ]
    torch.testing.assert_close(drawings[0], drawings[1], atol=1e-4, rtol=0)
    assert not torch.allclose(drawings[0][0], drawings[0][1], atol=0.1)
    apart = drawings[0].movedim(-1, 1) - mean
    # 384 draws: their mean is known to a twentieth of the spread, their spread to a 28th.
    assert apart.mean().abs() < 0.15 * SPREAD
    assert apart.std().item() == pytest.approx(SPREAD, rel=0.1)


def test_editing_in_between_keeps_some_of_the_render(mean):
    editor = repaint(mean)
    images = torch.ones(1, SIZE, SIZE, 3) * 2
    gaps = [
        (editor(images, images, ORBITS[:1], noise=(n, n), generator=drawn()) - images).abs().mean()
        for n in (0.1, 0.4, 0.8)
    ]
    assert gaps[0] < gaps[1] < gaps[2]


def test_the_released_edit_takes_21_strides_of_25():
    diffusion = Diffusion(lambda *_: None, scheduler())
    for time in (500, 510):
        assert len(diffusion.times(time, 40)) == 21
    assert diffusion.times(999, 8)[-1] == 124


def test_a_share_outside_the_range_is_refused():
    diffusion = Diffusion(lambda *_: None, scheduler())
    assert [time_of(diffusion, share) for share in (0.0, 0.2, 0.5, 1.0)] == [0, 200, 500, 999]
    with pytest.raises(OptionError, match=r"1\.2.*settings"):
        time_of(diffusion, 1.2)


def test_tiles_are_cut_as_they_were_laid():
    views = torch.arange(2 * 6 * 3 * 4 * 5.0).reshape(12, 3, 4, 5)
    images = tiled(views, columns=3, rows=2)
    assert images.shape == (2, 3, 8, 15)
    torch.testing.assert_close(images[0, :, :4, 5:10], views[1])
    torch.testing.assert_close(images[0, :, 4:, :5], views[3])
    torch.testing.assert_close(untiled(images, columns=3, rows=2), views)


def test_views_of_a_tile_see_each_other_and_apart_they_do_not():
    def mixing(sample, timestep):
        return sample.mean(dim=(2, 3), keepdim=True).expand_as(sample)

    views = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    times = torch.tensor([5, 5])
    assert Tiled(mixing, columns=2)(views, times).unique().tolist() == [0.5]
    assert mixing(views, times).unique().tolist() == [0.0, 1.0]


def test_tiling_a_denoiser_that_sees_single_pixels_changes_nothing(mean):
    schedule = scheduler()
    # As with attention that is masked: nothing passes from one view to another.
    oracle = Gaussian(0.5, schedule)
    views = torch.rand(4, 3, SIZE, SIZE, generator=drawn(5))
    times = torch.full((4,), 300)
    torch.testing.assert_close(Tiled(oracle, 2, 2)(views, times), oracle(views, times))


def test_what_two_views_share_gets_the_same_residual_under_shared_noise_only():
    """Two views of one tile that overlap by half must be told the same about it."""
    whole = torch.rand(1, SIZE, SIZE, 3, generator=drawn(2))
    views = torch.cat([whole, whole]).requires_grad_()
    schedule = scheduler()
    unet = torch.nn.Conv2d(3, 3, 1)  # one pixel at a time: what agrees before agrees after
    torch.nn.init.normal_(unet.weight, generator=drawn(3))

    def residuals(shared):
        tile = Tiled(lambda sample, timestep: unet(sample), columns=2)
        guidance = ScoreDistillation(
            Diffusion(tile, schedule), Plain(), lambda orbits: Conditions(), shared_noise=shared
        )
        loss = guidance(views, ORBITS, noise=(0.5, 0.5), generator=drawn())
        return torch.autograd.grad(loss, views)[0]

    first, second = residuals(shared=True)
    torch.testing.assert_close(first, second)
    assert first.abs().max() > 0
    first, second = residuals(shared=False)
    assert (first - second).abs().mean() > 0.1 * first.abs().mean()


def test_a_batch_that_does_not_fill_its_tiles_is_refused():
    with pytest.raises(OptionError, match="tiles of 4, but got 3 views"):
        Tiled(lambda sample, timestep: sample, 2, 2)(
            torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
        )


def test_a_condition_that_is_a_map_is_tiled_with_its_view():
    def told(sample, timestep, map, words):
        assert map.shape[-2:] == sample.shape[-2:]
        assert len(words) == len(sample)
        return map

    maps = torch.rand(2, 3, 4, 4, generator=drawn())
    answer = Tiled(told, columns=2)(
        torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.long), map=maps, words=torch.zeros(2, 7)
    )
    torch.testing.assert_close(answer, maps)


def test_shared_noise_is_the_same_in_every_view_and_a_normal_draw():
    noise = normal_noise((3, 2, 32, 32), drawn(), torch.zeros(1), shared=True)
    assert torch.equal(noise[0], noise[2])
    assert noise.std().item() == pytest.approx(1.0, rel=0.05)
    apart = normal_noise((3, 2, 32, 32), drawn(), torch.zeros(1), shared=False)
    assert not torch.equal(apart[0], apart[2])


def test_diffusers_own_network_fits_as_it_is():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIZE,
        in_channels=3,
        out_channels=3,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).requires_grad_(False)
    words = torch.rand(1, 4, 8, generator=drawn())

    def conditioning(orbits):
        rows = (len(orbits), -1, -1)
        return Conditions(
            {"encoder_hidden_states": words.expand(rows)},
            {"encoder_hidden_states": torch.zeros_like(words).expand(rows)},
        )

    diffusion = Diffusion(unet, scheduler(), 5.0)
    images = torch.rand(2, SIZE, SIZE, 3, generator=drawn(1)).requires_grad_()
    loss = ScoreDistillation(diffusion, Plain(), conditioning)(
        images, ORBITS, noise=(0.2, 0.5), generator=drawn()
    )
    loss.backward()
    assert images.grad.abs().sum() > 0
    edited = Repaint(diffusion, Plain(), lambda orbits, normals: conditioning(orbits), steps=10)(
        images.detach(), images.detach(), ORBITS, noise=(0.3, 0.3), generator=drawn()
    )
    assert edited.shape == images.shape
    assert (edited - images).abs().max() > 0.01
