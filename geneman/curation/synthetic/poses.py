"""Poses as people take them before a camera, drawn at random.

Angles are degrees about the world's axes in the T-pose (z up, facing -y, left arm along +x).
Mirroring left and right keeps turns about x and flips those about y and z.
"""

from dataclasses import dataclass

import numpy as np

from geneman.curation.synthetic.rigged import Pose, Turn

Range = tuple[float, float]


@dataclass(frozen=True)
class Gesture:
    """What an arm does; each angle is drawn from its range."""

    share: float
    """How often, relative to the others."""
    lower: Range
    """Down from the T-pose; negative is up."""
    swing: Range
    """Forward."""
    elbow: Range
    """Bend."""
    twist: Range
    """Turn of the upper arm that brings a bent forearm inward."""


GESTURES = (
    Gesture(5.0, lower=(60, 84), swing=(-15, 20), elbow=(3, 40), twist=(-15, 35)),
    Gesture(1.2, lower=(45, 68), swing=(-30, 5), elbow=(70, 115), twist=(10, 75)),
    Gesture(1.5, lower=(45, 80), swing=(15, 75), elbow=(15, 110), twist=(-20, 50)),
    Gesture(1.2, lower=(-80, -5), swing=(-10, 30), elbow=(0, 130), twist=(-90, 20)),
    Gesture(1.0, lower=(-10, 50), swing=(-15, 35), elbow=(0, 100), twist=(-90, 60)),
    Gesture(1.5, lower=(62, 80), swing=(5, 30), elbow=(60, 120), twist=(40, 85)),
)
"""Hanging, on the hip, reaching, raised, held out, crossed before the body."""

FINGERS = ("Index", "Middle", "Ring", "Pinky")
SIDES = (("Left", 1.0), ("Right", -1.0))
SITTING, WALKING = 0.07, 0.2
"""Shares of poses."""


def draw_pose(random: np.random.Generator) -> Pose:
    """Draw a whole body's pose and proportions."""
    pose = _trunk(random)
    copied = random.random() < 0.3  # noqa: PLR2004 (both arms alike)
    first = _gesture(random)
    for index, (side, sign) in enumerate(SIDES):
        gesture = first if index == 0 or copied else _gesture(random)
        pose |= _arm(random, side, sign, gesture)
    pose |= _legs(random)
    return pose | _proportions(random, pose)


def _gesture(random: np.random.Generator) -> Gesture:
    shares = np.array([gesture.share for gesture in GESTURES])
    return GESTURES[int(random.choice(len(GESTURES), p=shares / shares.sum()))]


def _trunk(random: np.random.Generator) -> dict[str, Turn]:
    """Bend and turn the spine a little and the head more."""
    bend, lean, twist = random.normal(0, (4, 3, 5))
    spine = Turn(degrees=(bend - 1, lean, twist))
    nod, tilt, look = random.normal((2, 0, 0), (8, 5, 14))
    half = Turn(degrees=(nod / 2, tilt / 2, look / 2))
    return {"Spine": spine, "Spine1": spine, "Neck": half, "Head": half}


def _arm(random: np.random.Generator, side: str, sign: float, gesture: Gesture) -> dict[str, Turn]:
    lower, swing, elbow, twist = (
        random.uniform(*span)
        for span in (gesture.lower, gesture.swing, gesture.elbow, gesture.twist)
    )
    raised = min(lower, 0.0) / 3  # the shoulder blade takes a third of a raised arm
    turns = {
        f"{side}Shoulder": Turn("y", (sign * raised,)),
        f"{side}Arm": Turn("xyx", (twist, sign * (lower - raised), -swing)),
        f"{side}ForeArm": Turn("xz", (random.normal(0, 25), -sign * elbow)),
        f"{side}Hand": Turn(
            "xyz", (random.normal(0, 10), random.normal(0, 15), random.normal(0, 10))
        ),
    }
    curl = random.uniform(0, 75) if random.random() < 0.7 else random.uniform(0, 15)  # noqa: PLR2004
    for finger in FINGERS:
        for joint in (1, 2, 3):
            bent = sign * max(curl + random.normal(0, 6), -5.0)
            turns[f"{side}Hand{finger}{joint}"] = Turn("y", (bent,))
    return turns


def _legs(random: np.random.Generator) -> dict[str, Turn]:
    kind = random.random()
    turns = {}
    stride = random.normal(0, 16) if kind < WALKING else random.normal(0, 4)
    for side, sign in SIDES:
        apart = random.uniform(-2, 14)
        forward = sign * stride + random.normal(0, 3)
        knee = abs(random.normal(0, 6)) + max(-forward, 0.0)
        if kind > 1 - SITTING:
            forward, knee, apart = random.uniform(55, 95), random.uniform(55, 100), apart + 5
        turned = random.normal(8, 8)
        turns[f"{side}UpLeg"] = Turn("zyx", (sign * turned, -sign * apart, -forward))
        turns[f"{side}Leg"] = Turn("x", (knee,))
        turns[f"{side}Foot"] = Turn("x", (min(forward - knee, 15.0) * 0.3,))
    return turns


def _proportions(random: np.random.Generator, pose: Pose) -> dict[str, Turn]:
    """Make some people stout, some slender, some like children: large heads, short legs."""
    wide, deep = random.lognormal(0, (0.07, 0.07))
    child = random.uniform(0.4, 1.0) if random.random() < 0.25 else 0.0  # noqa: PLR2004
    head = (1 + 0.5 * child) * random.lognormal(0, 0.03)
    size = {
        "Hips": (wide, deep, 1.0),
        "Head": (head / wide, head / deep, head),
        "LeftUpLeg": (1.0, 1.0, 1 - 0.18 * child),
        "RightUpLeg": (1.0, 1.0, 1 - 0.18 * child),
        "LeftArm": (1 - 0.12 * child, 1.0, 1.0),
        "RightArm": (1 - 0.12 * child, 1.0, 1.0),
    }
    return {
        bone: Turn(pose[bone].axes, pose[bone].degrees, scale)
        if bone in pose
        else Turn(scale=scale)
        for bone, scale in size.items()
    }
