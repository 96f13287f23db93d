"""Where a head is in a photo, and axes of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geneman.landmarks import EARS, EYES, MOUTH
from geneman.priors.bundled.membranes import Map

HEAD_WORKING = 512
"""Side of the grid on which hair is told from skin: of whole bodies heads are small."""


@dataclass(frozen=True)
class Head:
    """Where the face is: lengths and places in pixels of a grid."""

    centre: NDArray[np.float64]
    """Between eyes and mouth."""
    up: NDArray[np.float64]
    """From the mouth to the eyes, unit length, y down."""
    face: float
    """From the mouth to the eyes."""
    width: float
    """Of the face, ear to ear."""
    side: int = HEAD_WORKING
    """Of the grid."""

    @staticmethod
    def of(landmarks: NDArray[np.float32], side: int = HEAD_WORKING) -> "Head | None":
        """Read the face off the landmarks; nobody's landmarks are all zero."""
        if not landmarks.any():
            return None
        x, y = landmarks[:, 0].astype(np.float64), landmarks[:, 1].astype(np.float64)
        points = np.stack([x + 1, 1 - y], axis=-1) * side / 2
        eyes, mouth = points[list(EYES)].mean(0), points[list(MOUTH)].mean(0)
        length = max(float(np.linalg.norm(mouth - eyes)), 1.0)
        ears = float(np.linalg.norm(points[EARS[0]] - points[EARS[1]]))
        width = max(ears, 1.6 * length)
        return Head((eyes + mouth) / 2, (eyes - mouth) / length, length, width, side)

    def frame(self) -> tuple[Map, Map]:
        """Give each pixel's place in the head's own axes: aside and above the centre."""
        y, x = np.mgrid[: self.side, : self.side] + 0.5
        x, y = x - self.centre[0], y - self.centre[1]
        return x * -self.up[1] + y * self.up[0], x * self.up[0] + y * self.up[1]
