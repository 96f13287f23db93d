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
from geneman.view import Framing

WAIST = 2.2
"""Heights of the head below its top under which more than a head crop is shown."""

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

    @property
    def framing(self) -> Framing:
        """Say what `prepare` would call it."""
        if np.isinf(self.below_crown):
            return Framing.FULL_BODY
        return Framing.HALF_BODY if self.below_crown > WAIST else Framing.HEAD

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
    scale: float
    """Scene units in a metre."""
    shift: Float[Tensor, "3"]
    """What is added to a turned and scaled point."""
    left: float
    right: float
    bottom: float
    """Image coordinates beyond which nothing is shown; infinite: nothing is cut."""

    def edges(self) -> Float[Tensor, "4"]:
        """Give the left, bottom, right and top image coordinates that are shown."""
        return torch.tensor([self.left, self.bottom, self.right, np.inf])

    def placed(self, turned: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Bring turned points of the same person before the reference camera."""
        return REFERENCE.to_world(turned * self.scale + self.shift)


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
        elevation_deg=float(_elevation(random)),
        roll_deg=float(random.normal(0, 3)),
        below_crown=float(below),
        half_width=float(half_width),
    )


def _elevation(random: np.random.Generator) -> float:
    """Hold the camera at the height of somebody's eyes, sometimes anywhere from -10 to 45."""
    if random.random() < 0.15:  # noqa: PLR2004
        return random.uniform(-10, 45)
    return random.normal(4, 8)


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
    kept = seen[shown]
    frame_side = 2 * REFERENCE.distance / REFERENCE.focal
    low, high = kept.amin(dim=0), kept.amax(dim=0)
    scale = FILL * frame_side / (high - low)[:2].max()
    shift = -torch.stack([*((low + high) / 2)[:2], kept[::7, 2].median()]) * scale
    # Perspective moves the outline a little: fit what the camera sees once more.
    at = _project(kept * scale + shift)
    low, high = at.amin(dim=0), at.amax(dim=0)
    shift = shift - torch.cat(
        [(low + high) / 2 / REFERENCE.focal * REFERENCE.distance, low[:1] * 0]
    )
    again = 2 * FILL / (high - low).max()
    scale, shift = scale * again, shift * again
    (left, bottom), (right, _) = (
        edge.tolist() for edge in _project(kept * scale + shift).aminmax(dim=0)
    )
    sides = np.isfinite(shot.half_width)
    shift = shift - torch.tensor([0.0, 0.0, REFERENCE.distance])
    return Framed(
        REFERENCE.to_world(seen * scale + shift),
        scale=float(scale),
        shift=shift,
        left=left if sides else -np.inf,
        right=right if sides else np.inf,
        bottom=bottom if np.isfinite(shot.below_crown) else -np.inf,
    )


def _project(points: Float[Tensor, "v 3"]) -> Float[Tensor, "v 2"]:
    return points[:, :2] * (REFERENCE.focal / (REFERENCE.distance - points[:, 2:]))
