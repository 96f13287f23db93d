"""How far above or below the person the photo's camera stood, where their feet tell it.

A camera that looks down sees a person lean towards it: the head comes near and the feet go far.
Reconstructed in its frame, that person would fall over. Somebody who stands has their centre of
mass above their feet, so the angle between that line and the picture's plane is the camera's
elevation (ours; the paper takes every camera for level).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import REFERENCE, Orbit, pixel_grid
from geneman.landmarks import ANKLES, HEELS, HIPS, KNEES, SHOULDERS, TOES
from geneman.preprocess.framing import VISIBLE
from geneman.view import Framing, ReferenceView

FEET = tuple(zip(ANKLES, HEELS, TOES, strict=True))

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
    inside = view.inside
    at = pixel_grid(view.size).to(view.depth)[inside]
    near, far = view.depth[inside], view.hidden.depth[inside]
    points = REFERENCE.to_camera(REFERENCE.unproject(at, (near + far) / 2))
    thickness = (far - near).clamp_min(0)
    feet = [_close(at, view.landmarks[list(foot), :2]) * thickness for foot in FEET]
    if any(foot.sum() == 0 for foot in feet):
        return REFERENCE
    below = torch.stack([_centre(points, foot) for foot in feet]).mean(dim=0)
    _, up, nearer = (_centre(points, thickness) - below).tolist()
    elevation = math.degrees(math.atan2(nearer, up))
    return Orbit(elevation_deg=min(max(elevation, LOWEST_DEG), HIGHEST_DEG))


def _stands(landmarks: Float[Tensor, "33 4"]) -> bool:
    """Say whether trunk and legs are upright in the picture, and both feet on one floor."""
    if landmarks[[*SHOULDERS, *HIPS, *KNEES, *ANKLES], 3].min() < VISIBLE:
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


def _close(at: Float[Tensor, "n 2"], marks: Float[Tensor, "m 2"]) -> Bool[Tensor, "n"]:
    """Say which image points are as near to one of the marks as a foot reaches."""
    reach = FOOT * REFERENCE.focal / REFERENCE.distance
    return torch.cdist(at, marks.to(at)).amin(dim=1) < reach


def _centre(points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"]) -> Float[Tensor, "3"]:
    return (points * weights[:, None]).sum(dim=0) / weights.sum()
