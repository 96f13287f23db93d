"""How far above or below the person the photo's camera stood, where their feet tell it.

A camera that looks down sees a person lean towards it: the head comes near and the feet go far.
Reconstructed in its frame, that person would fall over. Somebody who stands has their centre of
mass above their feet, so the angle between that line and the picture's plane is the camera's
elevation (ours; the paper takes every camera for level).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import REFERENCE, Orbit, pixel_grid
from geneman.view import Framing, ReferenceView

SHOULDERS, HIPS, KNEES, ANKLES = (11, 12), (23, 24), (25, 26), (27, 28)
FEET = ((27, 29, 31), (28, 30, 32))
"""Ankle, heel and toes of either foot."""

SEEN = 0.5
"""Landmarks less visible than this are not believed."""

FOOT = 0.04
"""Scene units about a foot's landmarks that are foot: 7 cm of a standing adult."""

UPRIGHT_DEG = 30.0
"""Most that trunk, thighs and shanks of somebody who stands lean in the picture."""

FORESHORTENED = 0.6
"""A thigh this much shorter than the shank points at the camera: they sit."""

STEP = 0.12
"""Most difference of the ankles' heights, as a share of the whole person's, of two feet that
stand on one floor."""

LOWEST_DEG, HIGHEST_DEG = -10.0, 30.0
"""Between these, photos of standing people are taken; beyond, the estimate is the mistake."""


def standing_camera(view: ReferenceView) -> Orbit:
    """Give the photo's camera, raised or lowered until the person stands.

    Args:
        view: Maps in the camera's frame, which do not change with its elevation.

    Returns:
        The reference camera, on its arc about the origin; level where nobody stands on two feet.
    """
    if view.framing is not Framing.FULL_BODY or not _stands(view.landmarks):
        return REFERENCE
    points, weights = _body(view)
    feet = [_foot(view, foot, points, weights) for foot in FEET]
    if any(foot is None for foot in feet):
        return REFERENCE
    below = torch.stack([foot for foot in feet if foot is not None]).mean(dim=0)
    _, up, nearer = (_centre(points, weights) - below).tolist()
    elevation = math.degrees(math.atan2(nearer, up))
    return Orbit(elevation_deg=min(max(elevation, LOWEST_DEG), HIGHEST_DEG))


def _stands(landmarks: Float[Tensor, "33 4"]) -> bool:
    """Say whether trunk and legs are upright in the picture, and both feet on one floor."""
    if landmarks[[*SHOULDERS, *HIPS, *KNEES, *ANKLES], 3].min() < SEEN:
        return False
    at = landmarks[:, :2]
    middles = [at[list(pair)].mean(dim=0) for pair in (SHOULDERS, HIPS)]
    bones = [(middles[0], middles[1])]
    for hip, knee, ankle in zip(HIPS, KNEES, ANKLES, strict=True):
        thigh, shank = (at[hip] - at[knee]).norm(), (at[knee] - at[ankle]).norm()
        if thigh < FORESHORTENED * shank:
            return False
        bones += [(at[hip], at[knee]), (at[knee], at[ankle])]
    if any(_leaning_deg(upper, lower) > UPRIGHT_DEG for upper, lower in bones):
        return False
    whole = middles[0][1] - at[list(ANKLES), 1].min()
    return bool((at[ANKLES[0], 1] - at[ANKLES[1], 1]).abs() < STEP * whole)


def _leaning_deg(upper: Float[Tensor, "2"], lower: Float[Tensor, "2"]) -> float:
    across, up = (upper - lower).tolist()
    return math.degrees(math.atan2(abs(across), up))


def _body(view: ReferenceView) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Give the middle of the body behind each pixel in camera coordinates, and its thickness."""
    inside = view.inside
    near, far = view.depth[inside], view.hidden.depth[inside]
    middle = REFERENCE.unproject(pixel_grid(view.size).to(near)[inside], (near + far) / 2)
    return REFERENCE.to_camera(middle), (far - near).clamp_min(0)


def _foot(
    view: ReferenceView,
    foot: tuple[int, ...],
    points: Float[Tensor, "n 3"],
    weights: Float[Tensor, "n"],
) -> Float[Tensor, "3"] | None:
    """Give a foot's middle in camera coordinates; None where the mask has none."""
    at = pixel_grid(view.size).to(points)[view.inside]
    marks = view.landmarks[list(foot), :2].to(points)
    radius = FOOT * REFERENCE.focal / REFERENCE.distance
    close = torch.cdist(at, marks).amin(dim=1) < radius
    return _centre(points[close], weights[close]) if weights[close].sum() > 0 else None


def _centre(points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"]) -> Float[Tensor, "3"]:
    return (points * weights[:, None]).sum(dim=0) / weights.sum()
