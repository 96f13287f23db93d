"""How large is the person? A photo tells lengths by proportion only; people tell the rest.

All rulers are lengths between MediaPipe's landmarks seen without foreshortening. Turning away
only shortens what a photo shows, so of several rulers the one that looks longest is believed.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from geneman.landmarks import ANKLES, EYES, HEELS, HIPS, KNEES, MOUTH, SEEN, SHOULDERS
from geneman.mesh import Mesh
from geneman.view import Framing, ReferenceView

ADULT_HEIGHT = 1.70
"""Mean of men and women worldwide, rounded (NCD-RisC 2016: 1.71 m and 1.59 m at age 18)."""

EYE_TO_MOUTH, BETWEEN_EYES = 0.31, 0.276
"""As shares of the head's height: 71 mm and 63 mm of 228 mm (ANSUR II, means of both sexes).
Looking down shortens the first, looking aside the second."""

STANDING = 0.15
"""Sitting, or arms above the head, move the mesh's height this share away from the body's."""

GROWTH = ((4.0, 0.50), (4.8, 0.87), (5.7, 1.12), (6.5, 1.38), (6.8, ADULT_HEIGHT))
"""Heads in a body's height, and that height in metres: newborn, 2, 5 and 10 years, grown up
(stature by the WHO growth standards; head heights 12.5, 18, 19.5 and 21 cm). Adults have 7.3
and more, but landmarks on a small face err by 5 %, so the rule stops doubting them at 6.8."""

RULERS = {
    "eye distance": (EYES, 0.063),
    "shoulder width": (SHOULDERS, 0.36),
}
"""Metres between landmarks of a person of `ADULT_HEIGHT` (ANSUR II; shoulders: the joints)."""
EYES_TO_MOUTH_METRES, TRUNK_METRES = 0.071, 0.50

EXTENT = {Framing.FULL_BODY: ADULT_HEIGHT, Framing.HALF_BODY: 0.85, Framing.HEAD: 0.35}
"""Height in metres of what such a photo shows, for want of any landmark."""


@dataclass(frozen=True)
class Scale:
    """Metres a scene unit, and in words how that was found."""

    metres: float
    source: str


def scale_of(view: ReferenceView, mesh: Mesh, height: float | None) -> Scale:
    """Find the size of the person.

    Args:
        view: Landmarks and framing.
        mesh: The person in scene units.
        height: The whole person's standing height in metres, if somebody knows it.
    """
    points = _Points(view)
    extent = float(mesh.vertices[:, 2].max() - mesh.vertices[:, 2].min())
    if view.framing is Framing.FULL_BODY:
        return _of_whole_body(points, extent, height)
    known = "" if height is None else f" of a person of {height:.2f} m"
    grown = (ADULT_HEIGHT if height is None else height) / ADULT_HEIGHT
    rulers = {name: (points.distance(*pair), size) for name, (pair, size) in RULERS.items()}
    rulers["eye to mouth"] = (points.between(EYES, MOUTH), EYES_TO_MOUTH_METRES)
    rulers["shoulder to hip"] = (points.between(SHOULDERS, HIPS), TRUNK_METRES)
    scales = {name: size / length for name, (length, size) in rulers.items() if length > 0}
    if not scales:
        metres = EXTENT[view.framing] * grown / extent
        return Scale(metres, f"usual extent of a {view.framing} photo{known}: no landmarks")
    name = min(scales, key=lambda ruler: scales[ruler])
    return Scale(scales[name] * grown, f"{name}{known or ' of an adult'}")


def _of_whole_body(points: "_Points", extent: float, height: float | None) -> Scale:
    """Set the body's height, by the mesh when upright and along the bones when not."""
    chain, head = points.chain(), points.head_height()
    upright = chain == 0 or abs(extent / chain - 1) < STANDING
    length, along = (extent, "") if upright else (chain, ", measured along the bones")
    if height is not None:
        return Scale(height / length, f"given height of {height:.2f} m{along}")
    if chain == 0 or head == 0:
        return Scale(ADULT_HEIGHT / length, f"adult height of {ADULT_HEIGHT:.2f} m{along}")
    heads = chain / head
    estimate = float(np.interp(heads, *np.array(GROWTH).T))
    if estimate == ADULT_HEIGHT:
        return Scale(estimate / length, f"adult height of {estimate:.2f} m{along}")
    source = f"{heads:.1f} heads in the body's height: {estimate:.2f} m{along}"
    return Scale(estimate / length, source)


class _Points:
    """Landmarks as points in the frame's plane at the person, in scene units."""

    def __init__(self, view: ReferenceView) -> None:
        half_frame = view.camera.distance / view.camera.focal
        landmarks = view.landmarks.detach().cpu()
        self.places: Float[Tensor, "33 2"] = landmarks[:, :2] * half_frame
        self.seen = (landmarks[:, 3] >= SEEN).tolist()

    def distance(self, a: int, b: int) -> float:
        """Give the length between two landmarks, 0 if one of them is not seen."""
        if not (self.seen[a] and self.seen[b]):
            return 0.0
        return float((self.places[a] - self.places[b]).norm())

    def between(self, a: tuple[int, int], b: tuple[int, int]) -> float:
        """Give the length between the middles of two pairs, 0 if one of the four is not seen."""
        if not all(self.seen[index] for index in (*a, *b)):
            return 0.0
        return float((self.places[list(a)].mean(0) - self.places[list(b)].mean(0)).norm())

    def head_height(self) -> float:
        """Give the length from the chin to the crown, without hair and hat; 0 if unknown."""
        return max(self.between(EYES, MOUTH) / EYE_TO_MOUTH, self.distance(*EYES) / BETWEEN_EYES)

    def chain(self) -> float:
        """Give the body's height along the bones, the longer leg counting; 0 if unknown."""
        trunk = [self.between(EYES, SHOULDERS), self.between(SHOULDERS, HIPS)]
        legs = []
        for side in range(2):
            joints = [pair[side] for pair in (HIPS, KNEES, ANKLES, HEELS)]
            bones = [self.distance(a, b) for a, b in itertools.pairwise(joints)]
            legs.append(sum(bones) if all(bones) else 0.0)
        parts = [*trunk, max(legs), self.head_height()]
        if not all(parts) or not all(math.isfinite(part) for part in parts):
            return 0.0
        # The eyes are half a head below the crown.
        return sum(parts[:-1]) + parts[-1] / 2
