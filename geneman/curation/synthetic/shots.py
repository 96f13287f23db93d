"""How a photo frames a person: from where, how much of the body, and the square it ends up in.

Points are camera-frame metres (x right, y up, z towards the viewer) once the person is turned;
`Shot.place` brings them before the reference camera as `prepare` would have framed the photo.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import REFERENCE, Orbit

FILL = 0.9
"""Share of the square's side that the person's longest side takes (METHOD section 1)."""


@dataclass(frozen=True)
class Shot:
    """One photo's view of a person."""

    azimuth_deg: float
    elevation_deg: float
    roll_deg: float
    below_crown: float
    """Where the lower edge cuts, in heights of the head below its top; infinite: nowhere."""
    half_width: float
    """Where the sides cut, in heights of the head from its middle; infinite: nowhere."""

    def turn(self, points: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3"]:
        """Turn world vectors into the camera's frame."""
        orbit = Orbit(azimuth_deg=self.azimuth_deg, elevation_deg=self.elevation_deg)
        angle = np.deg2rad(self.roll_deg)
        c, s = float(np.cos(angle)), float(np.sin(angle))
        roll = torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return orbit.turn_to_camera(points) @ roll


@dataclass(frozen=True)
class Framed:
    """Points before the reference camera, and the edges that cut them."""

    points: Float[Tensor, "v 3"]
    """World coordinates, in scene units."""
    left: float
    right: float
    bottom: float
    """Image coordinates beyond which nothing is shown; infinite: nothing is cut."""


def draw_shot(random: np.random.Generator) -> Shot:
    """Draw a view: mostly of somebody who faces the camera, whole, to the waist or the head."""
    wide = random.random()
    if wide < 0.75:  # noqa: PLR2004
        azimuth = random.normal(0, 18)
    else:
        azimuth = random.uniform(-75, 75) if wide < 0.95 else random.uniform(-180, 180)  # noqa: PLR2004
    kind = random.random()
    below, half_width = np.inf, np.inf
    if kind > 0.5:  # noqa: PLR2004
        below = random.uniform(2.2, 5.0) if kind < 0.82 else random.uniform(1.15, 2.2)  # noqa: PLR2004
        if random.random() < 0.5:  # noqa: PLR2004
            half_width = random.uniform(0.75, 1.6) if below < 2.2 else random.uniform(1.2, 2.5)  # noqa: PLR2004
    return Shot(
        azimuth_deg=float(azimuth),
        elevation_deg=float(random.normal(4, 8)),
        roll_deg=float(random.normal(0, 3)),
        below_crown=float(below),
        half_width=float(half_width),
    )


def frame(shot: Shot, seen: Float[Tensor, "v 3"], head: Float[Tensor, "h 3"]) -> Framed:
    """Cut a turned person as a photo would, and recentre what is left to `FILL` of the square.

    Args:
        shot: The view.
        seen: The person's points, turned.
        head: Those of the head.
    """
    crown, chin = head[:, 1].max(), head[:, 1].min()
    unit, middle = crown - chin, head[:, 0].mean()
    shown = (seen[:, 1] >= crown - shot.below_crown * unit) & (
        (seen[:, 0] - middle).abs() <= shot.half_width * unit
    )
    frame_side = 2 * REFERENCE.distance / REFERENCE.focal
    low, high = seen[shown].amin(dim=0), seen[shown].amax(dim=0)
    scale = FILL * frame_side / (high - low)[:2].max()
    middle_z = seen[shown][:, 2].median()
    points = (seen - torch.stack([*((low + high) / 2)[:2], middle_z])) * scale
    # Perspective moves the outline a little: fit what the camera sees once more.
    at = _project(points[shown])
    low, high = at.amin(dim=0), at.amax(dim=0)
    points = points - torch.cat(
        [(low + high) / 2 / REFERENCE.focal * REFERENCE.distance, low[:1] * 0]
    )
    points = points * (2 * FILL / (high - low).max())
    at = _project(points[shown])
    (left, bottom), (right, _) = at.amin(dim=0).tolist(), at.amax(dim=0).tolist()
    sides = np.isfinite(shot.half_width)
    camera_frame = points - torch.tensor([0.0, 0.0, REFERENCE.distance])
    return Framed(
        REFERENCE.to_world(camera_frame),
        left=left if sides else -np.inf,
        right=right if sides else np.inf,
        bottom=bottom if np.isfinite(shot.below_crown) else -np.inf,
    )


def _project(points: Float[Tensor, "v 3"]) -> Float[Tensor, "v 2"]:
    return points[:, :2] * (REFERENCE.focal / (REFERENCE.distance - points[:, 2:]))
