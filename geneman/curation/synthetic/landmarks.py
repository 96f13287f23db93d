"""The 33 body points that MediaPipe finds, of a person whose bones are known.

B bones, S pixels along a side. Points hang on bones; those of the face are placed by the eyes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.camera import REFERENCE
from geneman.curation.synthetic.rigged import Rigged

EYES = (("LeftEye", "RightEye"), ("eye.L", "eye.R"))
"""What rigs call the bones of the eyes."""

FACE = {
    0: (0.0, -0.45, -0.65),
    1: (0.28, -0.15, 0.05),
    2: (0.5, -0.12, 0.05),
    3: (0.75, 0.0, 0.05),
    4: (-0.28, -0.15, 0.05),
    5: (-0.5, -0.12, 0.05),
    6: (-0.75, 0.0, 0.05),
    7: (1.15, 1.25, -0.15),
    8: (-1.15, 1.25, -0.15),
    9: (0.38, -0.2, -1.15),
    10: (-0.38, -0.2, -1.15),
}
"""Nose, eyes, ears and mouth from between the eyes, in eye distances: left, back, up."""

BODY = {
    11: "LeftArm",
    12: "RightArm",
    13: "LeftForeArm",
    14: "RightForeArm",
    15: "LeftHand",
    16: "RightHand",
    17: "LeftHandPinky1",
    18: "RightHandPinky1",
    19: "LeftHandIndex1",
    20: "RightHandIndex1",
    21: "LeftHandThumb2",
    22: "RightHandThumb2",
    23: "LeftUpLeg",
    24: "RightUpLeg",
    25: "LeftLeg",
    26: "RightLeg",
    27: "LeftFoot",
    28: "RightFoot",
}
"""Points that are where a bone begins; a rig without the bone has its parent's."""

FEET = {29: (0.0, 0.05, -0.07), 31: (0.0, -0.14, -0.07)}
"""Heel and toes of the left foot from its ankle, metres; the right foot's follow."""

UNFOUND, MISPLACED = 0.08, 0.04
"""Shares of photos in which nobody is found, and in which somebody is found elsewhere."""

LIMBS = (
    (tuple(range(11)), 0.05),
    ((11, 12, 23, 24), 0.05),
    ((13, 15, 17, 19, 21), 0.3),
    ((14, 16, 18, 20, 22), 0.3),
    ((25, 27, 29, 31), 0.17),
    ((26, 28, 30, 32), 0.17),
)
"""Points that go astray together (face, trunk, arms, legs), and the standard deviation of their
depth; MediaPipe's on rendered people."""

ASTRAY, DEEPER, STRETCHED = 0.018, 0.08, (0.15, 0.3)
"""Standard deviations of a limb's or a point's place and of a point's depth, half widths of the
image; mean and standard deviation of the logarithm by which all depths are stretched."""

NEAR = 0.16
"""Scene units that a point may lie behind the visible surface and still be said to be seen."""


@dataclass(frozen=True)
class Joints:
    """33 points at rest and the bones that carry them."""

    points: Float[Tensor, "33 3"]
    bones: Int[Tensor, "33"]

    @staticmethod
    def of(rigged: Rigged) -> "Joints":
        """Place the points on a rig."""
        names = list(rigged.bones)
        head = names.index("Head")
        points, bones = torch.zeros(33, 3), torch.zeros(33, dtype=torch.long)
        middle, apart = _eyes(rigged)
        for number, (left, back, up) in FACE.items():
            points[number] = middle + apart * torch.tensor([left, back, up])
            bones[number] = head
        for number, name in BODY.items():
            hand = name[: name.index("Hand") + 4] if "Hand" in name else name
            bones[number] = names.index(name if name in names else hand)
            points[number] = rigged.heads[bones[number]]
        for number, (x, y, z) in FEET.items():
            for side, name in enumerate(("LeftFoot", "RightFoot")):
                bones[number + side] = names.index(name)
                points[number + side] = rigged.heads[names.index(name)] + torch.tensor([x, y, z])
        return Joints(points, bones)

    def carried(self, moves: Float[Tensor, "b 3 4"]) -> Float[Tensor, "33 3"]:
        """Give the points after each bone's affine map."""
        own = moves[self.bones]
        return (own[:, :, :3] @ self.points[:, :, None])[..., 0] + own[:, :, 3]

    @staticmethod
    def landmarks(
        points: Float[Tensor, "33 3"], depth: Float[Tensor, "s s"]
    ) -> Float[Tensor, "33 4"]:
        """Give image coordinates, depth from the hips in the same unit, and visibility.

        Args:
            points: World coordinates.
            depth: Of the visible side, scene units; 0 where nobody is.
        """
        at = REFERENCE.project(points)
        size = len(depth)
        column = ((at[:, 0] + 1) / 2 * size).long()
        row = ((1 - at[:, 1]) / 2 * size).long()
        shown = (at[:, :2].abs() < 1).all(dim=1)
        there = depth[row.clamp(0, size - 1), column.clamp(0, size - 1)]
        seen = shown & (there > 0) & (at[:, 2] < there + NEAR)
        behind = (at[:, 2] - at[23:25, 2].mean()) * REFERENCE.focal / REFERENCE.distance
        visible = torch.where(seen, 0.95, torch.where(shown, 0.4, 0.05))
        return torch.cat([at[:, :2], behind[:, None], visible[:, None]], dim=1)


def noticed(landmarks: Float[Tensor, "33 4"], random: np.random.Generator) -> Float[Tensor, "33 4"]:
    """Give points as a detector finds them: astray, limb by limb and point by point, or not at all.

    Args:
        landmarks: The true ones, as `Joints.landmarks` gives them.
        random: All that is random.

    Returns:
        The same with errors; visibilities are kept, and all is 0 where nobody is found.
    """
    astray = random.normal(0, (ASTRAY, ASTRAY, DEEPER, 0), (33, 4))
    for points, deeper in LIMBS:
        astray[list(points)] += random.normal(0, (ASTRAY, ASTRAY, deeper, 0))
    stretched, fate = random.lognormal(*STRETCHED), random.random()
    elsewhere = random.normal(0, (0.4, 0.4, 0, 0))
    if fate < UNFOUND:
        return torch.zeros_like(landmarks)
    if fate < UNFOUND + MISPLACED:
        astray += elsewhere
    errors = torch.from_numpy(astray).float()
    return landmarks * torch.tensor([1.0, 1.0, stretched, 1.0]) + errors


def _eyes(rigged: Rigged) -> tuple[Float[Tensor, "3"], Tensor]:
    """Give the place between the eyes and how far they are apart."""
    for left, right in EYES:
        if left in rigged.bones and right in rigged.bones:
            ends = rigged.heads[[rigged.bones.index(left), rigged.bones.index(right)]]
            return ends.mean(dim=0), (ends[0] - ends[1]).norm()
    # An adult's eyes are 6.3 cm apart, and as far above the head's joint as before it.
    head = rigged.heads[rigged.bones.index("Head")]
    return head + torch.tensor([0.0, -0.09, 0.08]), torch.tensor(0.063)
