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


Pose = Mapping[str, Turn]
"""By bone; bones without an entry keep their place on the parent."""


@dataclass(frozen=True)
class Rigged:
    """A person in the T-pose. Vertices are split at texture seams, normals are not."""

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
    texture: UInt8[Tensor, "h w 3"]
    """sRGB."""

    def posed(self, pose: Pose) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"]]:
        """Give vertices and unit normals in a pose (linear blend skinning)."""
        moves = torch.from_numpy(self._moves(pose)).float()
        blended = (self.weights[:, :, None, None] * moves[self.joints.long()]).sum(dim=1)
        points = (blended[:, :, :3] @ self.vertices[:, :, None])[..., 0] + blended[:, :, 3]
        turned = (blended[:, :, :3] @ self.normals[:, :, None])[..., 0]
        return points, torch.nn.functional.normalize(turned, dim=1)

    def _moves(self, pose: Pose) -> NDArray[np.float64]:
        """Give each bone's affine map from the T-pose to the pose, B x 3 x 4."""
        whole: list[Matrix] = []
        heads = self.heads.numpy().astype(np.float64)
        for bone, parent, head in zip(self.bones, self.parents, heads, strict=True):
            before = whole[parent] if parent >= 0 else np.eye(4)
            turn = pose.get(bone)
            whole.append(before if turn is None else before @ _about(head, turn))
        return np.stack(whole)[:, :3]


def _about(head: NDArray[np.float64], turn: Turn) -> Matrix:
    """Scale and turn about a point."""
    matrix = np.eye(4)
    rotation = np.diag(turn.scale)
    for axis, degrees in zip(turn.axes, turn.degrees, strict=True):
        rotation = _rotation("xyz".index(axis), math.radians(degrees)) @ rotation
    matrix[:3, :3] = rotation
    matrix[:3, 3] = head - matrix[:3, :3] @ head
    return matrix


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """Turn about one of the world's axes."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = math.cos(angle)
    rotation[first, second], rotation[second, first] = -math.sin(angle), math.sin(angle)
    return rotation
