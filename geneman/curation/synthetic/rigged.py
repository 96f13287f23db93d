"""A textured person with a skeleton, and how it is posed.

V vertices, F triangles, B bones. World axes (z up, facing -y, the person's left on +x). A pose
turns bones about the world's axes as they lie in the T-pose, so it needs nothing of a rig but
the bones' names, parents and places: rigs with other axes take the same poses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from geneman.curation.synthetic.seeing import posed
from geneman.curation.synthetic.surfaces import Surface

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

    @cached_property
    def surface(self) -> Surface:
        """Give what carries the texture, as it is rendered."""
        return Surface(
            self.vertices.float().contiguous(),
            self.normals.float().contiguous(),
            self.uv.float().contiguous(),
            self.faces.int().contiguous(),
            self.joints.int().contiguous(),
            self.weights.float().contiguous(),
        )

    def posed(self, pose: Pose) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"]]:
        """Give vertices and unit normals in a pose (linear blend skinning)."""
        return posed(self.surface, self.moves(pose))

    def moves(self, pose: Pose) -> Float[Tensor, "b 3 4"]:
        """Give each bone's affine map from rest to the pose."""
        turns: list[Matrix] = []
        shifts: list[Matrix] = []
        heads, straight = self._places
        for index, (bone, parent) in enumerate(zip(self.bones, self.parents, strict=True)):
            turn = pose.get(bone)
            if parent < 0:
                linear = straight[index] if turn is None else _linear(turn) @ straight[index]
                turns.append(linear)
                shifts.append(heads[index] - linear @ heads[index])
                continue
            # What the parents have turned already is taken back, so that the turn is the T-pose's.
            before, shift = turns[parent], shifts[parent]
            if turn is None and self._follows[index]:
                turns.append(before)
                shifts.append(shift)
                continue
            linear = straight[index] if turn is None else _linear(turn) @ straight[index]
            whole = before @ straight[parent].T @ linear
            turns.append(whole)
            shifts.append(before @ heads[index] + shift - whole @ heads[index])
        maps = np.concatenate([np.stack(turns), np.stack(shifts)[:, :, None]], axis=2)
        return torch.from_numpy(maps).float()

    @cached_property
    def _places(self) -> tuple[Matrix, Matrix]:
        """Give the bones' heads and straightening turns as arrays."""
        return self.heads.numpy().astype(np.float64), self.straight.numpy().astype(np.float64)

    @cached_property
    def _follows(self) -> tuple[bool, ...]:
        """Say which bones rest as their parents do, and so go where these go."""
        straight = self._places[1]
        return tuple(
            parent >= 0 and np.array_equal(straight[index], straight[parent])
            for index, parent in enumerate(self.parents)
        )


def _linear(turn: Turn) -> Matrix:
    """Scale, then turn about one axis after the other."""
    matrix = np.diag(np.asarray(turn.scale, np.float64))
    for axis, degrees in zip(turn.axes, turn.degrees, strict=True):
        first, second = _PLANES[axis]
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        a, b = matrix[first].copy(), matrix[second]
        matrix[first], matrix[second] = c * a - s * b, s * a + c * b
    return matrix


_PLANES = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}
"""The axes that turn about each axis, the first towards the second."""
