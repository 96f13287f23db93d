"""Local jets: derivatives by the formula, light from where it comes, alike in the mirror."""

import pytest
import torch
from torch.nn.functional import normalize

from geneman.priors.bundled.detail_network import DetailNetwork, DetailWidths, drawn
from geneman.priors.bundled.geometry_network import shown
from geneman.priors.bundled.jets import COUNT, GAINS, MIRROR, SCALES, blurred, jets, light_of

ACROSS = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
WHOLE = torch.ones(1, 1, 64, 64)


def somebody(seed=0, side=64):
    """Give a patchy photo of a blob, and any smooth normals."""
    torch.manual_seed(seed)
    along = torch.linspace(-1.2, 1.2, side)
    inside = (along[:, None].square() + along.square() < 1).float()[None, None]
    normal = blurred(torch.randn(1, 3, side, side), torch.ones_like(inside), 4)
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


def test_an_even_ramp_has_its_slope_at_every_scale_and_no_bend():
    rise = 0.02  # of the logarithm of linear light, a pixel
    linear = (rise * (torch.arange(512.0) - 256)).clamp(-3, 1).exp() * 0.3
    srgb = 1.055 * linear ** (1 / 2.4) - 0.055
    photo = shown(srgb.expand(1, 3, 512, -1), torch.ones(1, 1, 512, 512))
    facing = torch.zeros(1, 3, 512, 512)
    facing[:, 2] = 1.0
    found = (jets(photo, facing) / GAINS[:, None, None])[0, :, 256, 256]
    for number, scale in enumerate(SCALES):
        _, across, down, bent, tall, twisted = found[13 * number : 13 * number + 6].tolist()
        # DARK flattens the logarithm a little: 0.3 / (0.3 + 0.02).
        assert across == pytest.approx(rise * scale * 0.3 / 0.32, rel=0.06)
        assert (down, tall, twisted) == pytest.approx((0, 0, 0), abs=1e-4)
        assert abs(bent) < 0.1 * across


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
        found = blurred(torch.full((1, 1, 64, 64), 3.0), cover, scale)
        torch.testing.assert_close(found[cover > 0], torch.full((int(cover.sum()),), 3.0))


@pytest.mark.parametrize("light", [(0.5, 0.3, 0.2), (0.0, 0.6, 0.0), (-0.7, 0.0, 0.4)])
def test_light_comes_from_where_it_does(light):
    found = light_of(*ball(light))[0]
    wanted = torch.tensor(light)
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.98
    assert 0.75 < found.norm() / wanted.norm() < 1.0, "the ridge keeps doubtful light faint"


def test_stripes_are_noise_and_not_light():
    photo, normal = ball((0.0, 0.5, 0.0))
    plain = light_of(photo, normal)
    photo[:, :3, ::8] = -(photo[:, 3:, ::8] + 1) / 2  # black, at every height
    torch.testing.assert_close(light_of(photo, normal), plain, atol=0.15, rtol=0)


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
    torch.testing.assert_close(drawn(network(trained=False), photo, normal), normal)


def test_details_are_drawn_within_the_person_alike_in_the_mirror():
    photo, normal = somebody()
    made = network(trained=True)
    found = drawn(made, photo, normal)
    outside = (photo[0, 3] == -1).expand(3, -1, -1)
    torch.testing.assert_close(found[0][outside], normal[0][outside])
    assert (found - normal)[:, :2].abs().amax() > 0.1
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, 64, 64))
    mirrored = drawn(made, photo.flip(-1), normal.flip(-1) * ACROSS).flip(-1) * ACROSS
    torch.testing.assert_close(mirrored, found, atol=2e-3, rtol=0)
