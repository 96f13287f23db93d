"""Simple closed and open shapes: what props and hats are made of. Metres."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Solid:
    """Points, and triangles that wind counter-clockwise seen from outside."""

    points: Array
    faces: Faces

    def with_(self, other: "Solid") -> "Solid":
        """Put two shapes into one."""
        return Solid(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.faces, other.faces + len(self.points)]),
        )

    def moved(self, turn: Array, place: Array) -> "Solid":
        """Turn about the origin, then shift."""
        return Solid(self.points @ turn.T + place, self.faces)


def tube(rows: int, columns: int, *, around: bool = True, closed: bool = False) -> Faces:
    """Give the triangles of a grid of points whose rows follow each other downward.

    Args:
        rows: Rings.
        columns: Points of a ring, counter-clockwise seen from above.
        around: The last column joins the first.
        closed: The last row joins the first.
    """
    rows_of, columns_of = np.meshgrid(
        np.arange(rows if closed else rows - 1),
        np.arange(columns if around else columns - 1),
        indexing="ij",
    )
    r, c = rows_of.reshape(-1), columns_of.reshape(-1)
    below, beside = (r + 1) % rows, (c + 1) % columns
    a, b, d, e = (
        r * columns + c,
        below * columns + c,
        r * columns + beside,
        below * columns + beside,
    )
    return np.concatenate([np.stack([a, b, d], 1), np.stack([d, b, e], 1)])


def _spun(radii: Array, heights: Array, columns: int = 24) -> Solid:
    """Turn a profile, from its top down, about the z axis."""
    angle = np.arange(columns) * 2 * np.pi / columns
    x, y = np.outer(radii, np.cos(angle)), np.outer(radii, np.sin(angle))
    z = np.broadcast_to(heights[:, None], x.shape)
    return Solid(np.stack([x, y, z], -1).reshape(-1, 3), tube(len(radii), columns))


def ball(centre: Array, radius: float) -> Solid:
    """Make a ball."""
    angle = np.linspace(0.01, np.pi - 0.01, 14)
    return _spun(radius * np.sin(angle), radius * np.cos(angle)).moved(np.eye(3), centre)


def cylinder(centre: Array, radius: float, half: float, turn: Array) -> Solid:
    """Make a bar with flat ends."""
    radii = np.array([1e-4, 1, 1, 1, 1, 1e-4]) * radius
    heights = np.array([1, 1, 0.999, -0.999, -1, -1]) * half
    return _spun(radii, heights, 16).moved(turn, centre)


def block(centre: Array, half: Array, turn: Array) -> Solid:
    """Make a box; its corners are three times there, so that its faces are flat."""
    points: list[Array] = []
    faces: list[list[int]] = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for sign in (1.0, -1.0):
            start = len(points)
            for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = np.zeros(3)
                corner[[axis, b, c]] = sign * half[axis], s * half[b], t * half[c]
                points.append(corner)
            quad = (0, 1, 2, 3) if sign > 0 else (3, 2, 1, 0)
            faces += [[start + quad[i] for i in corners] for corners in ((0, 1, 2), (0, 2, 3))]
    return Solid(np.array(points), np.array(faces)).moved(turn, centre)


def bag(grip: Array, size: Array, along: Array) -> Solid:
    """Make a handbag whose handle lies in a hand; it hangs off the arm's direction, downward."""
    up = -along / max(float(np.linalg.norm(along)), 1e-6)
    aside = np.cross(up, (0.0, 1.0, 0.0))
    aside = aside / max(float(np.linalg.norm(aside)), 1e-6)
    turn = np.stack([aside, np.cross(up, aside), up], axis=1)
    body = block(np.zeros(3), np.array([size[0], 0.045, size[1]]), np.eye(3))
    around = np.arange(20) * 2 * np.pi / 20
    ring, section = np.meshgrid(around, np.arange(6) * 2 * np.pi / 6, indexing="ij")
    wide = 0.07 + 0.008 * np.cos(section)
    handle = np.stack([wide * np.cos(ring), 0.008 * np.sin(section), wide * np.sin(ring)], -1)
    loop = Solid(handle.reshape(-1, 3), tube(20, 6, closed=True))
    loop = loop.moved(np.eye(3), np.array([0.0, 0.0, size[1] + 0.04]))
    return body.with_(loop).moved(turn, grip - up * (size[1] + 0.1))


def dome(base: Array, half: Array | tuple[float, float, float], brim: tuple[float, float]) -> Solid:
    """Make half an ellipsoid, open below, with a brim.

    Args:
        base: Centre of the opening.
        half: Half sizes across and along, and the height.
        brim: How far it stands out behind and in front.
    """
    angle = np.linspace(0.02, np.pi / 2, 9)
    solid = _spun(np.sin(angle), np.cos(angle))
    points = solid.points * np.asarray(half)
    if max(brim) <= 0:
        return Solid(points + base, solid.faces)
    edge = points[-24:]
    length = np.maximum(np.linalg.norm(edge[:, :2], axis=1, keepdims=True), 1e-6)
    forward = np.clip(-edge[:, 1:2] / length, 0, 1)
    narrow = max(brim[0], 0.004)  # a seam, behind a cap
    reach = narrow + (brim[1] - narrow) * forward**0.5
    outer = edge + edge / length * reach - np.array([0.0, 0.0, 0.15]) * reach
    start = len(points)
    faces = tube(2, 24) + start
    return Solid(np.concatenate([points, edge, outer]) + base, np.concatenate([solid.faces, faces]))
