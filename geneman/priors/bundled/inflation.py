"""The shape prior that has learnt nothing: a body as thick as its outline lets it be.

The mask is blown up like a soap bubble, flattened to a body's proportions and bent along the
landmarks' depth; given normals are integrated onto it and a given depth map is scaled by them.
The hidden side mirrors that thickness behind the sheet that the outline spans.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology
from torch import Tensor

from geneman.camera import REFERENCE, pixel_grid
from geneman.priors.bundle import Surfaces
from geneman.priors.bundled.hidden_colour import paint_hidden_side
from geneman.priors.bundled.membranes import (
    Map,
    Pixels,
    blurred,
    membrane,
    resized,
    soap_bubble,
)
from geneman.priors.bundled.proportions import FRAME, Proportions, limb_depths, measure
from geneman.priors.bundled.relief import array_of, carried_out, enlarged, normals_of, relief
from geneman.view import Framing, HiddenSide

COARSE, FINE = 256, 512
"""Sides of the working grids: thickness is smooth, integrated normals are not."""


@dataclass(frozen=True)
class Inflation:
    """A `ShapePrior` that needs no weights."""

    name: str = "inflation"

    def surfaces(
        self,
        colour: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"],
        landmarks: Float[Tensor, "33 4"],
        framing: Framing,
        *,
        normal: Float[Tensor, "h w 3"] | None = None,
        depth: Float[Tensor, "h w"] | None = None,
    ) -> Surfaces:
        """Give both sides; see `geneman.priors.bundle.ShapePrior`."""
        near, far = self.sides(mask, landmarks, framing, normal=normal, depth=depth)
        painted = paint_hidden_side(colour.cpu().numpy(), array_of(mask), landmarks.cpu().numpy())
        return Surfaces(
            normal=normals_of(near).to(mask) if normal is None else normal,
            depth=torch.from_numpy(near).to(mask),
            hidden=HiddenSide(
                depth=torch.from_numpy(far).to(mask),
                normal=-normals_of(far).to(mask),
                colour=torch.from_numpy(painted).to(mask),
            ),
        )

    def sides(
        self,
        mask: Float[Tensor, "h w"],
        landmarks: Float[Tensor, "33 4"],
        framing: Framing,
        *,
        normal: Float[Tensor, "h w 3"] | None = None,
        depth: Float[Tensor, "h w"] | None = None,
    ) -> tuple[Map, Map]:
        """Give the depth of both sides alone, H x W: no colour is looked at."""
        cover = array_of(mask)
        body = _Body.of(cover, array_of(landmarks), framing)
        # Estimated maps say nothing outside the mask: carry the inside outward before resizing.
        covered = cover > 0.5  # noqa: PLR2004 (half a pixel)
        known_normal = None if normal is None else carried_out(array_of(normal), covered)
        known_depth = None if depth is None else carried_out(array_of(depth), covered)
        bulge = REFERENCE.distance + body.bend - body.thickness
        front = relief(body.inside, bulge, known_normal, known_depth)
        back = _back(body, front)
        shift = REFERENCE.distance - np.median(((front + back) / 2)[body.inside])
        size = mask.shape[0]
        near, far = (enlarged(side + shift, body.inside, size) for side in (front, back))
        return near, far


@dataclass(frozen=True)
class _Body:
    """What is known before any map: on the fine grid, depths relative to the trunk."""

    inside: Pixels
    thickness: Map
    """Half of it, in scene units."""
    rim: Map
    """1 close to the outline proper, 0 farther in and along the picture's cutting edges."""
    bend: Map
    """Depth of the sheet between the two sides, arms included, from the landmarks."""
    trunk_bend: Map
    """The same without the arms."""
    trunk: Map
    """1 where the body is as wide as a trunk, 0 where it is a limb."""

    @staticmethod
    def of(cover: Map, landmarks: NDArray[np.float64], framing: Framing) -> "_Body":
        coarse = resized(cover, COARSE) > 0.5  # noqa: PLR2004 (half a pixel)
        thickness, rim, trunk = _thickness(coarse, measure(landmarks), framing)
        bends = _bend(coarse, landmarks, trunk)
        inside = resized(cover, FINE) > 0.5  # noqa: PLR2004
        maps = (enlarged(image, coarse, FINE) for image in (thickness, rim, *bends, trunk))
        return _Body(inside, *maps)


def _thickness(inside: Pixels, proportions: Proportions, framing: Framing) -> tuple[Map, Map, Map]:
    """Blow up the mask, as if it went on where the picture's edge cuts the body.

    Returns:
        Half the thickness in scene units, the rim and the trunk (see `_Body`).
    """
    rows, columns = np.where(inside.any(axis=1))[0], np.where(inside.any(axis=0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    tight = inside[top:bottom, left:right]
    reach = min(*tight.shape, COARSE // 4)
    cut = _cut_sides(tight, framing)
    beyond = [(0, reach * cut[0]), (reach * cut[1], reach * cut[2])]
    going_on = np.pad(np.pad(tight, beyond, mode="symmetric"), 1)
    bubble = soap_bubble(going_on, FRAME / COARSE)
    reach_of_limbs = _local_radius(bubble)
    own = np.s_[1 : 1 + tight.shape[0], 1 + beyond[1][0] : 1 + beyond[1][0] + tight.shape[1]]
    rim = ndimage.distance_transform_edt(going_on) <= 2.0  # noqa: PLR2004 (pixels)
    thickness, radius, close = (np.zeros(inside.shape) for _ in range(3))
    for image, part in ((thickness, bubble), (radius, reach_of_limbs), (close, rim)):
        image[top:bottom, left:right] = part[own]
    trunk = np.clip((radius / proportions.torso_half_depth - 0.6) / 0.4, 0.0, 1.0)
    return thickness * _flattening(carried_out(radius, inside), proportions), close, trunk


def _cut_sides(tight: Pixels, framing: Framing) -> tuple[bool, bool, bool]:
    """Say whether the picture's edge cuts the body at the bottom, the left and the right."""
    if framing is Framing.FULL_BODY:
        return False, False, False
    shortest = COARSE // 16
    bottom, left, right = (int(line.sum()) for line in (tight[-1], tight[:, 0], tight[:, -1]))
    return bottom >= shortest, left >= shortest, right >= shortest


def _flattening(radius: Map, proportions: Proportions) -> Map:
    """Flatten trunks to a body's depth and deepen the head, keeping cross-sections elliptic."""
    limit = np.full(radius.shape, proportions.torso_half_depth)
    near_head = np.zeros(radius.shape)
    if proportions.head_centre is not None:
        x, y = np.moveaxis(pixel_grid(radius.shape[0]).numpy().astype(np.float64), -1, 0)
        away = np.hypot(x - proportions.head_centre[0], y - proportions.head_centre[1])
        near_head = np.exp(-((away * (FRAME / 2) / (1.4 * proportions.head_half_depth)) ** 4))
        limit += near_head * (proportions.head_half_depth - limit)
    # The cube keeps limbs round, which are far below the limit, and is smooth at it.
    factor = (1 + (radius / limit) ** 3) ** (-1 / 3)
    # A disc blows up to 0.7 of its radius, but a head is deeper than it is wide.
    deeper = np.clip(limit / np.maximum(radius * factor, 1e-6), 1.0, 2.0)
    return blurred(factor * (1 + near_head * (deeper - 1)), 3.0)


def _local_radius(bubble: Map) -> Map:
    """Give each pixel the largest bubble height among the discs that cover it.

    The local thickness of Hildebrand and Rueegsegger (1997), over the medial axis.
    """
    axis, distance = morphology.medial_axis(bubble > 0, return_distance=True, rng=0)
    radius = np.zeros_like(bubble)
    rows, columns = np.where(axis)
    order = np.argsort(bubble[rows, columns])
    y, x = np.mgrid[: bubble.shape[0], : bubble.shape[1]]
    for row, column in zip(rows[order], columns[order], strict=True):
        reach = int(distance[row, column]) + 1
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = np.s_[top : row + reach + 1, left : column + reach + 1]
        disc = (y[window] - row) ** 2 + (x[window] - column) ** 2 <= (reach + 0.5) ** 2
        radius[window][disc] = bubble[row, column]
    return blurred(np.maximum(radius, bubble), 2.0)


def _bend(inside: Pixels, landmarks: NDArray[np.float64], wide: Map) -> tuple[Map, Map]:
    """Bend a sheet along the bones' depth: with the arms, which stand off it alone, and without."""
    depth, weight = limb_depths(landmarks, inside.shape[0], arms=False)
    # Bones are lines: a soft pull, else they would show as creases.
    trunk = membrane(inside, depth, 0.1 * weight * inside, stiffness=2.0)
    depth, weight = limb_depths(landmarks, inside.shape[0], arms=True)
    # Before a trunk, a pull of 0.01 ends the arm within 14 pixels, its width; elsewhere the
    # whole limb follows its bone.
    pull = np.where(weight > 0, 0.2, 1e-4 + 0.01 * wide)
    arms = membrane(inside, np.where(weight > 0, depth, trunk), pull * inside, stiffness=2.0)
    return blurred(carried_out(arms, inside), 3.0), trunk


def _back(body: _Body, front: Map) -> Map:
    """Mirror the thickness behind the sheet that the outline spans.

    The sheet passes through the visible side at the outline, where both sides meet, and half
    a thickness behind it elsewhere, but softly: an arm held out in front must not dent the back.
    """
    arms_forward = np.maximum(body.trunk_bend - body.bend, 0.0) * body.trunk
    half_way = front + body.thickness + arms_forward
    weight = (0.002 + 0.05 * body.rim) / (1 + (arms_forward / 0.03) ** 2)
    sheet = membrane(body.inside, half_way, weight, stiffness=4.0)
    thin = 0.35 * body.thickness
    return np.maximum(sheet + body.thickness, front + thin)
