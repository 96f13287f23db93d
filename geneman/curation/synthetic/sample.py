"""One rendered person: the photo that a network is shown, and both sides that it should find.

S pixels along a side. The photo is framed and cut out as `prepare` does it; depth is along the
viewing axis in scene units, and halfway between the two sides its median is the reference
distance, as every shape prior gives it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from geneman.camera import REFERENCE, pixel_grid
from geneman.curation.synthetic.light import Dye, Light, Materials, draw_dye, draw_light
from geneman.curation.synthetic.poses import draw_pose
from geneman.curation.synthetic.rigged import Rigged
from geneman.curation.synthetic.shots import Framed, draw_shot, frame
from geneman.kernels.rasterise import Raster, corner_weights, rasterise

SMALLEST = 0.04
"""Least share of the square that a person covers in a photo worth learning from."""


@dataclass(frozen=True)
class Sample:
    """Images are H W C; values outside `inside` are 0 in all but `colour` and `cover`."""

    colour: Float[Tensor, "s s 3"]
    """sRGB, as a cut-out has it: clean inside, anything outside."""
    cover: Float[Tensor, "s s"]
    """As a matting algorithm gives it: with errors along the edge."""
    inside: Bool[Tensor, "s s"]
    """The pixels where the person truly is."""
    normal: Float[Tensor, "s s 3"]
    depth: Float[Tensor, "s s"]
    hidden_normal: Float[Tensor, "s s 3"]
    hidden_depth: Float[Tensor, "s s"]
    hidden_colour: Float[Tensor, "s s 3"]


@dataclass(frozen=True)
class Person:
    """An avatar with what is found out once for all its pictures."""

    rigged: Rigged
    materials: Materials
    head: Bool[Tensor, "v"]

    @staticmethod
    def of(rigged: Rigged) -> "Person":
        """Find out what is needed; what hangs on the head's bone belongs to the head."""
        above = list(rigged.parents)
        head: list[bool] = []
        for bone, parent in zip(rigged.bones, above, strict=True):
            head.append(bone == "Head" or (parent >= 0 and head[parent]))
        share = torch.tensor(head)[rigged.joints.long()] * rigged.weights
        materials = Materials.of(rigged.texture, rigged.skin_share)
        return Person(rigged, materials, share.sum(dim=1) > 0.5)  # noqa: PLR2004 (mostly)


@dataclass(frozen=True)
class _Side:
    """What the covered pixels of one side show."""

    pixels: Tensor
    normal: Float[Tensor, "p 3"]
    """Camera frame."""
    depth: Float[Tensor, "p"]
    albedo: Float[Tensor, "p 3"]
    """Linear light."""


def draw_sample(person: Person, random: np.random.Generator, size: int) -> Sample:
    """Pose, dress, light and photograph a person at random.

    Args:
        person: Who.
        random: All that is random.
        size: Pixels along a side.
    """
    while True:
        shot, dye = draw_shot(random), draw_dye(random, person.materials)
        points, normals = person.rigged.posed(draw_pose(random))
        seen = shot.turn(points)
        framed = frame(shot, seen, seen[person.head])
        turned = REFERENCE.turn_to_world(shot.turn(normals))
        shown = _shown(framed, size)
        sides = [
            _look(person, framed, turned, dye, shown, far_side=far_side)
            for far_side in (False, True)
        ]
        if len(sides[0].pixels) > SMALLEST * size * size:
            return _developed(sides[0], sides[1], draw_light(random), random, size)


def _shown(framed: Framed, size: int) -> Bool[Tensor, "q"]:
    """Say which pixels the photo's edges leave."""
    x, y = pixel_grid(size).reshape(-1, 2).unbind(dim=1)
    return (x >= framed.left) & (x <= framed.right) & (y >= framed.bottom)


def _look(
    person: Person,
    framed: Framed,
    normals: Float[Tensor, "v 3"],
    dye: Dye,
    shown: Bool[Tensor, "q"],
    *,
    far_side: bool,
) -> _Side:
    """See one side of a framed person."""
    rigged, size = person.rigged, round(len(shown) ** 0.5)
    clip = REFERENCE.clip_coordinates(framed.points, far_side=far_side)
    raster = rasterise(clip, rigged.faces, size)
    kept = shown[raster.pixels]
    carried = torch.cat(
        [REFERENCE.turn_to_camera(normals), clip[:, 3:], rigged.uv, rigged.vertices], dim=1
    )
    at = _blended(carried, rigged.faces, raster)[kept]
    normal = torch.nn.functional.normalize(at[:, :3], dim=1)
    # Hair and skirts are sheets: their inside, when it is seen, faces the viewer as well.
    towards = -normal[:, 2:] if far_side else normal[:, 2:]
    normal = torch.where(towards < -0.2, -normal, normal)  # noqa: PLR2004
    albedo, label = _texels(rigged, person.materials, at[:, 4:6])
    return _Side(raster.pixels[kept], normal, at[:, 3], dye.dyed(albedo, label, at[:, 6:]))


def _blended(values: Float[Tensor, "v c"], faces: Tensor, raster: Raster) -> Float[Tensor, "p c"]:
    triangles = raster.triangle.flatten()[raster.pixels].long()
    corners = values[faces[triangles].long()]
    return (corner_weights(raster)[:, :, None] * corners).sum(dim=1)


def _texels(
    rigged: Rigged, materials: Materials, uv: Float[Tensor, "p 2"]
) -> tuple[Float[Tensor, "p 3"], Tensor]:
    """Read the texture bilinearly, in linear light, and the nearest texel's material."""
    height, width = rigged.texture.shape[:2]
    x = (uv[:, 0] * width - 0.5).clamp(0, width - 1.001)
    y = (uv[:, 1] * height - 0.5).clamp(0, height - 1.001)
    column, row = x.long(), y.long()
    flat = rigged.texture.reshape(-1, 3)
    first = row * width + column
    across, down = (x - column)[:, None], (y - row)[:, None]
    upper = flat[first] * (1 - across) + flat[first + 1] * across
    lower = flat[first + width] * (1 - across) + flat[first + width + 1] * across
    colour = (upper * (1 - down) + lower * down) / 255
    near = (y + 0.5).long().clamp(max=height - 1) * width + (x + 0.5).long().clamp(max=width - 1)
    return colour**2.2, materials.label.flatten()[near]


def _developed(
    front: _Side, back: _Side, light: Light, random: np.random.Generator, size: int
) -> Sample:
    """Light both sides and take the picture."""
    depth = _image(front.depth[:, None], front.pixels, size)[..., 0]
    inside = _image(torch.ones(len(front.pixels), 1), front.pixels, size)[..., 0] > 0
    sky = _open_sky(depth, inside).flatten()[front.pixels]
    fallen = light.on(front.normal, sky)
    seen = light.developed(front.albedo * fallen + light.shine(front.normal))
    # The back is wanted in the light that the photo has on the whole.
    hidden = light.developed(back.albedo * fallen.mean(dim=0))
    shift = REFERENCE.distance - float(((front.depth + back.depth) / 2).median())
    pixels = front.pixels
    colour, cover = _photographed(_image(seen, pixels, size), inside, random)
    return Sample(
        colour=colour,
        cover=cover,
        inside=inside,
        normal=_image(front.normal, pixels, size),
        depth=_image(front.depth[:, None] + shift, pixels, size)[..., 0],
        hidden_normal=_image(back.normal, pixels, size),
        hidden_depth=_image(back.depth[:, None] + shift, pixels, size)[..., 0],
        hidden_colour=_image(hidden, pixels, size),
    )


def _image(values: Float[Tensor, "p c"], pixels: Tensor, size: int) -> Float[Tensor, "s s c"]:
    empty = values.new_zeros(size * size, values.shape[1])
    return empty.index_copy_(0, pixels, values).reshape(size, size, -1)


def _open_sky(depth: Float[Tensor, "s s"], inside: Bool[Tensor, "s s"]) -> Float[Tensor, "s s"]:
    """Guess how much of the sky each pixel sees: less where its surroundings stand before it."""
    small = avg_pool2d(torch.stack([depth, inside.float()])[None], 4)
    wide = avg_pool2d(small, 9, stride=1, padding=4)
    wide = interpolate(wide, scale_factor=4, mode="bilinear", align_corners=False)[0]
    # Half the light goes where the neighbourhood, 9 % of the frame wide, is 2 cm nearer.
    nearer = (depth - wide[0] / wide[1].clamp_min(1e-3)).clamp(0, 0.08)
    return (1 / (1 + (nearer / 0.015))) * inside


def _averaged(planes: Float[Tensor, "1 c s s"]) -> Float[Tensor, "1 c s s"]:
    """Average 3 x 3 pixels; torch's own pooling takes five times as long."""
    padded = pad(planes, (1, 1, 1, 1))
    across = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (across[:, :, :-2] + across[:, :, 1:-1] + across[:, :, 2:]) / 9


def _photographed(
    colour: Float[Tensor, "s s 3"], inside: Bool[Tensor, "s s"], random: np.random.Generator
) -> tuple[Float[Tensor, "s s 3"], Float[Tensor, "s s"]]:
    """Blur, add noise, and cut out with the errors that matting makes."""
    size = len(inside)
    cover = inside.float()[None, None]
    planes = torch.cat([colour.movedim(-1, 0)[None] * cover, cover], dim=1)
    soft = _averaged(planes)
    wide = avg_pool2d(planes, 4)
    wide = interpolate(avg_pool2d(wide, 3, stride=1, padding=1), scale_factor=4.0)
    carried = torch.where(soft[:, 3:] > 0, soft[:, :3], wide[:, :3]) / torch.where(
        soft[:, 3:] > 0, soft[:, 3:], wide[:, 3:].clamp_min(1e-3)
    )
    mixed = float(random.uniform(0, 0.8)) if random.random() < 0.5 else 0.0  # noqa: PLR2004
    photo = planes[:, :3] + (1 - cover) * carried
    photo = photo + mixed * (soft[:, :3] / soft[:, 3:].clamp_min(1e-3) - photo) * (soft[:, 3:] > 0)
    noise = torch.from_numpy(random.normal(0, 1, (1, 1, size // 16, size // 16)).astype(np.float32))
    wobble = interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    amount = abs(random.normal(0, 0.12))
    edge = (soft[:, 3:] + amount * wobble - 0.5) * float(random.uniform(1.0, 2.0)) + 0.5
    edge = torch.where(wide[:, 3:] > 0.98, torch.ones(1), edge) * (wide[:, 3:] > 0)  # noqa: PLR2004
    grain = random.normal(0, abs(random.normal(0, 0.015)), (3, size, size)).astype(np.float32)
    photo = (photo[0] + torch.from_numpy(grain)).clamp(0, 1)
    return photo.movedim(0, -1).contiguous(), edge[0, 0].clamp(0, 1)
