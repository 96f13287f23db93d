"""Strands on the back of a head, which the photo does not show, like those in front.

Noise is smeared along the way that hair falls from the whorl (line integral convolution: Cabral
and Leedom, "Imaging vector fields using line integral convolution", SIGGRAPH 1993), as strong as
the visible hair's own strands are. Where none are seen, as on hats and bald heads, none are drawn.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geneman.colour import unlike
from geneman.landmarks import EYES, MOUTH, SEEN
from geneman.priors.bundled.borders import Picture, structure
from geneman.priors.bundled.head import Head
from geneman.priors.bundled.hidden_colour import Front, touching
from geneman.priors.bundled.membranes import Map, Pixels, blurred, resized

FACE = 40.0
"""Pixels from mouth to eyes of the grid that strands are drawn on, where the photo has as many."""

LEAST_FACE = 12.0
"""Such pixels below which no strand can be seen."""

LEAST_SEEN = 0.25
"""Squares of a face's side of hair that must be seen."""

NAPE = -1.5, -2.2
"""Faces below the middle of eyes and mouth where strands begin to fade, and end: farther down, dark
clothes pass for hair."""

WIDEST = 1.3
"""Widths of the face to either side within which hair is looked for."""

WHORL = 2.1
"""Faces above the middle of eyes and mouth from which hair falls."""

STRONGEST = 0.35
"""Most that a strand's logarithm of light differs from the hair's, as a standard deviation."""

COMBED = 0.18, 0.35
"""Coherence of what the visible hair shows at which it begins to be hair, and is."""


def strands(borrowed: Picture, front: Front, landmarks: NDArray[np.float32]) -> Map:
    """Say how many times as light as its hair each pixel of the hidden side is, H W.

    Args:
        borrowed: H W 3, sRGB, the hidden side's colours, smooth.
        front: The photo.
        landmarks: 33 x 4, x and y in [-1, 1], y up.
    """
    size = len(borrowed)
    lighter = np.ones((size, size))
    first = Head.of(landmarks)
    if first is None or landmarks[[*EYES, *MOUTH], 3].min() < SEEN:
        return lighter
    side = min(size, round(first.side * FACE / first.face))
    head = Head.of(landmarks, side)
    if head is None or head.face < LEAST_FACE:
        return lighter
    crop = _Crop.around(head)
    photo = crop.of(resized(np.asarray(front.photo, np.float64), side))
    behind = crop.of(resized(borrowed, side))
    inside = crop.of(resized(front.inside.astype(np.float64), side)) > 0.5  # noqa: PLR2004 (half a pixel)
    seen = _Seen.of(photo, inside, crop)
    if seen is None:
        return lighter
    likely = seen.likely(behind) * inside * crop.fading()
    hair = touching(likely > 0.5, crop.above > 0.5) * likely  # noqa: PLR2004 (a half, the brow)
    waves = _smeared(_falling(crop), round(head.face))
    drawn = np.exp(seen.strength * np.clip(waves, -2.0, 2.0) * blurred(hair, 1.5))
    fine = np.ones((side, side))
    fine[crop.rows, crop.columns] = drawn
    return resized(fine, size)


@dataclass(frozen=True)
class _Crop:
    """The head's surroundings; places in faces (mouth to eyes) from the face's middle."""

    rows: slice
    columns: slice
    aside: Map
    above: Map
    head: Head

    @staticmethod
    def around(head: Head) -> "_Crop":
        """Cut out what may be hair."""
        aside, above = head.frame()
        near = (np.abs(aside) < WIDEST * head.width) & (np.abs(above + head.face) < 4.5 * head.face)
        rows, columns = (
            slice(at.min(), at.max() + 1) if len(at) else slice(0) for at in np.nonzero(near)
        )
        whole = _Crop(rows, columns, aside / head.face, above / head.face, head)
        return replace(whole, aside=whole.of(whole.aside), above=whole.of(whole.above))

    def of(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cut an image of the head's grid."""
        return image[self.rows, self.columns]

    def fading(self) -> Map:
        """Say where strands may be: they end softly at the nape and aside."""
        start, end = NAPE
        width = self.head.width / self.head.face
        down = np.clip((self.above - end) / (start - end), 0.0, 1.0)
        out: Map = down * np.clip((WIDEST * width - np.abs(self.aside)) / (0.3 * width), 0.0, 1.0)
        return out

    def face(self, wide: float, tall: float) -> Pixels:
        """Say what lies in an ellipse about the face: shares of its width and of its face."""
        wide *= self.head.width / self.head.face
        inside: Pixels = np.hypot(self.aside / wide, (self.above - 0.1) / tall) < 1
        return inside


@dataclass(frozen=True)
class _Seen:
    """What the photo shows of the hair."""

    tint: NDArray[np.float64]
    """sRGB."""
    skin: NDArray[np.float64]
    """The face's."""
    strength: float
    """Standard deviation of the logarithm of its light."""

    def likely(self, colour: Picture) -> Map:
        """Say how far colours are this hair's, and not the face's."""
        hair, skin = unlike(colour, self.tint), unlike(colour, self.skin)
        share: Map = (1 - hair) * np.minimum(2 * skin, 1.0)
        return share

    @staticmethod
    def of(photo: Picture, inside: Pixels, crop: _Crop) -> "_Seen | None":
        """Look at what frames the face, is not of the face's colour, and is no outline."""
        face = crop.head.face
        cheeks = inside & crop.face(0.3, 0.4)
        framing = ndimage.binary_erosion(inside, iterations=2) & ~crop.face(0.55, 1.45)
        framing &= (crop.above > 0.5) & (crop.above < 4.0)  # noqa: PLR2004 (brow to above the crown)
        if not cheeks.any():
            return None
        skin = np.median(photo[cheeks], axis=0)
        framing &= unlike(photo, skin) > 0.5  # noqa: PLR2004
        if not framing.any():
            return None
        tint = np.median(photo[framing], axis=0)
        framing &= unlike(photo, tint) < 0.5  # noqa: PLR2004
        if framing.sum() < LEAST_SEEN * face**2:
            return None
        light = np.log(photo.mean(axis=-1) + 0.02)
        share = blurred(framing * 1.0, face / 8)
        fine = light - blurred(light * framing, face / 8) / np.maximum(share, 1e-6)
        low, high = COMBED
        combed = np.clip((_coherence(fine, framing, face / 8) - low) / (high - low), 0.0, 1.0)
        return _Seen(tint, skin, float(combed * min(fine[framing].std(), STRONGEST)))


def _coherence(fine: Map, where: Pixels, scale: float) -> float:
    """Say how much a pattern runs one way nearby: 0 for dots, 1 for lines."""
    where = ndimage.binary_erosion(where)  # slopes look one pixel farther
    dd, dr, rr = structure(fine[..., None], scale, where)
    apart, both = np.hypot(dd - rr, 2 * dr), dd + rr
    return float(apart[where].sum() / max(both[where].sum(), 1e-12))


def _falling(crop: _Crop) -> NDArray[np.float64]:
    """Give the way that hair falls, rows and columns: from the whorl outward, and down."""
    shape = crop.above.shape
    random = np.random.default_rng(0)  # the same hair in every run
    wave = ndimage.gaussian_filter(random.standard_normal(shape), crop.head.face / 2)
    turned = 0.3 * wave / max(float(wave.std()), 1e-9)
    aside, above = crop.aside / 1.6, (crop.above - WHORL) / 2
    aside, above = (
        np.cos(turned) * aside - np.sin(turned) * above,
        np.sin(turned) * aside + np.cos(turned) * above,
    )
    length = np.hypot(aside, above) + 1e-6
    x, y = crop.head.up
    flow: NDArray[np.float64] = np.stack([aside * x + above * y, above * x - aside * y]) / length
    return flow


def _smeared(flow: NDArray[np.float64], steps: int) -> Map:
    """Smear noise, fine and coarse, so many pixels along a flow each way; deviation 1."""
    random = np.random.default_rng(1)
    grains = [
        ndimage.gaussian_filter(random.standard_normal(flow.shape[1:]), scale)
        for scale in (0.7, FACE / 18)
    ]
    noise = grains[0] / grains[0].std() + grains[1] / grains[1].std()
    total = noise.copy()
    for sign in (1, -1):
        at = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float64)
        for _ in range(steps):
            at += sign * np.stack(
                [ndimage.map_coordinates(part, at, order=0, mode="nearest") for part in flow]
            )
            total += ndimage.map_coordinates(noise, at, order=1, mode="nearest")
    waves: Map = total - blurred(total, float(steps))  # strands, not larger shades
    waves /= waves.std()
    return waves
