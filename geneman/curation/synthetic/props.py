"""Things that people wear on the head, hold or carry: each hangs on one bone.

Rest frame: z up, facing -y, metres.
"""

import numpy as np
from numpy.typing import NDArray

from geneman.curation.synthetic.figure import TURNS, Figure, fastened
from geneman.curation.synthetic.solids import bag, ball, block, cylinder, dome
from geneman.curation.synthetic.surfaces import Surface

Array = NDArray[np.float64]


def hat(random: np.random.Generator, figure: Figure, material: int) -> Surface:
    """Put a cap, a brimmed hat or a woollen one on the skull."""
    middle, half = figure.crown[:3], figure.crown[3:]
    size = half * random.uniform(1.04, 1.15) + _up(random.uniform(0.0, 0.05))
    brim = (0.0, 0.0) if random.random() < 0.4 else (random.uniform(0.03, 0.12),) * 2  # noqa: PLR2004
    if random.random() < 0.35:  # noqa: PLR2004 (a cap's peak: in front alone)
        brim = (0.0, random.uniform(0.05, 0.1))
    base = middle + _up(half[2] * random.uniform(0.15, 0.5))
    solid = dome(base, (size[0], size[1], size[2] - (base[2] - middle[2])), brim)
    return fastened(solid, figure.bone("Head"), material)


def held(random: np.random.Generator, figure: Figure, material: int) -> Surface:
    """Put something into one hand."""
    side = "Left" if random.random() < 0.5 else "Right"  # noqa: PLR2004
    hand, elbow = figure.head_of(f"{side}Hand"), figure.head_of(f"{side}ForeArm")
    along = (hand - elbow) / max(float(np.linalg.norm(hand - elbow)), 1e-6)
    palm = hand + along * 0.08 - _up(0.02)
    kind = random.random()
    turn = _turned(random)
    if kind < 0.25:  # noqa: PLR2004
        radius = random.uniform(0.05, 0.15)
        solid = ball(palm - np.array([0.0, 0.3, 0.9]) * radius, radius)
    elif kind < 0.5:  # noqa: PLR2004
        half = random.uniform(0.03, 0.16, 3) * (1.0, 0.7, 1.0)
        solid = block(palm - half * (0.0, 1.0, 0.6), half, turn)
    elif kind < 0.65:  # noqa: PLR2004
        solid = block(palm, np.array([0.036, 0.005, 0.075]), turn)
    elif kind < 0.8:  # noqa: PLR2004
        solid = bag(palm, random.uniform(0.1, 0.2, 2), along)
    elif kind < 0.9:  # noqa: PLR2004
        solid = cylinder(palm, random.uniform(0.015, 0.05), random.uniform(0.06, 0.4), turn)
    else:
        stick = turn @ np.array([0.0, 0.0, 1.0])
        solid = cylinder(palm + stick * 0.3, 0.008, 0.4, turn)
        canopy = dome(np.zeros(3), (0.45, 0.45, 0.18), (0.0, 0.0))
        solid = solid.with_(canopy.moved(turn, palm + stick * 0.6))
    return fastened(solid, figure.bone(f"{side}Hand"), material)


def carried(random: np.random.Generator, figure: Figure, material: int) -> Surface:
    """Hang a bag at the hip or on the back."""
    half = random.uniform((0.1, 0.04, 0.09), (0.18, 0.09, 0.22))
    if random.random() < 0.5:  # noqa: PLR2004
        bone, turn = "Spine1", round(TURNS / 4)
        height = figure.head_of("Spine1")[2] + 0.05
        place = np.array(
            [figure.axis[0], figure.axis[1] + figure.radii(height)[turn] + half[1], height]
        )
        return fastened(block(place, half, np.eye(3)), figure.bone(bone), material)
    sign = 1.0 if random.random() < 0.5 else -1.0  # noqa: PLR2004
    height = figure.head_of("Hips")[2] + random.uniform(-0.12, 0.05)
    reach = figure.radii(height)[0 if sign > 0 else TURNS // 2] + half[1]
    turn_aside = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    place = np.array(
        [figure.axis[0] + sign * reach, figure.axis[1] - random.uniform(0, 0.1), height]
    )
    return fastened(block(place, half * (0.9, 0.8, 0.8), turn_aside), figure.bone("Hips"), material)


def _turned(random: np.random.Generator) -> Array:
    """Draw a rotation."""
    q, _ = np.linalg.qr(random.normal(0, 1, (3, 3)))
    turned: Array = q * np.sign(np.linalg.det(q))
    return turned


def _up(length: float) -> Array:
    return np.array([0.0, 0.0, length])
