"""What a body's landmarks say about its thickness and its place in depth.

Lengths are scene units: the frame of a recentred photo spans `FRAME` of them at the origin.
Anthropometry is that of the 50th percentile adult (NASA-STD-3000, vol. I, section 3), which
holds for children too as far as ratios to the shoulders are concerned.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geneman.camera import REFERENCE
from geneman.landmarks import EARS, EYES, HIPS, NOSE, SEEN, SHOULDERS
from geneman.priors.bundled.membranes import Map

Landmarks = NDArray[np.float64]

FRAME = 2 * REFERENCE.distance / REFERENCE.focal
"""Side of the frame at the reference camera's distance."""

TRUNK = ((11, 23), (12, 24), SHOULDERS, HIPS)
ARMS = ((11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20))
LEGS = ((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32))


@dataclass(frozen=True)
class Proportions:
    """Half thicknesses, and where the head is (pixels of the frame in [-1, 1], y up)."""

    torso_half_depth: float
    head_half_depth: float
    head_centre: tuple[float, float] | None


def measure(landmarks: Landmarks) -> Proportions:
    """Read thickness limits off the landmarks; without any, assume a whole standing adult."""
    if not landmarks.any():
        return Proportions(0.065, 0.055, None)
    points = landmarks[:, :3] * (FRAME / 2)
    shoulders = _distance(points, *SHOULDERS)
    torso = float(np.linalg.norm(points[list(SHOULDERS)].mean(0) - points[list(HIPS)].mean(0)))
    # Chest depth 0.24 m, shoulder joints 0.36 m apart, 0.50 m above the hips; whoever stands
    # sideways has narrow shoulders but a whole torso.
    girth = max(shoulders, 0.65 * torso if landmarks[list(HIPS), 3].min() > SEEN else 0.0)
    ears = _distance(points, *EARS)
    eyes = _distance(points, *EYES)
    # Ears 0.15 m and pupils 0.063 m apart; half a head is 0.098 m deep.
    head = max(ears * 0.098 / 0.15, eyes * 0.098 / 0.063 * 0.8)
    centre = landmarks[[*EARS, NOSE], :2].mean(axis=0)
    return Proportions(
        torso_half_depth=min(max(girth * 0.12 / 0.36, 0.02), 0.4),
        head_half_depth=min(max(head, 0.02), 0.4),
        head_centre=(float(centre[0]), float(centre[1])),
    )


def limb_depths(landmarks: Landmarks, size: int, *, arms: bool) -> tuple[Map, Map]:
    """Draw the bones' relative depth into a map, with weights where a bone passes.

    MediaPipe's depth is relative to the hips, in units of the frame's half width, and noisy:
    a third of it is believed, and nothing of the head's, which it puts far too close.

    Args:
        landmarks: 33 x 4, y up.
        size: Side of the maps in pixels.
        arms: Draw the arms too; they hide the trunk where they cross it.

    Returns:
        Depth in scene units, smaller = nearer to the camera, and weight; both H x W.
    """
    depth, weight = np.zeros((size, size)), np.zeros((size, size))
    for first, second in (*TRUNK, *LEGS, *(ARMS if arms else ())):
        if landmarks[[first, second], 3].min() < SEEN:
            continue
        for share in np.linspace(0.0, 1.0, size):
            x, y, z = (1 - share) * landmarks[first, :3] + share * landmarks[second, :3]
            column, row = math.floor((x + 1) / 2 * size), math.floor((1 - y) / 2 * size)
            if 0 <= row < size and 0 <= column < size:
                depth[row, column] = 0.35 * z * FRAME / 2
                weight[row, column] = 1.0
    return depth, weight


def _distance(points: Landmarks, first: int, second: int) -> float:
    return float(np.linalg.norm(points[first] - points[second]))
