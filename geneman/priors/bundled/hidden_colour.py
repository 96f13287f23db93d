"""Colours for the side that the photo does not show, taken from the photo itself.

The back of clothes is most like their front, less what only fronts carry (prints, faces, hands,
zips); the back of a head is hair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology
from skimage.color import rgb2lab
from skimage.filters import rank

from geneman.priors.bundled.membranes import Map, Pixels, blurred, membrane, resized
from geneman.priors.bundled.proportions import LEFT_EAR, LEFT_EYE, RIGHT_EAR, RIGHT_EYE

Picture = NDArray[np.float64]

WORKING = 256
"""Side of the grid on which materials are told apart."""

MOUTH = (9, 10)

UNLIKE = 22.0
"""CIELAB distance, lightness at 0.6, beyond which two colours are different materials."""


def paint_hidden_side(
    colour: NDArray[np.float32], cover: Map, landmarks: NDArray[np.float32]
) -> Picture:
    """Guess the hidden side's colours at the photo's own pixels.

    Args:
        colour: H W 3, sRGB in [0, 1], clean foreground colours.
        cover: H W in [0, 1].
        landmarks: 33 x 4, x and y in [-1, 1], y up.
    """
    size = cover.shape[0]
    small = resized(colour.astype(np.float64), WORKING)
    inside = resized(cover, WORKING) > 0.6  # noqa: PLR2004 (clear of the outline)
    material = _material(small, inside)
    # Where the front is just its material, its folds and weave serve the back as well.
    unlike = ndimage.maximum_filter(np.linalg.norm(small - material, axis=-1), 3)
    unlike = blurred(unlike, 1.0)
    plain = np.exp(-((unlike / 0.2) ** 4))
    head = _Head.of(landmarks)
    if head is not None:
        hair = _hair_over_face(small, inside, head)
        material += hair.share[..., None] * (hair.tint - material)
        plain *= 1 - hair.share
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    back = resized(material[tuple(nearest)], size)
    weight = resized(plain[tuple(nearest)], size)[..., None]
    return np.clip(back + weight * (colour - back), 0.0, 1.0)


def _material(colour: Picture, inside: Pixels) -> Picture:
    """Take the median colour of a wide neighbourhood within the mask: what prevails there."""
    bytes_ = np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    disc = morphology.disk(WORKING // 20)
    channels = [rank.median(bytes_[..., c], disc, mask=inside.astype(np.uint8)) for c in range(3)]
    return np.stack(channels, axis=-1) / 255.0


@dataclass(frozen=True)
class _Head:
    """Where the face is: lengths and places in pixels of the working grid."""

    centre: NDArray[np.float64]
    """Between eyes and mouth."""
    up: NDArray[np.float64]
    """From the mouth to the eyes, unit length, y down."""
    face: float
    """From the mouth to the eyes."""
    width: float
    """Of the face, ear to ear."""

    @staticmethod
    def of(landmarks: NDArray[np.float32]) -> "_Head | None":
        """Read the face off the landmarks; nobody's landmarks are all zero."""
        if not landmarks.any():
            return None
        x, y = landmarks[:, 0].astype(np.float64), landmarks[:, 1].astype(np.float64)
        points = np.stack([x + 1, 1 - y], axis=-1) * WORKING / 2
        eyes, mouth = points[[LEFT_EYE, RIGHT_EYE]].mean(0), points[list(MOUTH)].mean(0)
        length = max(float(np.linalg.norm(mouth - eyes)), 1.0)
        ears = float(np.linalg.norm(points[LEFT_EAR] - points[RIGHT_EAR]))
        return _Head((eyes + mouth) / 2, (eyes - mouth) / length, length, max(ears, 1.6 * length))

    def frame(self) -> tuple[Map, Map]:
        """Give each pixel's place in the head's own axes: aside and above the centre."""
        y, x = np.mgrid[:WORKING, :WORKING] + 0.5
        x, y = x - self.centre[0], y - self.centre[1]
        return x * -self.up[1] + y * self.up[0], x * self.up[0] + y * self.up[1]


@dataclass(frozen=True)
class _Hair:
    """What covers the back of the head, and how much of each pixel it takes."""

    share: Map
    tint: Picture


def _hair_over_face(colour: Picture, inside: Pixels, head: _Head) -> _Hair:
    """Draw the hair around the face over it, down to where hair ends at its sides.

    Hair is what looks more like the crown than like the cheeks; under a hat, more like what
    frames the face. Where there is none, the head is bald and the cheeks' colour goes around.
    """
    aside, above = head.frame()
    near = inside & (np.abs(aside) < 1.1 * head.width) & (np.abs(above) < 3.0 * head.face)
    inner = np.hypot(aside / (0.45 * head.width), (above - 0.1 * head.face) / (1.3 * head.face)) < 1
    cheeks = near & (np.hypot(aside / (0.3 * head.width), above / (0.4 * head.face)) < 1)
    crown = near & (above > 1.6 * head.face) & (np.abs(aside) < 0.6 * head.width)
    if not cheeks.any() or not crown.any():
        return _Hair(np.zeros_like(aside), colour)
    lab = rgb2lab(np.clip(colour, 0, 1)) * (0.6, 1.0, 1.0)
    skin, hair = np.median(lab[cheeks], axis=0), np.median(lab[crown], axis=0)
    to_skin = np.linalg.norm(lab - skin, axis=-1)
    beside = (above > -0.2 * head.face) & (above < head.face) & (np.abs(aside) < 0.8 * head.width)
    sides = near & ~inner & beside & (to_skin > UNLIKE)
    top = 1.9 * head.face
    if sides.sum() > 0.01 * near.sum():
        framing = np.median(lab[sides], axis=0)
        if np.linalg.norm(framing - hair) > UNLIKE:
            hair, top = framing, 1.1 * head.face
    to_hair = np.linalg.norm(lab - hair, axis=-1)
    hairy = near & ~inner & (to_hair < to_skin) & (above > -2.5 * head.face) & (above < top)
    hairy = _touching(hairy, above > -0.2 * head.face)
    known = ndimage.binary_erosion(hairy, iterations=2)
    # Lower down, ears and shaded cheeks pass for hair: without a hat the brow's side is enough.
    crest = known & (above > 0.8 * head.face)
    if top > 1.5 * head.face and crest.sum() > 0.01 * near.sum():
        known = crest
    if known.sum() < 0.01 * near.sum():
        bald = np.broadcast_to(np.median(colour[cheeks], axis=0), colour.shape)
        return _Hair(_soft(near & inner), bald)
    covered = near & ~known & _between_hair(hairy, aside, above, head) & (above < top)
    tint = [membrane(near, colour[..., c], known * 1.0, stiffness=4.0) for c in range(3)]
    return _Hair(_soft(covered), np.stack(tint, axis=-1))


def _touching(region: Pixels, seed: Pixels) -> Pixels:
    """Keep the connected parts of a region that reach into the seed."""
    labels, _ = ndimage.label(region)
    kept: Pixels = np.isin(labels, np.unique(labels[region & seed])) & region
    return kept


def _between_hair(known: Pixels, aside: Map, above: Map, head: _Head) -> Pixels:
    """Say which pixels the hair hides from behind: the face, the nape, and what locks frame."""
    nape = (
        (above > -0.9 * head.face) & (above < 1.9 * head.face) & (np.abs(aside) < 0.75 * head.width)
    )
    left = np.maximum.accumulate(known, axis=1)
    right = np.maximum.accumulate(known[:, ::-1], axis=1)[:, ::-1]
    framed = left & right & (np.abs(aside) < head.width) & (above < 0)
    return nape | framed


def _soft(region: Pixels) -> Map:
    return np.clip(blurred(region * 1.0, 2.0) * 1.6 - 0.3, 0.0, 1.0)
