"""Where a body lets cloth and things hang. Rest frame: z up, facing -y, metres."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from geneman.curation.synthetic.rigged import Rigged
from geneman.curation.synthetic.solids import Solid
from geneman.curation.synthetic.surfaces import Surface

Array = NDArray[np.float64]

REACH = 0.2
"""Metres from a wrist to the finger tips, and as far up the sleeve."""

TURNS = 40
"""Directions in which a body's outline is measured."""


@dataclass(frozen=True)
class Figure:
    """Where a body lets cloth and things hang."""

    rigged: Rigged
    outline: Array
    """Z x T radii about the axis: the trunk's and the legs' farthest points at each height."""
    heights: Array
    """Z, ascending."""
    axis: tuple[float, float]
    """x and y of the axis."""
    crown: Array
    """Centre of the skull's upper half; its half sizes across, along and up."""
    jacket: NDArray[np.int64]
    """Triangles of trunk and arms."""

    @staticmethod
    def of(rigged: Rigged, head: Bool[Tensor, "v"]) -> "Figure":
        """Measure a body at rest."""
        points = rigged.vertices.numpy().astype(np.float64)
        strongest = rigged.joints[torch.arange(len(points)), rigged.weights.argmax(1)].numpy()
        arm, dressed = (
            np.array([any(word in bone.lower() for word in words) for bone in rigged.bones])
            for words in (("arm", "hand", "finger"), ("spine", "shoulder", "arm", "hips"))
        )
        skull = points[head.numpy()]
        low, high = np.quantile(skull, [0.01, 0.995], axis=0)
        crown = np.concatenate([(low + high) / 2, (high - low) / 2])
        hips = rigged.heads[rigged.bones.index("Hips")].numpy().astype(np.float64)
        body = points[~arm[strongest] & ~head.numpy()]
        heights = np.linspace(0.0, low[2], 48)
        outline = _outline(body, heights, (float(hips[0]), float(hips[1])))
        faces = rigged.faces.numpy().astype(np.int64)
        jacket = faces[dressed[strongest][faces].all(axis=1)]
        axis = (float(hips[0]), float(hips[1]))
        return Figure(rigged, outline, heights, axis, crown, jacket)

    def bare(self, places: Float[Tensor, "p 3"]) -> Bool[Tensor, "p"]:
        """Say which places at rest are head or hands, where there is no cloth."""
        near = places[:, 2] > float(self.crown[2] - self.crown[5])
        for side in ("Left", "Right"):
            hand = self.rigged.heads[self.bone(f"{side}Hand")]
            near = near | ((places - hand).square().sum(dim=1) < REACH**2)
        return near

    def bone(self, name: str) -> int:
        """Give a bone's index."""
        return self.rigged.bones.index(name)

    def head_of(self, name: str) -> Array:
        """Give where a bone begins."""
        return self.rigged.heads[self.bone(name)].numpy().astype(np.float64)

    def radii(self, height: float | Array) -> Array:
        """Give the outline at heights: T radii each."""
        step = self.heights[1] - self.heights[0]
        place = np.clip((np.asarray(height) - self.heights[0]) / step, 0, len(self.heights) - 1.001)
        row = place.astype(int)
        share = (place - row)[..., None]
        radii: Array = self.outline[row] * (1 - share) + self.outline[row + 1] * share
        return radii


def _outline(points: Array, heights: Array, axis: tuple[float, float]) -> Array:
    """Find the farthest point in each direction at each height, filled in and smoothed."""
    x, y = points[:, 0] - axis[0], points[:, 1] - axis[1]
    turn = np.round(np.arctan2(y, x) / (2 * np.pi) * TURNS).astype(int) % TURNS
    row = np.abs(points[:, 2:] - heights).argmin(axis=1)
    table = np.zeros((len(heights), TURNS))
    np.maximum.at(table, (row, turn), np.hypot(x, y))
    for _ in range(3):
        around = np.maximum(np.roll(table, 1, 1), np.roll(table, -1, 1))
        above = np.maximum(np.vstack([table[1:], table[-1:]]), np.vstack([table[:1], table[:-1]]))
        table = np.where(table > 0, table, np.maximum(around, above))
    smooth: Array = (np.roll(table, 1, 1) + 2 * table + np.roll(table, -1, 1)) / 4
    return np.maximum(smooth, table)


def fastened(solid: Solid, bone: int, material: int) -> Surface:
    """Fasten a thing to one bone."""
    count = len(solid.points)
    bones, shares = np.full((count, 1), bone), np.ones((count, 1))
    return without_texture(solid.points, solid.faces, bones, shares, material)


def without_texture(
    points: Array,
    faces: NDArray[np.int64],
    bones: NDArray[np.int64],
    shares: Array,
    material: int,
) -> Surface:
    """Give points on bones normals, and a material instead of a texture.

    Args:
        points: N x 3, at rest.
        faces: F x 3.
        bones: N x K that hold each point.
        shares: N x K, how firmly; they sum to 1.
        material: Number among the extra materials.
    """
    corners = points[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.stack(
        [
            np.bincount(faces.reshape(-1), np.repeat(across[:, axis], 3), len(points))
            for axis in range(3)
        ],
        axis=1,
    )
    normals = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
    return Surface(
        torch.from_numpy(points).float(),
        torch.from_numpy(normals).float(),
        no_texture(len(points), material),
        torch.from_numpy(faces).int(),
        torch.from_numpy(np.ascontiguousarray(bones)).int(),
        torch.from_numpy(np.ascontiguousarray(shares)).float(),
    )


def no_texture(count: int, material: int) -> Tensor:
    """Give the texture coordinates that stand for an extra material."""
    return torch.tensor([[-1.0 - material, 0.0]]).expand(count, 2)
