"""Find where in the square a photo lies, from a silhouette that was recentred in another program.

Maps made elsewhere (METHOD section 1) come cut out and recentred, without the numbers of it.
Our own cut-out of the photo gives a first guess; the photo's edges along the given outline,
from blurred to sharp, give the rest.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from scipy import ndimage
from scipy.optimize import minimize

from geneman.preprocess.recentring import FILL, Frame

FILL_TOLERANCE, CENTRE_TOLERANCE = 0.02, 0.01
"""How far, as shares of the side, a recentred silhouette may be from 90 % and from the centre."""
LEAST_AGREEMENT = 0.6
"""Least intersection over union of our own cut-out and the given silhouette, once aligned."""
OWN_AGREEMENT = 0.995
"""Above it the given silhouette is our own cut-out, come back: outlines alone place it to a
quarter of a pixel, and edges could only lead astray. Other programs' cut-outs reach 0.99."""
COARSE_SIDE = 256
BLURS = (6.0, 3.0, 1.5)
"""Standard deviations, in pixels of a 1024 px square, of the blurs at which edges are compared."""
EDGE_POINTS, EDGE_STRIDE = 6000, 3
"""So many of the strongest edge pixels are looked at, of which each third is enough."""
MAP_EDGES = 0.5
"""Weight of the given maps' inner edges against the outline's."""

FARTHEST = 0.3
"""Log of how far the scale may move from where the boxes put it. Where nothing fits, a search
without bounds shrinks the photo away, and the window it then looks through fills the memory."""
_HALF = 0.5
_REFERENCE_SIDE = 1024


@dataclass(frozen=True)
class Registration:
    """A photo's place in the square and how well it fits there."""

    frame: Frame
    agreement: float
    """Intersection over union of the photo's own cut-out and the given silhouette."""


def is_recentred(inside: Bool[ndarray, "h w"]) -> bool:
    """Say whether a silhouette is square, centred, and 90 % of the side long."""
    if inside.shape[0] != inside.shape[1] or not inside.any():
        return False
    side = inside.shape[0]
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    spans = [(columns[0], columns[-1] + 1), (rows[0], rows[-1] + 1)]
    longest = max(high - low for low, high in spans) / side
    off_centre = max(abs((low + high) / 2 / side - _HALF) for low, high in spans)
    return bool(abs(longest - FILL) < FILL_TOLERANCE and off_centre < CENTRE_TOLERANCE)


def register(
    photo: Float32[ndarray, "H W 3"],
    own: Float32[ndarray, "H W"],
    given: Bool[ndarray, "s s"],
    normal: Float32[ndarray, "s s 3"] | None,
) -> Registration:
    """Find the frame that lays the photo under a recentred silhouette.

    Args:
        photo: sRGB in [0, 1].
        own: Our own cut-out of it.
        given: The silhouette, recentred; the frame's size is its side.
        normal: The normals given with it, whose inner edges also show in the photo.
    """
    guess = _by_overlap(own, given, _by_boxes(own > _HALF, given))
    agreement = _agreement(guess.cover(own) > _HALF, given)
    if agreement < LEAST_AGREEMENT or agreement > OWN_AGREEMENT:
        return Registration(guess, agreement)
    frame = guess
    for blur in BLURS:
        frame = _by_edges(photo, given, normal, frame, blur * frame.size / _REFERENCE_SIDE)
    return Registration(frame, _agreement(frame.cover(own) > _HALF, given))


def _agreement(a: Bool[ndarray, "s s"], b: Bool[ndarray, "s s"]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def _by_boxes(own: Bool[ndarray, "H W"], given: Bool[ndarray, "s s"]) -> Frame:
    """Lay the longest sides and the centres of the tight boxes over each other."""
    target, size = Frame.around(given, given.shape[0]), given.shape[0]
    source = Frame.around(own, size)
    scale = source.scale / target.scale
    return Frame(
        scale, (source.x - target.x) / target.scale, (source.y - target.y) / target.scale, size
    )


def _by_overlap(own: Float32[ndarray, "H W"], given: Bool[ndarray, "s s"], start: Frame) -> Frame:
    """Move and scale our cut-out until least area differs: parts that one lacks do not pull."""
    whole = Frame(1.0, 0.0, 0.0, start.size)
    target = whole.resized(COARSE_SIDE).cover(given.astype(np.float32))

    def differing(frame: Frame) -> float:
        return float(np.abs(frame.resized(COARSE_SIDE).cover(own) - target).mean())

    return _search(differing, start, own.shape, step=0.04 * start.size)


def _by_edges(
    photo: Float32[ndarray, "H W 3"],
    given: Bool[ndarray, "s s"],
    normal: Float32[ndarray, "s s 3"] | None,
    start: Frame,
    blur: float,
) -> Frame:
    """Move and scale the photo until its edges cross the outline and the maps' own edges."""
    slopes = _slopes(photo, blur / start.scale)
    edges = [_outline(given, blur), *([] if normal is None else [_creases(normal, given, blur)])]
    weights = (1.0, MAP_EDGES)

    def missing(frame: Frame) -> float:
        return -sum(
            weight * _strength(slopes, edge, frame)
            for weight, edge in zip(weights, edges, strict=False)
        )

    return _search(missing, start, photo.shape[:2], step=2 * blur)


@dataclass(frozen=True)
class _Edge:
    """Points in the square where the photo should change, and in which direction."""

    points: Float32[ndarray, "n 2"]
    across: Float32[ndarray, "n 2"]
    share: Float32[ndarray, "n"]


def _outline(given: Bool[ndarray, "s s"], blur: float) -> _Edge:
    soft = ndimage.gaussian_filter(given.astype(np.float32), max(blur, 1.0))
    # The photo's own border cuts the person straight off: no edge of the photo lies there.
    return _strongest(soft[..., None], np.ones(given.shape, bool))


def _creases(normal: Float32[ndarray, "s s 3"], given: Bool[ndarray, "s s"], blur: float) -> _Edge:
    soft = ndimage.gaussian_filter(normal, (blur, blur, 0))
    inner = ndimage.binary_erosion(given, iterations=max(3, round(3 * blur)))
    return _strongest(soft, inner)


def _strongest(field: Float32[ndarray, "s s c"], where: Bool[ndarray, "s s"]) -> _Edge:
    """Pick the pixels where a map changes most; direction from its structure tensor."""
    down, right = np.gradient(field, axis=(0, 1))
    xx, xy, yy = (right * right).sum(-1), (right * down).sum(-1), (down * down).sum(-1)
    power = np.where(where, np.sqrt(xx + yy), 0)
    count = min(EDGE_POINTS, int((power > 0).sum()))
    chosen = np.sort(np.argsort(power, axis=None, kind="stable")[-count:])[::EDGE_STRIDE]
    rows, columns = np.unravel_index(chosen, power.shape)
    angle = 0.5 * np.arctan2(2 * xy[rows, columns], (xx - yy)[rows, columns])
    points = np.stack([columns + _HALF, rows + _HALF], axis=-1).astype(np.float32)
    across = np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)
    share = power[rows, columns]
    return _Edge(points, across, (share / share.sum()).astype(np.float32))


def _slopes(photo: Float32[ndarray, "H W 3"], blur: float) -> Float32[ndarray, "2 H W 3"]:
    soft = ndimage.gaussian_filter(photo, (blur, blur, 0))
    down, right = np.gradient(soft, axis=(0, 1))
    # The same edges count the same in any photo: slopes are in units of its typical one.
    typical = np.abs(down).mean() + np.abs(right).mean() + 1e-6
    return np.stack([right, down]) / np.float32(typical)


def _strength(slopes: Float32[ndarray, "2 H W 3"], edge: _Edge, frame: Frame) -> float:
    """Say how strongly the photo changes across an edge."""
    places = (edge.points - (frame.x, frame.y)) / frame.scale - _HALF
    at = [places[:, 1], places[:, 0]]
    along = [
        edge.across[:, 0] * ndimage.map_coordinates(slopes[0, ..., c], at, order=1)
        + edge.across[:, 1] * ndimage.map_coordinates(slopes[1, ..., c], at, order=1)
        for c in range(3)
    ]
    change = np.linalg.norm(along, axis=0)
    # The root lets many weak edges outvote a few strong ones.
    return float((edge.share * np.sqrt(change)).sum())


def _search(
    cost: Callable[[Frame], float], start: Frame, shape: Sequence[int], step: float
) -> Frame:
    """Descend over scale and shift without slopes; a step is one of pixels in the square.

    Scale is about the photo's middle, so that it does not drag the photo along.
    """
    middle = np.array([shape[1], shape[0]]) / 2
    reach = float(max(shape)) / 2 * start.scale

    def frame(moves: Float64[ndarray, "3"]) -> Frame:
        scale = start.scale * math.exp(np.clip(moves[0] / reach, -FARTHEST, FARTHEST))
        x, y = np.array([start.x, start.y]) + moves[1:] - (scale - start.scale) * middle
        return Frame(scale, float(x), float(y), start.size)

    simplex = step * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)
    simplex -= simplex.mean(axis=0)
    found = minimize(
        lambda moves: cost(frame(moves)),
        np.zeros(3),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-9, "maxiter": 200},
    )
    return frame(found.x)
