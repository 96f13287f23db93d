"""Colours for the side that the photo does not show, taken from the photo itself.

The back of clothes is most like their front, less what only fronts carry (prints, faces, hands,
zips); the back of a head is hair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology
from skimage.filters import rank

from geneman.colour import UNLIKE, lab
from geneman.landmarks import HIPS, SHOULDERS
from geneman.priors.bundled.borders import Picture
from geneman.priors.bundled.head import HEAD_WORKING, Head
from geneman.priors.bundled.membranes import Map, Pixels, blurred, membrane, resized

WORKING = 256
"""Side of the grid on which materials are told apart."""

NARROWEST = 0.35
"""Width over height of a torso below which it is turned away."""

FLANK = 0.12
"""Shares of the torso's width: how far its flanks reach from the line of shoulder and hip."""

LEAST_FLANK = 20
"""Pixels of the working grid that a flank must have to say what is worn."""

LEAST_FACE = 10.0
"""Pixels of its grid from mouth to eyes below which a head has hardly any hair to read."""

COLLAR = -0.12
"""Where the back of a collar ends, in torso heights below the shoulders."""


PRINT = morphology.disk(4)
"""On the working grid: plain places that do not hold it are parts of a print."""

RIM = 2.0
"""Pixels of the working grid next to the outline that give no weave; as many more give some."""

SAME = 0.15
"""Distance of sRGB colours within which the hidden side is what the photo shows in front of it."""

DOUBT, DECIDED = 0.45, 0.04
"""Share of the attention on one colour at which the network is half believed, and how sharply."""

EDGE = 1.5
"""Pixels of the working grid over which blocks blend."""


@dataclass(frozen=True)
class Front:
    """What the photo shows, worked out once for all that read it; maps on the working grid."""

    photo: NDArray[np.float32]
    """H W 3, sRGB in [0, 1], clean foreground colours."""
    colour: Picture
    inside: Pixels
    material: Picture
    """The colour that prevails about each pixel."""
    nearest: tuple[NDArray[np.int32], NDArray[np.int32]]
    """Row and column of the next pixel inside."""

    @staticmethod
    def of(photo: NDArray[np.float32], cover: Map) -> "Front":
        """Look at a photo and its cover, H W in [0, 1]."""
        colour = resized(photo.astype(np.float64), WORKING)
        small = resized(cover, WORKING)
        inside = small > 0.6 * min(float(small.max()), 1.0)  # clear of the outline
        rows, columns = ndimage.distance_transform_edt(
            ~inside, return_distances=False, return_indices=True
        )
        return Front(photo, colour, inside, _material(colour, inside), (rows, columns))

    def plain(self) -> Map:
        """Say where it is just its material, so that its folds and weave serve the back too."""
        apart = np.where(self.inside, np.linalg.norm(self.colour - self.material, axis=-1), 0.0)
        apart = ndimage.maximum_filter(apart, 3)
        alike = np.exp(-((blurred(apart, 1.0) / 0.2) ** 4))
        # What is plain between the lines of a print belongs to the print.
        wide = ndimage.grey_opening(np.where(self.inside, alike, 1.0), footprint=PRINT)
        return np.asarray(np.minimum(alike, wide))

    def closed(self, torso: "_Torso") -> tuple[Picture, Map]:
        """Give the material with what opens only in front closed, and where that was."""
        cover = _closed_garment(self.material, self.inside, torso)
        return self.material + cover.share[..., None] * (cover.tint - self.material), cover.share

    def enlarged(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Carry a map outward from inside, and bring it to the photo's pixels."""
        return resized(image[self.nearest], len(self.photo))


def settle(borrowed: Picture, agreed: Map, front: Front, landmarks: NDArray[np.float32]) -> Picture:
    """Let a body wear behind what it wears in front, where the network cannot decide.

    Heads are left to the network, which knows hair: of them the front says nothing.

    Args:
        borrowed: H W 3, sRGB, what the network has looked up.
        agreed: H W in [0, 1], how much of its attention agrees on that.
        front: The photo.
        landmarks: 33 x 4, x and y in [-1, 1], y up.
    """
    behind = resized(borrowed, WORKING)
    torso = _Torso.of(landmarks)
    if torso is not None:
        worn, _ = front.closed(torso)
        below = np.clip(torso.frame()[1] / 0.1, 0.0, 1.0)  # from the shoulders' line down
        doubt = below / (1 + np.exp((resized(agreed, WORKING) - DOUBT) / DECIDED))
        behind += doubt[..., None] * (worn - behind)
    around = behind[front.nearest]
    soft = np.stack([blurred(around[..., c], EDGE) for c in range(3)], axis=-1)
    return resized(soft, len(borrowed))


def weave(borrowed: Picture, front: Front, landmarks: NDArray[np.float32]) -> Picture:
    """Give the hidden side's colours the folds and the weave of the same material in front.

    A face gives none: its skin may be that of a bald head, but not its eyes.

    Args:
        borrowed: H W 3, sRGB, what the network has looked up; smooth.
        front: The photo.
        landmarks: 33 x 4, x and y in [-1, 1], y up.
    """
    apart = np.linalg.norm(resized(borrowed, WORKING) - front.material, axis=-1)
    # Along the outline the cut-out's mixed pixels would draw a line around the back.
    clear = np.clip(ndimage.distance_transform_edt(front.inside) / RIM - 1, 0.0, 1.0)
    head = Head.of(landmarks)
    if head is not None:
        aside, above = head.frame()
        away = np.hypot(aside / (0.9 * head.width), above / (2.4 * head.face))
        clear *= resized(np.clip((away - 0.8) / 0.3, 0.0, 1.0), WORKING)
    weight = front.enlarged(front.plain() * np.exp(-((apart / SAME) ** 4)) * clear)
    detail = front.photo - front.enlarged(front.material)
    return np.clip(borrowed + weight[..., None] * detail, 0.0, 1.0)


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
    front = Front.of(colour, cover)
    material, plain = front.material, front.plain()
    torso = _Torso.of(landmarks)
    if torso is not None:
        material, closed = front.closed(torso)
        plain *= 1 - closed
    back = front.enlarged(material)
    back += front.enlarged(plain)[..., None] * (colour - back)
    head = Head.of(landmarks)
    if head is not None:
        fine = resized(colour.astype(np.float64), HEAD_WORKING)
        hair = _hair_over_face(fine, resized(cover, HEAD_WORKING) > 0.6, head)  # noqa: PLR2004
        back += resized(hair.share, size)[..., None] * (resized(hair.tint, size) - back)
    return np.clip(back, 0.0, 1.0)


def _material(colour: Picture, inside: Pixels) -> Picture:
    """Take the median colour of a wide neighbourhood within the mask: what prevails there."""
    bytes_ = np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    disc = morphology.disk(WORKING // 20)
    channels = [rank.median(bytes_[..., c], disc, mask=inside.astype(np.uint8)) for c in range(3)]
    return np.stack(channels, axis=-1) / 255.0


@dataclass(frozen=True)
class _Cover:
    """What covers a part of the back, and how much of each pixel it takes."""

    share: Map
    tint: Picture


@dataclass(frozen=True)
class _Torso:
    """Where shoulders and hips are, in pixels of the working grid, y down."""

    shoulders: NDArray[np.float64]
    """Two points, the image's left one first."""
    hips: NDArray[np.float64]

    @staticmethod
    def of(landmarks: NDArray[np.float32]) -> "_Torso | None":
        """Read the torso off the landmarks; None where it is turned away or not upright."""
        points = (landmarks[:, :2].astype(np.float64) * (1, -1) + 1) * WORKING / 2
        shoulders, hips = points[list(SHOULDERS)], points[list(HIPS)]
        height = hips[:, 1].mean() - shoulders[:, 1].mean()
        width = float(np.ptp(shoulders[:, 0]))
        if not landmarks.any() or height < 0 or width < NARROWEST * height:
            return None
        return _Torso(shoulders[shoulders[:, 0].argsort()], hips[hips[:, 0].argsort()])

    def frame(self) -> tuple[Map, Map]:
        """Give each pixel's place: across in [0, 1] from side to side, down from the shoulders."""
        y, x = np.mgrid[:WORKING, :WORKING] + 0.5
        top, bottom = self.shoulders[:, 1].mean(), self.hips[:, 1].mean()
        down = (y - top) / max(bottom - top, 1.0)
        along = np.clip(down, 0.0, 1.0)
        left, right = (
            self.shoulders[i, 0] + along * (self.hips[i, 0] - self.shoulders[i, 0]) for i in (0, 1)
        )
        return (x - left) / np.maximum(right - left, 1.0), down


def _closed_garment(material: Picture, inside: Pixels, torso: _Torso) -> _Cover:
    """Close what opens only in front: necklines, open jackets, hands before the chest.

    A garment's back is what both flanks of the torso wear, where they wear the same.
    """
    across, down = torso.frame()
    chest = inside & (down > 0.05) & (down < 1.0)  # noqa: PLR2004 (below the collar, to the hips)
    flanks = [chest & (np.abs(across - side) < FLANK) for side in (0.0, 1.0)]
    if min(flank.sum() for flank in flanks) < LEAST_FLANK:
        return _Cover(np.zeros_like(down), material)
    shade = lab(material)
    worn = [np.median(shade[flank], axis=0) for flank in flanks]
    if np.linalg.norm(worn[0] - worn[1]) > UNLIKE:
        return _Cover(np.zeros_like(down), material)
    unlike = np.linalg.norm(shade - (worn[0] + worn[1]) / 2, axis=-1)
    known = chest & (unlike < UNLIKE)
    between = (across > -FLANK) & (across < 1 + FLANK)
    # Above the shoulders' line the collar rises to the nape.
    opened = inside & between & (down > COLLAR) & (down < 1.0) & (unlike > 0.7 * UNLIKE)
    opened = ndimage.binary_dilation(opened, iterations=3) & inside
    tint = [membrane(inside, material[..., c], known * 1.0, stiffness=4.0) for c in range(3)]
    return _Cover(_soft(opened), np.stack(tint, axis=-1))


def _hair_over_face(colour: Picture, inside: Pixels, head: Head) -> _Cover:
    """Draw the hair around the face over it, down to where hair ends at its sides.

    Hair is what looks more like the crown than like the cheeks; under a hat, more like what
    frames the face. Where there is none, the head is bald and the cheeks' colour goes around.
    """
    aside, above = head.frame()
    near = inside & (np.abs(aside) < 1.1 * head.width) & (np.abs(above) < 3.0 * head.face)
    inner = np.hypot(aside / (0.45 * head.width), (above - 0.1 * head.face) / (1.3 * head.face)) < 1
    cheeks = near & (np.hypot(aside / (0.3 * head.width), above / (0.4 * head.face)) < 1)
    # What the head's outline shows goes on behind it; its outermost pixels are mixed.
    to_edge = ndimage.distance_transform_edt(inside)
    rim = near & (above > 0.6 * head.face) & (to_edge > 1.5) & (to_edge < 0.35 * head.face)  # noqa: PLR2004
    top = near & (above > 1.6 * head.face) & (np.abs(aside) < 0.6 * head.width)
    # Of a small head all of the rim is mixed: then only the top counts.
    crowns = [top, rim] if head.face > LEAST_FACE else [top]
    crowns = [crown for crown in crowns if crown.any()]
    if not cheeks.any() or not crowns:
        return _Cover(np.zeros_like(aside), colour)
    shade = lab(colour)
    skin = np.median(shade[cheeks], axis=0)
    hair = max(
        (np.median(shade[crown], axis=0) for crown in crowns),
        key=lambda tint: float(np.linalg.norm(tint - skin)),
    )
    to_skin = np.linalg.norm(shade - skin, axis=-1)
    beside = (above > -0.2 * head.face) & (above < head.face) & (np.abs(aside) < 0.8 * head.width)
    sides = near & ~inner & beside & (to_skin > UNLIKE)
    end = 1.9 * head.face
    if sides.sum() > 0.01 * near.sum():
        framing = np.median(shade[sides], axis=0)
        if np.linalg.norm(framing - hair) > UNLIKE:
            hair, end = framing, 1.1 * head.face
    to_hair = np.linalg.norm(shade - hair, axis=-1)
    hairy = near & ~inner & (to_hair < to_skin) & (above > -2.5 * head.face) & (above < end)
    hairy = touching(hairy, above > -0.2 * head.face)
    known = ndimage.binary_erosion(hairy, iterations=2 if head.face > LEAST_FACE else 1)
    # Lower down, ears and shaded cheeks pass for hair: without a hat the brow's side is enough.
    crest = known & (above > 0.8 * head.face)
    if end > 1.5 * head.face and crest.sum() > 0.01 * near.sum():
        known = crest
    if known.sum() < 0.01 * near.sum():
        bald = np.broadcast_to(np.median(colour[cheeks], axis=0), colour.shape)
        return _Cover(_soft(near & inner), bald)
    covered = near & ~known & _between_hair(hairy, aside, above, head) & (above < end)
    # Next to the face hair lies in shade: farther in it has the colour of all of it.
    alike = known & (to_hair <= np.median(to_hair[known]))
    usual = np.median(colour[alike], axis=0)
    pull = np.where(known, 1.0, 0.02)
    tint = [
        membrane(near, np.where(known, colour[..., c], usual[c]), pull, stiffness=4.0)
        for c in range(3)
    ]
    return _Cover(_soft(covered), np.stack(tint, axis=-1))


def touching(region: Pixels, seed: Pixels) -> Pixels:
    """Keep the connected parts of a region that reach into the seed."""
    labels, _ = ndimage.label(region)
    kept: Pixels = np.isin(labels, np.unique(labels[region & seed])) & region
    return kept


def _between_hair(known: Pixels, aside: Map, above: Map, head: Head) -> Pixels:
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
