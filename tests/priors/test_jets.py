"""Local jets: derivatives by the formula, light from where it comes, alike in the mirror."""

import pytest
import torch
from torch.nn.functional import normalize

from geneman.priors.bundled.detail_network import (
    DetailNetwork,
    DetailWidths,
    detailed,
    read_detail_weights,
    turned,
)
from geneman.priors.bundled.geometry_network import shown
from geneman.priors.bundled.geometry_prior import DETAIL, WEIGHTS
from geneman.priors.bundled.jets import (
    COUNT,
    DARK,
    GAINS,
    MIRROR,
    SCALES,
    blurred_within,
    jets,
    light_of,
)

ACROSS = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
WHOLE = torch.ones(1, 1, 64, 64)


def somebody(seed=0, side=64):
    """Give a patchy photo of a blob, and any smooth normals."""
    torch.manual_seed(seed)
    along = torch.linspace(-1.2, 1.2, side)
    inside = (along[:, None].square() + along.square() < 1).float()[None, None]
    normal = blurred_within(torch.randn(1, 3, side, side), torch.ones_like(inside), 4)
    normal = normalize(normal + torch.tensor([0.0, 0.0, 0.5])[:, None, None], dim=1)
    return shown(torch.rand(1, 3, side, side), inside), normal


def ball(light, *, side=128):
    """Photograph a grey ball whose light grows exponentially towards its source."""
    along = torch.linspace(-1.2, 1.2, side)
    y, x = torch.meshgrid(along, along, indexing="ij")
    away = x.square() + y.square()
    normal = torch.stack([x, -y, (1 - away).clamp_min(0).sqrt()])[None]
    linear = 0.2 * (normal[0] * torch.tensor(light)[:, None, None]).sum(dim=0).exp()
    grey = 1.055 * linear ** (1 / 2.4) - 0.055
    cover = (away < 1).float()[None, None]
    return shown(grey.clamp(0, 1).expand(1, 3, -1, -1), cover), normal


def photo_of_tone(tone):
    """Photograph a grey whole square whose logarithm of light, DARK included, is given."""
    linear = tone.exp() - DARK
    srgb = torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return shown(srgb.expand(1, 3, -1, -1), torch.ones(1, 1, *tone.shape))


def facing(side):
    normal = torch.zeros(1, 3, side, side)
    normal[:, 2] = 1.0
    return normal


def test_a_quadratic_tone_has_its_derivatives_at_every_scale_and_pixel():
    along = torch.arange(512.0) - 256
    y, x = torch.meshgrid(along, along, indexing="ij")
    tone = -1 + 1e-3 * x - 2e-3 * y + 1e-5 * x * x + 4e-6 * y * y + 3e-6 * x * y
    found = jets(photo_of_tone(tone), facing(512))[0] / GAINS[:, None, None]
    patch = slice(251, 261)
    for number, scale in enumerate(SCALES):
        _, across, down, bent, tall, twisted = found[13 * number : 13 * number + 6, patch, patch]
        near = {"atol": 2e-3 * scale**2 * 1e-3, "rtol": 0.04}
        torch.testing.assert_close(
            across, scale * (1e-3 + 2e-5 * x + 3e-6 * y)[patch, patch], **near
        )
        torch.testing.assert_close(
            down, scale * (-2e-3 + 8e-6 * y + 3e-6 * x)[patch, patch], **near
        )
        for part, wanted in ((bent, 2e-5), (tall, 8e-6), (twisted, 3e-6)):
            torch.testing.assert_close(part, torch.full_like(part, wanted * scale**2), **near)


def test_a_shifted_photo_has_shifted_jets():
    photo, normal = somebody(side=128)
    found, shifted = jets(photo, normal), jets(photo.roll(1, -1), normal.roll(1, -1)).roll(-1, -1)
    tone = slice(0, 13 * len(SCALES))  # the light is of 4 x 4 cells
    apart = (found - shifted)[:, tone, 32:-32, 32:-32]
    assert apart.square().mean().sqrt() < 0.05 * found[:, tone].square().mean().sqrt()


def test_what_is_lighter_than_its_surroundings_would_have_to_turn_to_the_lamp():
    photo, normal = ball((0.5, -0.4, 0.3))
    photo[:, :3, 60:68, 60:68] += 0.3  # at the ball's middle
    found = jets(photo, normal)[0] / GAINS[:, None, None]
    for number in range(3):
        swing, across, up = found[[13 * number, 13 * number + 8, 13 * number + 9], 64, 64]
        if abs(swing) > 0.01:
            assert across * swing > 0, "the lamp is on the right"
            assert up * swing < 0, "and below"
    assert found[26 + 8, 64, 64] > 0.05


def test_colours_edges_and_roughness_are_told_from_even_grey():
    grey = photo_of_tone(torch.full((64, 64), -1.0))
    plain = jets(grey, facing(64))[0]
    dotted = grey.clone()
    dotted[:, 0, ::4, ::4] += 0.6
    found = jets(dotted, facing(64))[0]
    hue, edge, rough = range(10, 13)
    for part in (hue, edge, rough):
        assert plain[part, 20:44, 20:44].abs().max() < 1e-2
        assert found[part, 20:44, 20:44].abs().mean() > 0.05, part


def test_the_fine_part_of_normals_is_what_blurring_takes_away():
    photo, normal = somebody()
    cover = (photo[:, 3:] + 1) / 2
    start = 13 * len(SCALES) + 1
    found = (jets(photo, normal) / GAINS[:, None, None])[:, start : start + 5]
    known = blurred_within(normal, cover, SCALES[-1])
    inside = cover[0, 0] > 0
    torch.testing.assert_close(found[0, :2, inside], (normal - known)[0, :2, inside])
    torch.testing.assert_close(found[0, 2:, inside], known[0][:, inside])


def test_a_soft_outline_changes_little_inside():
    photo, normal = somebody(side=128)
    cover = (photo[:, 3:] + 1) / 2
    soft = blurred_within(cover, torch.ones_like(cover), 2)
    colour = photo[:, :3] / 2 / cover.clamp_min(1e-2) + 0.5
    hard, found = jets(shown(colour, cover), normal), jets(shown(colour, soft), normal)
    inner = slice(44, 84)
    apart = (found - hard)[:, :39, inner, inner]  # of scales that do not reach the outline
    assert apart.square().mean().sqrt() < 0.1 * hard[:, :39].square().mean().sqrt()


def test_a_mirrored_photo_has_mirrored_jets():
    photo, normal = somebody()
    mirrored = jets(photo.flip(-1), normal.flip(-1) * ACROSS).flip(-1)
    found = jets(photo, normal)
    assert found.shape == (1, COUNT, 64, 64)
    torch.testing.assert_close(mirrored * MIRROR[:, None, None], found, atol=2e-3, rtol=0)


def test_what_is_beyond_the_outline_does_not_count():
    photo, normal = somebody()
    other = torch.where(photo[:, 3:] > -1, normal, -normal)
    inside = photo[0, 3] > -1
    torch.testing.assert_close(jets(photo, normal)[0, :, inside], jets(photo, other)[0, :, inside])


def test_blurring_keeps_what_is_even_up_to_the_outline():
    photo, _ = somebody()
    cover = (photo[:, 3:] + 1) / 2
    for scale in SCALES:
        found = blurred_within(torch.full((1, 1, 64, 64), 3.0), cover, scale)
        torch.testing.assert_close(found[cover > 0], torch.full((int(cover.sum()),), 3.0))


@pytest.mark.parametrize("light", [(0.5, 0.3, 0.2), (0.0, 0.6, 0.0), (-0.7, 0.0, 0.4)])
def test_light_comes_from_where_it_does(light):
    found = light_of(*ball(light))[0]
    wanted = torch.tensor(light)
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.98
    assert 0.75 < found.norm() / wanted.norm() < 1.0, "the ridge keeps doubtful light faint"


def test_a_black_spot_is_noise_and_not_light():
    photo, normal = ball((0.0, 0.5, 0.0))
    plain = light_of(photo, normal)
    photo[:, :3, 26:34, 56:72] = -(photo[:, 3:, 26:34, 56:72] + 1) / 2  # where it is light
    found = light_of(photo, normal)
    assert (found - plain).abs().max() < 0.08, "as dark as two usual deviations, not as black"


def test_where_nobody_is_or_all_is_black_there_is_no_light():
    for cover in (torch.zeros_like(WHOLE), WHOLE):
        photo = shown(torch.zeros(1, 3, 64, 64), cover)
        found = light_of(photo, torch.rand(1, 3, 64, 64))
        torch.testing.assert_close(found, torch.zeros(1, 3), atol=1e-5, rtol=0)


def network(*, trained):
    torch.manual_seed(0)
    made = DetailNetwork(DetailWidths((8, 8)))
    if trained:
        torch.nn.init.normal_(made.leave.weight)
        torch.nn.init.normal_(made.leave.bias)
    return made


def test_an_untrained_network_leaves_normals_as_they_are():
    photo, normal = somebody()
    torch.testing.assert_close(detailed(network(trained=False), photo, normal), normal)


def test_turning_by_the_difference_gives_the_normal_that_was_wanted():
    torch.manual_seed(0)
    smooth = normalize(torch.randn(50, 3) + torch.tensor([0.0, 0.0, 3.0]), dim=1)
    wanted = normalize(smooth + 0.1 * torch.randn(50, 3), dim=1)
    turn = wanted[:, :2] * (smooth[:, 2:] / wanted[:, 2:]) - smooth[:, :2]
    torch.testing.assert_close(turned(smooth, turn), wanted)


def test_details_are_drawn_within_the_person_alike_in_the_mirror():
    photo, normal = somebody()
    normal = normal.contiguous(memory_format=torch.channels_last)
    before, made = normal.clone(), network(trained=True)
    found = detailed(made, photo, normal)
    assert torch.equal(normal, before)
    outside = (photo[0, 3] == -1).expand(3, -1, -1)
    torch.testing.assert_close(found[0][outside], normal[0][outside])
    assert (found - normal)[:, :2].abs().amax() > 0.1
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, 64, 64))
    mirrored = detailed(made, photo.flip(-1), normal.flip(-1) * ACROSS).flip(-1) * ACROSS
    torch.testing.assert_close(mirrored, found, atol=2e-3, rtol=0)


def test_shipped_details_find_the_waves_on_a_ball_by_their_light():
    file = WEIGHTS.with_name(DETAIL)
    if not file.is_file():
        pytest.skip("this checkout ships no trained weights")
    along = torch.linspace(-1.2, 1.2, 512)
    y, x = torch.meshgrid(along, along, indexing="ij")
    away = x.square() + y.square()
    inside = away < 0.98
    ball = torch.stack([x, -y, (1 - away).clamp_min(1e-4).sqrt()])
    ripple = 0.25 * torch.stack([(40 * x + 25 * y).cos(), (31 * y - 12 * x).cos(), 0 * x])
    truth = normalize(ball + ripple, dim=0)
    lamp = normalize(torch.tensor([0.4, 0.7, 0.6]), dim=0)
    linear = 0.2 + 0.4 * (truth * lamp[:, None, None]).sum(dim=0).clamp_min(0)
    photo = shown((linear ** (1 / 2.2)).expand(1, 3, -1, -1), inside.float()[None, None])
    network, _ = read_detail_weights(file)
    found = detailed(network, photo, ball[None])[0]
    drawn, smooth = (
        (n * truth).sum(dim=0)[inside].clamp(-1, 1).acos().rad2deg().mean() for n in (found, ball)
    )
    assert drawn < 0.93 * smooth
