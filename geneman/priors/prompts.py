"""What text-driven priors are told about a render: the caption, the part and the side it shows.

METHOD sections 2 and 4, words of the released prompt processor: "CAPTION, PART, DIRECTION view",
four parts by four directions, thresholds of 45 degrees, no overhead view, empty negative prompt.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from geneman.camera import Orbit
from geneman.view import Framing

THRESHOLD_DEG = 45.0
"""Within so many degrees of the front a view is a front view, and of the back a back view."""
HEAD_DISTANCE, PART_DISTANCE = 1.25, 2.5
"""Scene units. The sculpting cameras stand at 0.8 to 1.0 before a head, at 1.5 to 2.0 before half
a body and at 3 or more before all of it: these lie in between."""
NEGATIVE = ""
"""What the unconditioned branch is told."""


class Direction(enum.StrEnum):
    """The side that a camera sees, in the prompt's words."""

    FRONT = "front view"
    LEFT = "left side view"
    BACK = "back view"
    RIGHT = "right side view"


class Shown(enum.StrEnum):
    """The part that a camera sees, in the prompt's words."""

    WHOLE = "full body"
    HEAD = "only head"
    UPPER = "upper body"
    LOWER = "lower body"


OF_FRAMING = {
    Framing.FULL_BODY: Shown.WHOLE,
    Framing.HALF_BODY: Shown.UPPER,
    Framing.HEAD: Shown.HEAD,
}
"""What a camera that sees everything sees (ours: the release says "full body" of every photo)."""


class Medium(enum.StrEnum):
    """What renders show; the value is what the prompt ends with (the release's run script)."""

    COLOUR = ""
    NORMAL = ", black background, normal map"
    DEPTH = ", black background, depth map"


@dataclass(frozen=True)
class Wording:
    """How the prompts of one prior are put together."""

    medium: Medium = Medium.COLOUR
    parts: bool = False
    """Whether the part is named. The release names it for depth alone."""

    def prompt(self, caption: str, orbit: Orbit, framing: Framing) -> str:
        """Describe what a camera sees of the person."""
        words = [caption.strip() + self.medium.value]
        if self.parts:
            words.append(part_of(orbit, framing).value)
        return ", ".join([*words, direction_of(orbit).value])

    def together(self, caption: str, orbits: Sequence[Orbit], framing: Framing) -> str:
        """Describe views that lie side by side in one image: what holds for all of them."""
        prompts = {self.prompt(caption, orbit, framing) for orbit in orbits}
        return prompts.pop() if len(prompts) == 1 else caption.strip() + self.medium.value


def direction_of(orbit: Orbit) -> Direction:
    """Give the side that a camera sees; on the thresholds themselves, the flank."""
    azimuth = (orbit.azimuth_deg + 180) % 360 - 180
    if abs(azimuth) < THRESHOLD_DEG:
        return Direction.FRONT
    if abs(azimuth) > 180 - THRESHOLD_DEG:
        return Direction.BACK
    return Direction.LEFT if azimuth > 0 else Direction.RIGHT


def part_of(orbit: Orbit, framing: Framing) -> Shown:
    """Give the part that a camera sees, by how near it stands and where it looks.

    Args:
        orbit: The camera; close ones look at a part's centre, of which knees lie below the middle
            of a whole person and shoulders above it.
        framing: What of the person the photo, and so the shape, shows.
    """
    if orbit.distance >= PART_DISTANCE:
        return OF_FRAMING[framing]
    if orbit.distance < HEAD_DISTANCE:
        return Shown.HEAD
    lower = framing is Framing.FULL_BODY and orbit.centre[2] < 0
    return Shown.LOWER if lower else Shown.UPPER
