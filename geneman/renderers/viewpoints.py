"""Where the sculpting cameras stand: around the whole person, or close to a part of it.

METHOD section 4: part centres are looked up once on the reference camera's position map under
the body's landmarks; a part that cannot be seen is never visited, which is how half-body and
head photos work.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import Orbit
from geneman.landmarks import KNEES, NOSE, SEEN, SHOULDERS
from geneman.renderers.raster import Rasterised
from geneman.view import Framing

Range = tuple[float, float]
Point = tuple[float, float, float]


class Part(enum.StrEnum):
    """What a camera looks at."""

    WHOLE = "whole"
    HEAD = "head"
    UPPER = "upper"
    LOWER = "lower"


LANDMARKS = {Part.HEAD: (NOSE,), Part.UPPER: SHOULDERS, Part.LOWER: KNEES}
"""Whose mean is a part's centre."""


@dataclass(frozen=True)
class Zone:
    """The cameras that look at one part."""

    share: float
    """How often, before parts that are missing hand their share on."""
    distance: Range = (3.0, 3.5)
    """Scene units."""
    elevation_deg: Range = (-20.0, 20.0)
    azimuth_deg: Range = (-180.0, 180.0)


ZONES = {
    Part.WHOLE: Zone(0.7),
    Part.HEAD: Zone(0.1, (0.8, 1.0), (-10.0, 10.0), (-90.0, 90.0)),
    Part.UPPER: Zone(0.1, (1.5, 2.0)),
    Part.LOWER: Zone(0.1, (1.5, 2.0)),
}
"""The released recipe's cameras."""
FOV_DEG: Range = (20.0, 25.0)


SHOWN = {
    Framing.FULL_BODY: LANDMARKS,
    Framing.HALF_BODY: {Part.HEAD: (NOSE,), Part.UPPER: SHOULDERS},
    Framing.HEAD: {},
}
"""Parts that may be visited, by what the photo shows. Ours: the release asks the landmarks alone,
which guess knees below a half body's edge, and stands so near a head that fills the photo that
only its nose is seen."""


def part_centres(
    landmarks: Float[Tensor, "33 4"], drawn: Rasterised, framing: Framing = Framing.FULL_BODY
) -> dict[Part, Point]:
    """Find the parts that the reference camera sees.

    Args:
        landmarks: x, y in [-1, 1] (y up), z, visibility.
        drawn: The person from the camera that the landmarks were found with.
        framing: What of the person the photo shows.

    Returns:
        World points on the surface; the whole person's is the origin.
    """
    centres: dict[Part, Point] = {Part.WHOLE: (0.0, 0.0, 0.0)}
    for part, numbers in SHOWN[framing].items():
        chosen = landmarks[list(numbers)]
        inside = bool((chosen[:, :2].abs() < 1).all())
        if not inside or chosen[:, 3].min().item() < SEEN:
            continue
        size = drawn.mask.shape[0]
        column = ((chosen[:, 0] + 1) / 2 * size).long()
        row = ((1 - chosen[:, 1]) / 2 * size).long()
        found = drawn.raster.triangle[row, column] >= 0
        if found.any():
            # The mean of places, not of pixels: between two knees there is no surface.
            x, y, z = drawn.position[row, column][found].mean(dim=0).tolist()
            centres[part] = (x, y, z)
    return centres


def draw_camera(centres: Mapping[Part, Point], generator: torch.Generator) -> tuple[Part, Orbit]:
    """Pick a part among those that are there, and a camera that looks at it."""
    parts = list(centres)
    shares = torch.tensor([ZONES[part].share for part in parts])
    part = parts[int(torch.multinomial(shares, 1, generator=generator))]
    zone = ZONES[part]
    orbit = Orbit(
        azimuth_deg=_uniform(zone.azimuth_deg, generator),
        elevation_deg=_elevation(zone.elevation_deg, generator),
        distance=_uniform(zone.distance, generator),
        fov_deg=_uniform(FOV_DEG, generator),
        centre=centres[part],
    )
    return part, orbit


def _uniform(bounds: Range, generator: torch.Generator) -> float:
    low, high = bounds
    return low + (high - low) * torch.rand((), generator=generator).item()


def _elevation(bounds: Range, generator: torch.Generator) -> float:
    """Half the time uniform in degrees, half the time uniform on the sphere (METHOD section 2)."""
    if torch.rand((), generator=generator).item() < 0.5:  # noqa: PLR2004 (a half is a half)
        return _uniform(bounds, generator)
    low, high = (math.sin(math.radians(bound)) for bound in bounds)
    return math.degrees(math.asin(_uniform((low, high), generator)))
