"""MediaPipe's person models on LiteRT: find people, their 33 body points, their silhouettes.

The decoding follows MediaPipe's published graphs `pose_detection_cpu`, `pose_landmark_cpu` and
`selfie_segmentation_cpu`. All places are in pixels of the photo (x right, y down, continuous:
the first pixel spans 0 to 1). This file alone imports `ai_edge_litert`, at first use.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image
from scipy.special import expit

from geneman.priors import weights

BoxEdges = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the photo."""

_STRIDES = (8, 16, 32, 32, 32)
_ANCHORS_PER_STRIDE = 2
DETECTION_SIDE, LANDMARK_SIDE, SEGMENTATION_SIDE = 224, 256, 256
ROI_SCALE = 1.25
"""The region around a body is this much larger than the circle that its key points give."""
SUPPRESSION_IOU = 0.3
"""Boxes that overlap more than this show one person."""
BODY_POINTS, POINT_VALUES = 33, 5
_AUXILIARY = (33, 34)  # the landmark model's own estimate of the body's centre and size


@dataclass(frozen=True)
class Square:
    """A turned square in the photo."""

    centre: tuple[float, float]
    side: float
    angle: float = 0.0
    """Radians, clockwise as seen (y is down)."""

    @property
    def to_photo(self) -> Float32[ndarray, "2 3"]:
        """Affine map from the square's own coordinates in [0, 1] to pixels of the photo."""
        cos, sin = math.cos(self.angle) * self.side, math.sin(self.angle) * self.side
        x, y = self.centre
        rows = [[cos, -sin, x - (cos - sin) / 2], [sin, cos, y - (sin + cos) / 2]]
        return np.array(rows, np.float32)

    @property
    def from_photo(self) -> Float32[ndarray, "2 3"]:
        """The inverse of `to_photo`."""
        linear = np.linalg.inv(self.to_photo[:, :2])
        return np.concatenate([linear, -linear @ self.to_photo[:, 2:]], axis=1)


@dataclass(frozen=True)
class Detection:
    """A person that the detector believes in."""

    score: float
    box: BoxEdges
    """Of the face."""
    region: Square
    """Of the whole body."""


@dataclass(frozen=True)
class Pose:
    """One person's body points and silhouette."""

    presence: float
    """How sure the model is that its region shows a person, in [0, 1]."""
    points: Float32[ndarray, "33 4"]
    """x, y in pixels of the photo, z in pixels (smaller = nearer, hips at 0), visibility."""
    cover: Float32[ndarray, "h w"]
    """Chance of each pixel of the photo to be the person's; 0 outside the region."""
    region: Square


class PersonModels:
    """The three networks, each loaded when first asked."""

    name = "mediapipe"

    @cached_property
    def _detector(self) -> "Network":
        return Network(weights.path("person", "pose_detection.tflite"))

    @cached_property
    def _landmarker(self) -> "Network":
        return Network(weights.path("person", "pose_landmark_full.tflite"))

    @cached_property
    def _segmenter(self) -> "Network":
        return Network(weights.path("person", "selfie_segmentation.tflite"))

    def detect(self, photo: UInt8[ndarray, "h w 3"], *, threshold: float = 0.5) -> list[Detection]:
        """Find people, the surest first."""
        height, width = photo.shape[:2]
        whole = Square((width / 2, height / 2), max(width, height))
        image = cut(photo, whole, DETECTION_SIDE) * 2 - 1
        boxes, logits = self._detector(image)
        scores = expit(logits.reshape(-1))
        values = boxes.reshape(-1, 6, 2) / DETECTION_SIDE
        anchors = anchor_centres()
        found: list[Detection] = []
        for index in np.argsort(-scores):
            if scores[index] < threshold:
                break
            size, anchor = values[index, 1], anchors[index]
            points = moved_by(whole.to_photo, values[index, [0, 2, 3]] + anchor)
            corners = points[0] + np.array([[-0.5], [0.5]]) * size * whole.side
            left, top, right, bottom = (float(value) for value in corners.reshape(-1))
            box = (left, top, right, bottom)
            if all(overlap(box, other.box) < SUPPRESSION_IOU for other in found):
                region = body_region(points[1], points[2])
                found.append(Detection(float(scores[index]), box, region))
        return found

    def pose(self, photo: UInt8[ndarray, "h w 3"], region: Square) -> Pose:
        """Find the body points inside a region; runs twice, the second time better centred."""
        points, _, _ = self._landmarks(photo, region)
        return self._pose_in(photo, body_region(*points[list(_AUXILIARY), :2]))

    def segment(self, photo: UInt8[ndarray, "h w 3"], box: BoxEdges) -> Float32[ndarray, "h w"]:
        """Give the chance of each pixel inside a box to be a person's; 0 outside it."""
        left, top, right, bottom = (round(edge) for edge in box)
        part = Image.fromarray(photo[top:bottom, left:right])
        side = (SEGMENTATION_SIDE, SEGMENTATION_SIDE)
        image = np.asarray(part.resize(side, Image.Resampling.BOX), np.float32) / 255
        (chance,) = self._segmenter(image)
        cover = np.zeros(photo.shape[:2], np.float32)
        small = Image.fromarray(chance.reshape(side))
        laid = small.resize(part.size, Image.Resampling.BILINEAR)
        cover[top:bottom, left:right] = np.asarray(laid)
        return cover

    def _pose_in(self, photo: UInt8[ndarray, "h w 3"], region: Square) -> Pose:
        points, presence, logits = self._landmarks(photo, region)
        chance = expit(logits)
        body = points[:BODY_POINTS, :4].copy()
        body[:, 3] = expit(body[:, 3])
        return Pose(presence, body, put_back(chance, region, photo.shape[:2]), region)

    def _landmarks(
        self, photo: UInt8[ndarray, "h w 3"], region: Square
    ) -> tuple[Float32[ndarray, "39 5"], float, Float32[ndarray, "256 256"]]:
        """Run the landmark network: points in photo pixels, presence, silhouette logits."""
        values, presence, silhouette, *_ = self._landmarker(cut(photo, region, LANDMARK_SIDE))
        points = values.reshape(-1, POINT_VALUES).copy()
        points[:, :3] /= LANDMARK_SIDE
        points[:, :2] = moved_by(region.to_photo, points[:, :2])
        points[:, 2] *= region.side
        return points, float(presence.item()), silhouette.reshape(LANDMARK_SIDE, LANDMARK_SIDE)


@contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    """Swallow what native code writes to the process's stderr.

    The interpreter tells there that it made its delegate, whatever the log level; its errors
    come as exceptions.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class Network:
    """One .tflite file; one image in, all its outputs out."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _stderr_to_nowhere():
            self._interpreter: Any = Interpreter(str(path), num_threads=2)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]

    def __call__(self, image: Float32[ndarray, "h w 3"]) -> list[Float32[ndarray, "..."]]:
        """Run the network on one image in [0, 1]."""
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def anchor_centres() -> Float32[ndarray, "n 2"]:
    """Give where the detector's boxes are anchored, in [0, 1]; all anchors have unit size."""
    parts = []
    for stride in _STRIDES:
        steps = (np.arange(DETECTION_SIDE // stride, dtype=np.float32) + 0.5) / (
            DETECTION_SIDE // stride
        )
        y, x = np.meshgrid(steps, steps, indexing="ij")
        cells = np.stack([x, y], axis=-1).reshape(-1, 2)
        parts.append((stride, np.repeat(cells, _ANCHORS_PER_STRIDE, axis=0)))
    # Layers of one stride share their cells: their anchors lie side by side, cell by cell.
    shared = [cells for stride, cells in parts if stride != _STRIDES[-1]]
    last = [cells for stride, cells in parts if stride == _STRIDES[-1]]
    grouped = np.stack([cells.reshape(-1, _ANCHORS_PER_STRIDE, 2) for cells in last], axis=1)
    return np.concatenate([*shared, grouped.reshape(-1, 2)])


def body_region(hips: Float32[ndarray, "2"], edge: Float32[ndarray, "2"]) -> Square:
    """Give the square around a body from its mid-hip point and a point on its outer circle.

    The circle's point lies above the head, so the square is turned to make the person upright.
    """
    across, down = (float(value) for value in edge - hips)
    angle = math.atan2(across, -down)
    side = 2 * math.hypot(across, down) * ROI_SCALE
    return Square((float(hips[0]), float(hips[1])), side, angle)


def overlap(a: BoxEdges, b: BoxEdges) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


def cut(photo: UInt8[ndarray, "h w 3"], square: Square, size: int) -> Float32[ndarray, "s s 3"]:
    """Sample a turned square into size x size pixels in [0, 1]; black outside the photo."""
    image = Image.fromarray(photo)
    shrink = max(1, int(square.side / size))
    if shrink > 1:  # bilinear sampling alone would skip pixels
        image = image.reduce(shrink)
    matrix = square.to_photo / np.float32(shrink)
    matrix[:, :2] /= size
    data = tuple(float(value) for value in matrix.reshape(-1))
    window = image.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(window, np.float32) / 255


def put_back(
    values: Float32[ndarray, "s s"], square: Square, shape: tuple[int, ...]
) -> Float32[ndarray, "h w"]:
    """Lay a square's map over the photo: the inverse of `cut`; 0 outside the square."""
    matrix = square.from_photo * values.shape[0]
    data = tuple(float(value) for value in matrix.reshape(-1))
    laid = Image.fromarray(values).transform(
        (shape[1], shape[0]), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    return np.asarray(laid)


def moved_by(
    affine: Float32[ndarray, "2 3"], points: Float32[ndarray, "n 2"]
) -> Float32[ndarray, "n 2"]:
    """Apply an affine map to places."""
    moved: Float32[ndarray, "n 2"] = points @ affine[:, :2].T + affine[:, 2]
    return moved
