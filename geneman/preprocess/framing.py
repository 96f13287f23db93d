"""The 33 body points in the square's frame, and how much of the person they say is shown."""

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from geneman.landmarks import ANKLES, ELBOWS, HIPS, KNEES, WRISTS
from geneman.preprocess.face import Face, with_eyeballs
from geneman.preprocess.person import Pose
from geneman.preprocess.recentring import Frame
from geneman.view import Framing

POINTS = 33
VISIBLE = 0.5
"""Least visibility of a point that counts as seen."""
SHOWN = 0.95
"""Points farther out than this (of 1) lie beyond the person's 90 %: the photo ends before them."""


def landmarks_in(frame: Frame, pose: Pose) -> Float32[ndarray, "33 4"]:
    """Bring body points into METHOD's form: x, y in [-1, 1] with y up, depth, visibility.

    Depth is MediaPipe's own, smaller = nearer, the hips at 0. It tells sides of the square, but on
    rendered people its numbers fit half sides, as which they are read.
    """
    places = frame.points(pose.points[:, :2])
    depth = pose.points[:, 2:3] * np.float32(frame.scale / frame.size)
    return np.concatenate([places, depth, pose.points[:, 3:]], axis=1).astype(np.float32)


def face_in(frame: Frame, face: Face) -> Float32[ndarray, "470 3"]:
    """Bring a face, with its eyeballs, into the square.

    Returns:
        x, y in [-1, 1] with y up, and depth in the same unit.
    """
    points = with_eyeballs(face.points)
    places = frame.points(points[:, :2])
    depth = points[:, 2:] * np.float32(2 * frame.scale / frame.size)
    return np.concatenate([places, depth], axis=1).astype(np.float32)


def given_landmarks(
    points: Float32[ndarray, "33 4"],
    mask: Float32[ndarray, "h w"],
    frame: Frame,
    photo_size: tuple[int, int],
) -> Float32[ndarray, "33 4"]:
    """Take body points in the square's frame or in the photo's, whichever puts them on the person.

    Args:
        points: x, y in [-1, 1] (y up), depth, visibility.
        mask: The person in the square.
        frame: Where the photo lies in the square.
        photo_size: Its width and height in the frame's pixels.
    """
    size = np.array(photo_size, np.float32)
    places = (points[:, :2] * (1, -1) + 1) / 2 * size
    moved = points.copy()
    moved[:, :2] = frame.points(places.astype(np.float32))
    moved[:, 2] *= size[0] * frame.scale / frame.size
    return moved if _on_person(moved, mask) > _on_person(points, mask) else points


def _on_person(points: Float32[ndarray, "33 4"], mask: Float32[ndarray, "h w"]) -> int:
    """Count the visible points that lie on the person."""
    seen = points[(points[:, 3] > VISIBLE) & (np.abs(points[:, :2]) < 1).all(1)]
    columns = ((seen[:, 0] + 1) / 2 * mask.shape[1]).astype(int)
    rows = ((1 - seen[:, 1]) / 2 * mask.shape[0]).astype(int)
    return int((mask[rows, columns] > 0.5).sum())  # noqa: PLR2004 (half a pixel)


def framing_of(landmarks: Float32[ndarray, "33 4"], mask: Float32[ndarray, "h w"]) -> Framing:
    """Say how much of the person the photo shows, by the points seen inside the frame.

    Without any points (all zero) the mask must do: a tall, slim one is a whole body.
    """
    if not landmarks.any():
        return _framing_of_outline(mask > 0.5)  # noqa: PLR2004 (half a pixel)
    seen = (np.abs(landmarks[:, :2]) < SHOWN).all(1) & (landmarks[:, 3] > VISIBLE)
    if seen[[*KNEES, *ANKLES]].any():
        return Framing.FULL_BODY
    if seen[[*HIPS, *ELBOWS, *WRISTS]].any():
        return Framing.HALF_BODY
    return Framing.HEAD


def _framing_of_outline(inside: Bool[ndarray, "h w"]) -> Framing:
    """Judge by the box's height over its width: people stand about 2.5 to 4 times as high."""
    height, width = inside.any(1).sum(), inside.any(0).sum()
    return Framing.FULL_BODY if height > 2 * width else Framing.HALF_BODY


def prompt_for(framing: Framing) -> str:
    """Describe a photo of which nothing but the framing is known."""
    shown = {
        Framing.FULL_BODY: "a full body photo of a person",
        Framing.HALF_BODY: "a half body photo of a person",
        Framing.HEAD: "a portrait photo of a person",
    }
    return shown[framing]
