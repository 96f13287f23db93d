"""Find the main person in a photo and cut them out, with what they wear and hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from PIL import Image
from scipy import ndimage
from scipy.special import expit, logit

from geneman.errors import PhotoError
from geneman.preprocess.backdrop import Backdrop, fit_backdrop
from geneman.preprocess.matting import alpha_matte, disc
from geneman.preprocess.person import BoxEdges, PersonModels, Pose

DETECTION, PRESENCE = 0.5, 0.5
"""Least scores of the detector and of the landmark model (MediaPipe's own defaults)."""
LEAST_SHARE = 0.002
"""Least share of the photo that a person covers."""
MOST_PEOPLE = 6
WORKING_SIDE = 768
"""Longest side of the crop in which the matte is solved, in pixels."""
SURE, UNSURE = 0.9, 0.1
"""Where the networks' joint chance is beyond these, they are believed."""
VERDICT = 1.5
"""Three opinions that agree are surer than each: their mean log-odds are raised so much."""
CERTAIN = 0.02
"""Beyond this chance (and its opposite) all three agree."""
BAND, NARROW_BAND = 3 / 256, 1.2 / 256
"""Half the width of the band that is solved, as shares of the crop: so many network pixels.
The narrow one is for where all three agree, else gaps between arm and body would close."""
REACH = 0.5
"""How far from the networks' silhouette a thing may stick out, as a share of the person."""

_SMALL_SIDE = 384
_PAD = 0.12
_LIKELY, _POSSIBLE = 0.3, 0.02
_HALF = 0.5


@dataclass(frozen=True)
class CutOut:
    """One person of a photo."""

    alpha: Float32[ndarray, "h w"]
    """The person's cover of each pixel of the photo."""
    pose: Pose


def find_people(photo: UInt8[ndarray, "h w 3"], models: PersonModels) -> list[Pose]:
    """Find all people, the main one first: large, central and surely there."""
    poses = [
        models.pose(photo, found.region)
        for found in models.detect(photo, threshold=DETECTION)[:MOST_PEOPLE]
    ]
    there = [
        pose
        for pose in poses
        if pose.presence > PRESENCE and (pose.cover > _HALF).mean() > LEAST_SHARE
    ]
    return sorted(there, key=_prominence, reverse=True)


def cut_out(photo: UInt8[ndarray, "h w 3"], models: PersonModels) -> CutOut:
    """Cut the main person out of a photo.

    Raises:
        PhotoError: nobody is found.
    """
    people = find_people(photo, models)
    if not people:
        raise nobody_found()
    cover = _joint_cover(photo, models, people)
    small = _Crop.of(photo, (0, 0, photo.shape[1], photo.shape[0]), _SMALL_SIDE)
    rough = small.view(cover)
    backdrop = fit_backdrop(small.colour, small.places, rough < UNSURE)
    wanted = rough > _HALF
    if backdrop is not None:
        wanted |= _attached(small, rough, backdrop)
    crop = _Crop.of(photo, _padded(small.box_of(wanted), photo), WORKING_SIDE)
    alpha = _matte(crop, crop.view(cover), backdrop)
    return CutOut(crop.laid_back(alpha, photo), people[0])


def nobody_found() -> PhotoError:
    """Say that the photo shows nobody."""
    return PhotoError(
        "A photo must show a person",
        value="one in which nobody is found",
        remedy="choose another photo, crop it closer to the person, or give --mask",
    )


def only_main_person(
    alpha: Float32[ndarray, "h w"], people: Sequence[Pose]
) -> Float32[ndarray, "h w"]:
    """Keep of a matte of everybody what hangs together with the main person."""
    main, others = people[0].cover, people[1:]
    for other in others:
        alpha = np.where(other.cover > np.maximum(main, _HALF), 0, alpha).astype(np.float32)
    return in_one_piece(alpha, main > _HALF)


@dataclass(frozen=True)
class _Crop:
    """A part of the photo at a working resolution."""

    edges: tuple[int, int, int, int]
    colour: Float32[ndarray, "h w 3"]
    places: Float32[ndarray, "h w 2"]
    """Where its pixels are, in [0, 1] of the photo."""

    @classmethod
    def of(cls, photo: UInt8[ndarray, "H W 3"], box: BoxEdges, side: int) -> "_Crop":
        left, top, right, bottom = (round(edge) for edge in box)
        part = Image.fromarray(photo[top:bottom, left:right])
        scale = min(1.0, side / max(part.size))
        width, height = (max(1, round(length * scale)) for length in part.size)
        colour = np.asarray(part.resize((width, height), Image.Resampling.BOX), np.float32) / 255
        x = (left + (np.arange(width) + 0.5) * (right - left) / width) / photo.shape[1]
        y = (top + (np.arange(height) + 0.5) * (bottom - top) / height) / photo.shape[0]
        places = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)
        return cls((left, top, right, bottom), colour, places)

    @property
    def size(self) -> tuple[int, int]:
        return self.colour.shape[1], self.colour.shape[0]

    def view(self, values: Float32[ndarray, "H W"]) -> Float32[ndarray, "h w"]:
        left, top, right, bottom = self.edges
        part = Image.fromarray(values[top:bottom, left:right])
        return np.asarray(part.resize(self.size, Image.Resampling.BILINEAR))

    def box_of(self, inside: Bool[ndarray, "h w"]) -> BoxEdges:
        """Give the tight box of a mask, in pixels of the photo."""
        left, top, right, bottom = self.edges
        x, y = (right - left) / self.size[0], (bottom - top) / self.size[1]
        near_x, near_y, far_x, far_y = _box_of(inside)
        return left + near_x * x, top + near_y * y, left + far_x * x, top + far_y * y

    def laid_back(
        self, values: Float32[ndarray, "h w"], photo: UInt8[ndarray, "H W 3"]
    ) -> Float32[ndarray, "H W"]:
        left, top, right, bottom = self.edges
        whole = np.zeros(photo.shape[:2], np.float32)
        size = (right - left, bottom - top)
        laid = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)
        whole[top:bottom, left:right] = np.asarray(laid).clip(0, 1)
        return whole


def _prominence(pose: Pose) -> float:
    """Area, less for people off the middle."""
    height, width = pose.cover.shape
    rows, columns = np.nonzero(pose.cover > _HALF)
    off = np.hypot(columns.mean() / width - _HALF, rows.mean() / height - _HALF)
    return float(len(rows) * (1 - off))


def _joint_cover(
    photo: UInt8[ndarray, "h w 3"], models: PersonModels, people: Sequence[Pose]
) -> Float32[ndarray, "h w"]:
    """Let the three silhouettes vote: the pose's, and the segmenter's of the whole and of a crop.

    The pose model knows which person, the segmenter keeps what people wear and hold. Each has
    256 pixels for what it sees, so the closer it looks at the person the more its vote counts.
    """
    main = people[0].cover
    height, width = main.shape
    far = models.segment(photo, (0, 0, width, height))
    box = _padded(_box_of((main > _LIKELY) | ((far > _HALF) & (main > _POSSIBLE))), photo)
    near = models.segment(photo, box)
    span = max(box[2] - box[0], box[3] - box[1])
    weights = np.array([min(1.0, span / people[0].region.side), 0.5 * span / max(width, height), 1])
    votes = [logit(chance.clip(0.01, 0.99)) for chance in (main, far, near)]
    mean = sum(share * vote for share, vote in zip(weights / weights.sum(), votes, strict=True))
    joint = expit(VERDICT * mean)
    for other in people[1:]:
        joint = np.where(other.cover > np.maximum(main, _HALF), 0, joint)
    return np.asarray(joint, np.float32)


def _box_of(inside: Bool[ndarray, "h w"]) -> BoxEdges:
    """Give the tight box of a mask, in its own pixels."""
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _padded(box: BoxEdges, photo: UInt8[ndarray, "h w 3"]) -> BoxEdges:
    left, top, right, bottom = box
    pad = _PAD * max(right - left, bottom - top)
    height, width = photo.shape[:2]
    return max(0, left - pad), max(0, top - pad), min(width, right + pad), min(height, bottom + pad)


def _attached(
    crop: _Crop, cover: Float32[ndarray, "h w"], backdrop: Backdrop
) -> Bool[ndarray, "h w"]:
    """Find what differs from a plain background and hangs together with the person."""
    _, solid = backdrop.difference(crop.colour, crop.places)
    person = cover > _HALF
    rows, columns = np.nonzero(person)
    reach = REACH * max(np.ptp(rows), np.ptp(columns))
    near = ndimage.distance_transform_edt(~person) < float(reach)
    differs = (solid > max(0.12, 8 * backdrop.noise)) & near
    bridged = ndimage.binary_dilation(differs, disc(1)) | person  # wires break at this size
    attached: Bool[ndarray, "h w"] = _connected(bridged, person) & differs
    return attached


def _matte(
    crop: _Crop, cover: Float32[ndarray, "h w"], backdrop: Backdrop | None
) -> Float32[ndarray, "h w"]:
    # The photo's edge is no outline: beyond it the person goes on.
    inner = _deep_in(cover > SURE, BAND) | _deep_in(cover > 1 - CERTAIN, NARROW_BAND)
    outer = _deep_in(cover < UNSURE, BAND) | _deep_in(cover < CERTAIN, NARROW_BAND)
    if backdrop is not None:
        whole, solid = backdrop.difference(crop.colour, crop.places)
        things = _attached(crop, cover, backdrop)
        outer &= ~ndimage.binary_dilation(things, disc(2))
        inner |= things & (solid > max(0.3, 12 * backdrop.noise))
        same = (whole < min(3 * backdrop.noise, 0.04)) & ~inner
        outer |= ndimage.binary_opening(same, disc(2)) & (cover < SURE)
        cover = np.where(things, np.maximum(cover, SURE), cover)
    alpha = alpha_matte(crop.colour, inner, outer, cover)
    return in_one_piece(alpha, cover > _HALF)


def _deep_in(area: Bool[ndarray, "h w"], band: float) -> Bool[ndarray, "h w"]:
    """Erode by a share of the longest side; the photo's edge does not count as an edge."""
    radius = max(1, round(max(area.shape) * band))
    return np.asarray(ndimage.binary_erosion(area, disc(radius), border_value=1))


def in_one_piece(
    alpha: Float32[ndarray, "h w"], person: Bool[ndarray, "h w"]
) -> Float32[ndarray, "h w"]:
    """Drop what is not connected to the person, fill the holes that are person for sure.

    Args:
        alpha: A matte.
        person: What is the person for all that is known.
    """
    alpha = ((alpha - 0.04) / 0.92).clip(0, 1)
    kept = _connected(alpha > _HALF, person)
    filled = ndimage.binary_fill_holes(kept) & person
    fringe = ndimage.binary_dilation(kept, disc(4))  # hair: covered by less than half
    return np.where(filled & ~kept, 1, np.where(fringe, alpha, 0)).astype(np.float32)


def _connected(
    candidates: Bool[ndarray, "h w"], seed: Bool[ndarray, "h w"]
) -> Bool[ndarray, "h w"]:
    """Keep the component that shares most with the seed."""
    labels, count = ndimage.label(candidates)
    if count == 0:
        return candidates
    shared = np.bincount(labels[seed & candidates], minlength=count + 1)
    shared[0] = 0
    kept: Bool[ndarray, "h w"] = labels == shared.argmax()
    return kept
