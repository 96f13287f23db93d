"""A textured person with a skeleton, and how it is posed.

V vertices, F triangles, B bones. World axes (z up, facing -y, the person's left on +x). A pose
turns bones about the world's axes as they lie in the T-pose, so it needs nothing of a rig but
the bones' names, parents and places: rigs with other axes take the same poses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """How one bone moves in its parent's frame: first scaled, then turned, about its head."""

    axes: str = "xyz"
    """The world's axes to turn about, one after the other."""
    degrees: tuple[float, ...] = (0.0, 0.0, 0.0)
    """About each of them."""
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Along the world's axes; what hangs on the bone is scaled with it."""


REST = Turn(axes="", degrees=())

Pose = Mapping[str, Turn]
"""By bone; bones without an entry keep their place on the parent."""


@dataclass(frozen=True)
class Rigged:
    """A person at rest. Vertices are split at texture seams, normals are not."""

    vertices: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    uv: Float[Tensor, "v 2"]
    """In [0, 1], v down."""
    faces: Int[Tensor, "f 3"]
    joints: Int[Tensor, "v k"]
    """Bones that hold a vertex."""
    weights: Float[Tensor, "v k"]
    """How firmly; they sum to 1."""
    bones: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each bone's parent, which comes before it; -1 for the root."""
    heads: Float[Tensor, "b 3"]
    """Where each bone begins."""
    straight: Float[Tensor, "b 3 3"]
    """How each bone turns from where the vertices have it to the T-pose; mostly not at all."""
    texture: UInt8[Tensor, "h w 3"]
    """sRGB."""
    skin_share: float = 0.0
    """Share of the texture's width, from the left, that is known to be nothing but skin."""

    def posed(self, pose: Pose) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"]]:
        """Give vertices and unit normals in a pose (linear blend skinning)."""
        moves = torch.from_numpy(self._moves(pose)).float()
        blended = (self.weights[:, :, None, None] * moves[self.joints.long()]).sum(dim=1)
        points = (blended[:, :, :3] @ self.vertices[:, :, None])[..., 0] + blended[:, :, 3]
        turned = (blended[:, :, :3] @ self.normals[:, :, None])[..., 0]
        return points, torch.nn.functional.normalize(turned, dim=1)

    def _moves(self, pose: Pose) -> NDArray[np.float64]:
        """Give each bone's affine map from rest to the pose, B x 3 x 4."""
        whole: list[Matrix] = []
        heads = self.heads.numpy().astype(np.float64)
        straight = self.straight.numpy().astype(np.float64)
        for index, (bone, parent) in enumerate(zip(self.bones, self.parents, strict=True)):
            before = whole[parent] if parent >= 0 else np.eye(4)
            # What the parents have turned already is taken back, so that the turn is the T-pose's.
            undone = straight[parent].T if parent >= 0 else np.eye(3)
            turn = _linear(pose.get(bone, REST))
            whole.append(before @ _about(heads[index], undone @ turn @ straight[index]))
        return np.stack(whole)[:, :3]


def _linear(turn: Turn) -> Matrix:
    """Scale, then turn about one axis after the other."""
    matrix = np.diag(turn.scale)
    for axis, degrees in zip(turn.axes, turn.degrees, strict=True):
        matrix = _rotation("xyz".index(axis), math.radians(degrees)) @ matrix
    return matrix


def _about(head: NDArray[np.float64], linear: Matrix) -> Matrix:
    """Apply a linear map about a point."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = head - linear @ head
    return matrix


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """Turn about one of the world's axes."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = math.cos(angle)
    rotation[first, second], rotation[second, first] = -math.sin(angle), math.sin(angle)
    return rotation
