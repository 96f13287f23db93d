"""What a photo looks like around each of its pixels: local jets, and where the light comes from.

A jet is what a few derivatives at a few scales tell of an image (J. Koenderink, A. van Doorn 1987).
Of light on cloth and skin they tell how the surface turns: slopes towards the lamp are lighter,
valleys darker. B images, S pixels along a side (a multiple of 16), J numbers a pixel.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from geneman.colour import to_linear
from geneman.priors.bundled.geometry_network import PAPER

SCALES = (1, 2, 4, 8, 16)
"""Standard deviations of the Gaussians, in pixels of a picture 512 wide; each power of two."""

WIDEST = 2 * SCALES[-1]
"""Standard deviation of the surroundings that the widest scale is compared with."""

DARK = 0.02
"""Linear light that keeps black from counting most."""

RIDGE, DIM = 0.01, 0.05
"""What holds back a doubtful light, and one too faint to tell how anything turns."""

COARSE = 4
"""Pixels along the side of the cells in which the light is looked for."""

_TONE = ((8, 1), (6, -1), (6, 1), (6, 1), (6, 1), (8, -1))
_TURN = ((15, -1), (10, 1), (15, -1), (15, 1))
_CLOTH = ((6, 1), (3, 1), (5, 1))
_SHAPE = ((4, -1), (5, 1), (3, -1), (4, 1), (2, 1), (12, 1), (12, -1), (12, -1), (12, 1))
_LIGHT = ((2, -1), (1.2, 1), (1.2, 1))
_PARTS = (*(_TONE + _TURN + _CLOTH) * len(SCALES), (0.6, 1), *_SHAPE, *_LIGHT, *((2, 1),) * 6)

GAINS, MIRROR = (torch.tensor(column, dtype=torch.float32) for column in zip(*_PARTS, strict=True))
"""What brings each number to the order of 1 on rendered people, and its sign in a mirror."""

LIMIT = 2.0
"""What numbers are held to: beyond those of rendered people a network can only guess."""

COUNT = len(_PARTS)
"""Numbers a pixel: J."""


def jets(
    photo: Float[Tensor, "b 4 s s"], normal: Float[Tensor, "b 3 s s"]
) -> Float[Tensor, "b j s s"]:
    """Give the jets of a photo: of its tone, its colours, and how its smooth normals lie.

    Args:
        photo: As `geometry_network.shown` lays it out.
        normal: Unit, camera frame; anything outside the person.
    """
    cover = (photo[:, 3:] + 1) / 2
    light = light_of(photo, normal)
    tone, hues = _tone_and_hues(photo)
    seen = torch.cat([tone, hues], dim=1)
    levels = [_within(seen, cover, scale) for scale in (*SCALES, WIDEST)]
    parts = []
    for scale, pair in zip(SCALES, pairwise(levels), strict=True):
        parts += _at(scale, seen, pair, light, cover)
    known = blurred_within(normal, cover, SCALES[-1])
    across, down = _slopes(blurred_within(normal, cover, 2))
    parts += [_enlarged(levels[-1], seen)[:, :1], (normal - known)[:, :2], known]
    parts += [across[:, :2], down[:, :2]]
    parts += [light[..., None, None].expand(-1, -1, *photo.shape[-2:])]
    parts += [_gaussian(cover, scale) for scale in (*SCALES, WIDEST)]
    found = torch.cat(parts, dim=1)
    return found.mul_(GAINS.to(photo)[:, None, None]).clamp_(-LIMIT, LIMIT)


def light_of(
    photo: Float[Tensor, "b 4 s s"], normal: Float[Tensor, "b 3 s s"]
) -> Float[Tensor, "b 3"]:
    """Find where a photo's light comes from: how its logarithm grows with the smooth normals.

    A ridge regression over the person's pixels; what they wear is noise to it.

    Args:
        photo: As `geometry_network.shown` lays it out.
        normal: Unit, camera frame; anything outside the person.
    """
    cover = (photo[:, 3:] + 1) / 2
    share, turned, tone = (
        avg_pool2d(plane, COARSE).flatten(2)
        for plane in (cover, normal * cover, _tone_and_hues(photo)[0] * cover)
    )
    inside = (share > 0.9).to(share)  # noqa: PLR2004 (not the outline, which is half backdrop)
    turned, tone = (plane / share.clamp_min(1e-3) for plane in (turned, tone))
    count = inside.sum(dim=2, keepdim=True).clamp_min(1)
    tone = tone - (tone * inside).sum(dim=2, keepdim=True) / count
    usual = ((tone * inside).square().sum(dim=2, keepdim=True) / count).sqrt()
    known = torch.cat([torch.ones_like(tone), turned], dim=1) * inside
    told = tone.clamp(-2 * usual, 2 * usual)
    held = torch.diag(tone.new_tensor([0.0, RIDGE, RIDGE, RIDGE])) * count
    least = torch.eye(4).to(tone) * 1e-6  # of nobody nothing is known
    found: Tensor = torch.linalg.solve(known @ known.mT + held + least, known @ told.mT)
    return found[:, 1:, 0]


def blurred_within(planes: Tensor, cover: Tensor, scale: int) -> Tensor:
    """Blur the person alone, and carry what is blurred beyond the outline."""
    return _enlarged(_within(planes, cover, scale), planes)


def _at(
    scale: int, seen: Tensor, levels: tuple[Tensor, Tensor], light: Tensor, cover: Tensor
) -> list[Tensor]:
    """Give one scale's numbers: the jet of the tone, what light makes of it, and the cloth.

    Args:
        scale: Which.
        seen: Tone and hues.
        levels: These blurred by this scale and by the next, in cells.
        light: Where it comes from.
        cover: The person's.
    """
    small, wider = levels
    # In cells, where they are exact: between enlarged cells there is nothing to derive.
    across, down = (slope * (scale / _cell(scale)) for slope in _slopes(small))
    (bent, twisted), (_, tall) = (_slopes(slope[:, :1]) for slope in (across, down))
    second = torch.cat([bent, tall, twisted], dim=1) * (scale / _cell(scale))
    edge = (across[:, 1:].abs() + down[:, 1:].abs()).sum(dim=1, keepdim=True)
    found = _enlarged(torch.cat([small, across[:, :1], down[:, :1], second, edge], dim=1), seen)
    here, slopes, second, edge = found.split((seen.shape[1], 2, 3, 1), dim=1)
    band, lamp = here - _enlarged(wider, seen), light[..., None, None]
    towards = band[:, :1] * lamp[:, :2]
    # How far each normal would have to turn, were its tone the light's doing alone.
    turn = towards / (lamp.square().sum(dim=1, keepdim=True) + DIM)
    hue = band[:, 1:].abs().sum(dim=1, keepdim=True)
    rough = blurred_within((seen - here)[:, :1].abs(), cover, 2 * scale)
    return [band[:, :1], slopes, second, towards, turn, hue, edge, rough]


def _tone_and_hues(photo: Tensor) -> tuple[Tensor, Tensor]:
    """Give the logarithm of the light, and those of red and blue beside green; 0 elsewhere."""
    cover = (photo[:, 3:] + 1) / 2
    colour = (photo[:, :3] / (2 * cover.clamp_min(1e-2)) + PAPER).clamp(0, 1)
    linear = to_linear(colour)
    logarithm = (linear + DARK).log()
    share = linear.new_tensor([0.2126, 0.7152, 0.0722])[:, None, None]
    tone = ((linear * share).sum(dim=1, keepdim=True) + DARK).log()
    hues = logarithm[:, [0, 2]] - logarithm[:, [1]]
    inside = (cover > 0).to(cover)
    return tone * inside, hues * inside


def _slopes(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Give central differences: across and down."""
    wide = pad(planes, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    return across, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _cell(scale: int) -> int:
    """Give the side of the cells in which a Gaussian is wide enough: a quarter of its deviation."""
    return max(scale // 4, 1)


def _within(planes: Tensor, cover: Tensor, scale: int) -> Tensor:
    """Blur the person alone, in cells."""
    weighed = _in_cells(torch.cat([planes * cover, cover], dim=1), scale)
    return weighed[:, :-1] / weighed[:, -1:].clamp_min(1e-3)


def _gaussian(planes: Tensor, scale: int) -> Tensor:
    return _enlarged(_in_cells(planes, scale), planes)


def _in_cells(planes: Tensor, scale: int) -> Tensor:
    """Blur planes, and leave them in cells, which costs next to nothing where they are large."""
    cell, channels = _cell(scale), planes.shape[1]
    deviation = scale / cell
    reach = int(3 * deviation)
    along = torch.arange(-reach, reach + 1).to(planes)
    kernel = (-(along / deviation).square() / 2).exp()
    kernel = (kernel / kernel.sum()).expand(channels, 1, -1)
    small = pad(avg_pool2d(planes, cell) if cell > 1 else planes, (reach,) * 4)
    once = conv2d(small, kernel[..., None], groups=channels)
    return conv2d(once, kernel[:, :, None], groups=channels)


def _enlarged(cells: Tensor, like: Tensor) -> Tensor:
    """Give cells as pixels again, between them a blend."""
    if cells.shape[-1] == like.shape[-1]:
        return cells
    return interpolate(cells, size=like.shape[-2:], mode="bilinear")
