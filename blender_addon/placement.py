# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a person stands: scene units of the reconstruction to Blender's metres, and the camera.

The reconstruction works in units of its own (z up, the person faces -y, the photo's camera three
units from the origin that it looks at, 20 degrees for the square that all maps share).
Blender works in metres with the feet on the floor: metres = (units - floor) * metres_per_unit.
Nothing here needs bpy.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .protocol import Camera, Placement

CAMERA = Camera(distance=3.0, fov_deg=20.0)
"""Of every photo; a backend that says otherwise in its welcome is believed."""
FILL = 0.9
"""Share of the square that the person's longest side takes."""
PERSON_UNITS = FILL * 2 * CAMERA.distance * math.tan(math.radians(CAMERA.fov_deg) / 2)
"""Length of the person's longest side in units."""
GUESSED_METRES = 1.75
"""Height of a person of whom nothing is known yet; `finish` estimates it from proportions."""
GUESS = Placement(GUESSED_METRES / PERSON_UNITS, (0.0, 0.0, -PERSON_UNITS / 2))
_HALF = 128


def to_metres(units: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Turn positions in units, flat (3V,), into Blender's metres."""
    moved = units.reshape(-1, 3) - np.array(placement.floor, np.float32)
    moved *= np.float32(placement.metres_per_unit)
    return moved.reshape(-1)


def to_units(metres: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Turn positions in metres, flat (3V,), into units: the inverse of `to_metres`."""
    moved = metres.reshape(-1, 3) / np.float32(placement.metres_per_unit)
    moved += np.array(placement.floor, np.float32)
    return moved.reshape(-1)


def camera_position(placement: Placement, camera: Camera = CAMERA) -> tuple[float, float, float]:
    """Say where the photo's camera stands, in metres."""
    up = math.radians(placement.camera_elevation_deg)
    there = np.array([0.0, -math.cos(up), math.sin(up)], np.float32) * camera.distance
    x, y, z = to_metres(there, placement)
    return float(x), float(y), float(z)


@dataclass(frozen=True)
class PhotoFrame:
    """Where the square that all maps share lies in the photo."""

    width: int
    height: int
    """Of the photo, upright, in pixels."""
    side: float
    """Of the square, in the photo's pixels."""
    x: float
    y: float
    """The square's centre, in the photo's pixels, y down."""

    @classmethod
    def around(cls, mask: NDArray[np.uint8]) -> "PhotoFrame":
        """Find the square that `prepare` cuts for this mask (H W, of the photo's size).

        Raises:
            ValueError: The mask shows nobody.
        """
        inside = mask >= _HALF
        columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
        if not len(columns):
            raise ValueError("a mask must show somebody, but all of it is black")
        left, right = float(columns[0]), float(columns[-1]) + 1
        top, bottom = float(rows[0]), float(rows[-1]) + 1
        side = max(right - left, bottom - top) / FILL
        height, width = mask.shape
        return cls(width, height, side, (left + right) / 2, (top + bottom) / 2)

    def angle(self, camera: Camera = CAMERA) -> float:
        """Radians that the photo's longer side spans."""
        share = max(self.width, self.height) / self.side
        return 2 * math.atan(share * math.tan(math.radians(camera.fov_deg) / 2))

    @property
    def shift(self) -> tuple[float, float]:
        """Blender's lens shift (right, up), in units of the photo's longer side."""
        longest = max(self.width, self.height)
        return (self.width / 2 - self.x) / longest, (self.y - self.height / 2) / longest
