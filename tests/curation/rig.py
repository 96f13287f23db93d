"""A tiny rigged person: boxes on the bones that poses turn, in the T-pose. And who sketches it."""

from dataclasses import replace

import torch

from geneman.curation.synthetic.rigged import Rigged
from geneman.priors.bundled.geometry_network import GeometryNetwork, Widths

BONES = (
    # name, parent, head, lower corner, upper corner
    ("Hips", None, (0.0, 0.0, 1.0), (-0.15, -0.1, 0.9), (0.15, 0.1, 1.1)),
    ("Spine", "Hips", (0.0, 0.0, 1.1), (-0.15, -0.1, 1.1), (0.15, 0.1, 1.3)),
    ("Spine1", "Spine", (0.0, 0.0, 1.3), (-0.15, -0.1, 1.3), (0.15, 0.1, 1.5)),
    ("Neck", "Spine1", (0.0, 0.0, 1.5), (-0.05, -0.05, 1.5), (0.05, 0.05, 1.55)),
    ("Head", "Neck", (0.0, 0.0, 1.55), (-0.1, -0.12, 1.55), (0.1, 0.1, 1.8)),
    ("LeftArm", "Spine1", (0.15, 0.0, 1.45), (0.15, -0.05, 1.4), (0.45, 0.05, 1.5)),
    ("LeftForeArm", "LeftArm", (0.45, 0.0, 1.45), (0.45, -0.05, 1.4), (0.75, 0.05, 1.5)),
    ("LeftHand", "LeftForeArm", (0.75, 0.0, 1.45), (0.75, -0.03, 1.42), (0.9, 0.03, 1.48)),
    ("RightArm", "Spine1", (-0.15, 0.0, 1.45), (-0.45, -0.05, 1.4), (-0.15, 0.05, 1.5)),
    ("RightForeArm", "RightArm", (-0.45, 0.0, 1.45), (-0.75, -0.05, 1.4), (-0.45, 0.05, 1.5)),
    ("RightHand", "RightForeArm", (-0.75, 0.0, 1.45), (-0.9, -0.03, 1.42), (-0.75, 0.03, 1.48)),
    ("LeftUpLeg", "Hips", (0.08, 0.0, 0.9), (0.01, -0.08, 0.45), (0.15, 0.08, 0.9)),
    ("LeftLeg", "LeftUpLeg", (0.08, 0.0, 0.45), (0.01, -0.08, 0.1), (0.15, 0.08, 0.45)),
    ("LeftFoot", "LeftLeg", (0.08, 0.0, 0.1), (0.01, -0.2, 0.0), (0.15, 0.08, 0.1)),
    ("RightUpLeg", "Hips", (-0.08, 0.0, 0.9), (-0.15, -0.08, 0.45), (-0.01, 0.08, 0.9)),
    ("RightLeg", "RightUpLeg", (-0.08, 0.0, 0.45), (-0.15, -0.08, 0.1), (-0.01, 0.08, 0.45)),
    ("RightFoot", "RightLeg", (-0.08, 0.0, 0.1), (-0.15, -0.2, 0.0), (-0.01, 0.08, 0.1)),
)
NAMES = tuple(bone[0] for bone in BONES)
SIDES = ((0, 1), (0, 0), (1, 1), (1, 0), (2, 1), (2, 0))
"""Axis, and whether at its upper end."""


def boxes() -> Rigged:
    """Build it: every box has 24 corners, so that its normals are those of its faces."""
    points, normals, faces, joints = [], [], [], []
    for bone, (_, _, _, low, high) in enumerate(BONES):
        for axis, upper in SIDES:
            b, c = (axis + 1) % 3, (axis + 2) % 3
            start = len(points)
            for s, t in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = [0.0, 0.0, 0.0]
                corner[axis] = (low, high)[upper][axis]
                corner[b], corner[c] = (low, high)[s][b], (low, high)[t][c]
                points.append(corner)
                normals.append([(2.0 * upper - 1) * (i == axis) for i in range(3)])
                joints.append([bone])
            quad = (0, 1, 2, 3) if upper else (3, 2, 1, 0)
            faces += [[start + quad[i] for i in corners] for corners in ((0, 1, 2), (0, 2, 3))]
    return Rigged(
        vertices=torch.tensor(points),
        normals=torch.tensor(normals),
        uv=torch.full((len(points), 2), 0.5),
        faces=torch.tensor(faces, dtype=torch.int32),
        joints=torch.tensor(joints),
        weights=torch.ones(len(points), 1),
        bones=NAMES,
        parents=tuple(-1 if bone[1] is None else NAMES.index(bone[1]) for bone in BONES),
        heads=torch.tensor([bone[2] for bone in BONES]),
        straight=torch.eye(3).expand(len(BONES), 3, 3),
        texture=torch.full((16, 16, 3), 128, dtype=torch.uint8),
    )


def sketched(ring):
    """Give a ring whose sketches are its own views, a little too faint."""
    return replace(ring, sketches=ring.views // 2, sketcher="half")


def narrow():
    """Give a geometry network of few weights that has learnt nothing."""
    torch.manual_seed(0)
    return GeometryNetwork(Widths(levels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), fine=8)).eval()
