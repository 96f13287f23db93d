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
    Slopes,
    blurred,
    integrate,
    membrane,
    resized,
    soap_bubble,
)
from geneman.priors.bundled.proportions import FRAME, Proportions, limb_depths, measure
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
        cover = _array(mask)
        body = _Body.of(cover, _array(landmarks), framing)
        # Estimated maps say nothing outside the mask: carry the inside outward before resizing.
        covered = cover > 0.5  # noqa: PLR2004 (half a pixel)
        known_normal = None if normal is None else _carried_out(_array(normal), covered)
        known_depth = None if depth is None else _carried_out(_array(depth), covered)
        front = _front(body, known_normal, known_depth)
        back = _back(body, front)
        shift = REFERENCE.distance - np.median(((front + back) / 2)[body.inside])
        size = mask.shape[0]
        near, far = (_enlarge(side + shift, body.inside, size) for side in (front, back))
        visible = _normals(near) if normal is None else normal
        painted = paint_hidden_side(colour.numpy(), cover, landmarks.numpy())
        return Surfaces(
            normal=visible,
            depth=torch.from_numpy(near).float(),
            hidden=HiddenSide(
                depth=torch.from_numpy(far).float(),
                normal=-_normals(far),
                colour=torch.from_numpy(painted).float(),
            ),
        )


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
        maps = (_enlarge(image, coarse, FINE) for image in (thickness, rim, *bends, trunk))
        return _Body(inside, *maps)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    array: Map = tensor.cpu().numpy().astype(np.float64)
    return array


def _carried_out(image: Map, inside: Pixels) -> Map:
    """Give every outside pixel the value of the nearest inside one."""
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    carried: Map = image[tuple(nearest)]
    return carried


def _enlarge(image: Map, inside: Pixels, size: int) -> Map:
    """Resize so that the outline mixes with nothing outside."""
    return resized(_carried_out(image, inside), size)


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
    return thickness * _flattening(_carried_out(radius, inside), proportions), close, trunk


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
    if proportions.head_centre is not None:
        x, y = np.moveaxis(pixel_grid(radius.shape[0]).numpy().astype(np.float64), -1, 0)
        away = np.hypot(x - proportions.head_centre[0], y - proportions.head_centre[1])
        near_head = np.exp(-((away * (FRAME / 2) / (1.4 * proportions.head_half_depth)) ** 4))
        limit += near_head * (proportions.head_half_depth - limit)
    # The cube keeps limbs round, which are far below the limit, and is smooth at it.
    return blurred((1 + (radius / limit) ** 3) ** (-1 / 3), 3.0)


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
    return blurred(_carried_out(arms, inside), 3.0), trunk


def _front(body: _Body, normal: NDArray[np.float64] | None, depth: Map | None) -> Map:
    """Give the visible side's depth about the reference distance."""
    bulge = REFERENCE.distance + body.bend - body.thickness
    if normal is None and depth is None:
        return bulge
    known = None if depth is None else resized(depth, FINE)
    if normal is None:
        assert known is not None  # by the case before
        return _aligned(known, bulge, body.inside)
    slopes = _log_slopes(_unit(resized(normal, FINE)))
    if known is None:
        logs = integrate(body.inside, slopes, np.log(np.maximum(bulge, 0.1)), pull=3e-4)
    else:
        scaled = _scaled_by_slopes(known, slopes, body.inside)
        slopes = _distrust_jumps(slopes, scaled, body.inside)
        logs = integrate(body.inside, slopes, scaled, pull=1e-3)
    front: Map = np.exp(logs)
    return front


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = vectors / np.maximum(length, 1e-6)
    return unit


def _log_slopes(normal: NDArray[np.float64]) -> Slopes:
    """Turn normals into the slopes of log depth between pixels, exact under perspective.

    A point is P = z r with r = (x / f, y / f, -1); n . dP/dx = 0 gives
    d(log z)/dx = -n_x / (f n . r), and likewise for y.
    """
    size = normal.shape[0]
    grid = pixel_grid(size).numpy().astype(np.float64)
    rays = np.concatenate([grid / REFERENCE.focal, -np.ones((size, size, 1))], axis=-1)
    facing = -(normal * rays).sum(axis=-1)
    # Below 0.12 (83 degrees) estimated normals say little and slopes explode.
    steady = np.maximum(facing, 0.12) * REFERENCE.focal
    step = 2.0 / size
    return Slopes(
        across=normal[..., 0] / steady * step,
        down=-normal[..., 1] / steady * step,
        trust=np.clip(facing, 0.0, 1.0) ** 2,
    )


def _scaled_by_slopes(depth: Map, slopes: Slopes, inside: Pixels) -> Map:
    """Turn depth up to scale and shift into log depth whose slopes agree with the normals'."""
    # The blur takes away the stairs of an 8-bit map.
    smooth = blurred(depth, 2.0)
    down, across = np.gradient(smooth, axis=0), np.gradient(smooth, axis=1)
    core = ndimage.binary_erosion(inside, iterations=6) & (slopes.trust > 0.25)  # noqa: PLR2004 (60 degrees)
    given = np.concatenate([across[core], down[core]])
    wanted = np.concatenate([slopes.across[core], slopes.down[core]])
    trust = np.tile(slopes.trust[core], 2)
    weight, scale = trust, np.float64(0.0)
    # Where depth jumps its slope says nothing of the surface's: Cauchy's reweighting drops it.
    for _ in range(12):
        strength = np.maximum((weight * given**2).sum(), 1e-12)
        scale = np.maximum((weight * given * wanted).sum() / strength, 0.0)
        excess = np.abs(wanted - scale * given)
        weight = trust / (1 + (excess / max(float(np.median(excess)), 1e-9)) ** 2)
    # Nothing of a person is farther off the middle than an outstretched arm.
    centred = np.clip(scale * (depth - np.median(depth[inside])), -0.2, 0.2)
    logs: Map = centred + np.log(REFERENCE.distance)
    return logs


def _distrust_jumps(slopes: Slopes, log_depth: Map, inside: Pixels) -> Slopes:
    """Let the sheet tear where the depth map jumps: an arm before the chest."""
    down, across = np.gradient(log_depth)
    excess = np.hypot(across - slopes.across, down - slopes.down)
    # A jump of 1.2 cm on a standing adult between neighbouring pixels halves the trust.
    tear = 0.0022 * 512 / inside.shape[0]
    trust = slopes.trust / (1 + (excess / tear) ** 4)
    return Slopes(slopes.across, slopes.down, trust)


def _aligned(depth: Map, bulge: Map, inside: Pixels) -> Map:
    """Scale and shift a depth map to the bulge's mean and spread."""
    spread = depth[inside].std()
    scale = bulge[inside].std() / spread if spread > 0 else 0.0
    return np.where(inside, bulge[inside].mean() + scale * (depth - depth[inside].mean()), 0.0)


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


def _normals(depth: Map) -> Float[Tensor, "h w 3"]:
    """Differentiate a depth map into unit normals that face the camera."""
    z = torch.from_numpy(depth).float()
    grid = pixel_grid(depth.shape[0])
    points = torch.cat([grid * (z / REFERENCE.focal)[..., None], -z[..., None]], dim=-1)
    down, across = torch.gradient(points, dim=(0, 1))
    return torch.nn.functional.normalize(torch.linalg.cross(across, -down), dim=-1)
