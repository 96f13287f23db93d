"""MediaPipe's face mesh on LiteRT: 468 points of a face, with their depth.

The regions follow MediaPipe's published graph `face_landmark_front_cpu`. Places are in pixels of
the photo (x right, y down), depth in the same pixels, smaller = nearer.
"""

import ast
import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray
from scipy.special import expit

from geneman.preprocess.person import Network, Pose, Square, cut, moved_by
from geneman.priors import weights

POINTS = 468
INPUT_SIDE = 192
REGION_SCALE = 1.5
"""The region around a face is this much larger than the box of its points."""
LOOKS = 3
"""Times the network is asked, each time better centred; the second already hardly moves."""
LEAST_PRESENCE = 0.5

_EYES, _EARS, _MOUTH = (2, 5), (7, 8), (9, 10)  # of the body's 33 points
_EYE_RIMS = (((33, 133), (159, 145)), ((263, 362), (386, 374)))
_OUTER_CORNERS = (33, 263)  # of the eyes, among the face's points: the person's right and left


@dataclass(frozen=True)
class Face:
    """One person's face."""

    presence: float
    """How sure the model is that its region shows a face, in [0, 1]."""
    points: Float32[ndarray, "468 3"]
    """x, y and depth in pixels of the photo."""


class FaceModel:
    """The face mesh network, loaded when first asked."""

    @cached_property
    def _network(self) -> Network:
        return Network(weights.path("person", "face_landmark.tflite"))

    def find(self, photo: UInt8[ndarray, "h w 3"], pose: Pose) -> Face | None:
        """Find the face of a person whose body points are known; None where it is not seen."""
        region = region_of_head(pose.points)
        for _ in range(LOOKS):
            points, presence = self._ask(photo, region)
            region = region_of_face(points)
        return Face(presence, points) if presence > LEAST_PRESENCE else None

    def _ask(
        self, photo: UInt8[ndarray, "h w 3"], region: Square
    ) -> tuple[Float32[ndarray, "468 3"], float]:
        values, presence = self._network(cut(photo, region, INPUT_SIDE))
        points = values.reshape(POINTS, 3) / np.float32(INPUT_SIDE)
        places = moved_by(region.to_photo, points[:, :2])
        depth = points[:, 2:] * np.float32(region.side)
        return np.concatenate([places, depth], axis=1), float(expit(presence.item()))


def region_of_head(points: Float32[ndarray, "33 4"]) -> Square:
    """Give the upright square around a head from the body's points."""
    eyes, mouth = points[list(_EYES), :2].mean(0), points[list(_MOUTH), :2].mean(0)
    up = eyes - mouth
    ears = float(np.linalg.norm(points[_EARS[0], :2] - points[_EARS[1], :2]))
    # A face is about 2.8 times as high as the way from mouth to eyes.
    side = REGION_SCALE * max(2.8 * float(np.linalg.norm(up)), 1.1 * ears)
    x, y = (float(value) for value in (eyes + mouth) / 2)
    return Square((x, y), max(side, 1.0), math.atan2(float(up[0]), -float(up[1])))


def region_of_face(points: Float32[ndarray, "468 3"]) -> Square:
    """Give the square around a face from its own points, turned so that the eyes are level."""
    right, left = (points[index, :2] for index in _OUTER_CORNERS)
    across, down = (float(value) for value in left - right)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    x, y = (float(value) for value in (low + high) / 2)
    side = REGION_SCALE * float((high - low).max())
    return Square((x, y), max(side, 1.0), math.atan2(down, across))


def with_eyeballs(points: Float32[ndarray, "468 3"]) -> Float32[ndarray, "470 3"]:
    """Add the front of both eyes, which the mesh leaves out, to points of any frame.

    The eyeball stands before the plane of the lids by an eighth of the eye's width: 4 mm of 30.
    """
    fronts = []
    for corners, lids in _EYE_RIMS:
        width = np.linalg.norm(points[corners[0]] - points[corners[1]])
        front = points[[*corners, *lids]].mean(0)
        fronts.append(front - np.array([0, 0, width / 8], np.float32))
    return np.concatenate([points, np.stack(fronts)]).astype(np.float32)


@cache
def face_triangles() -> Int64[ndarray, "852 3"]:
    """Give the triangles between the points, counter-clockwise as the camera sees them.

    MediaPipe lists the edges of its mesh in a Python file, three for each triangle; the file is
    read as data and never run.

    Raises:
        MissingComponentError: the file has not been fetched.
    """
    source = weights.path("person", "face_mesh_connections.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            (name,) = statement.targets
            if isinstance(name, ast.Name) and name.id == "FACEMESH_TESSELATION":
                edges = np.array(ast.literal_eval(statement.value.args[0]), np.int64)
                return edges.reshape(-1, 3, 2)[:, :, 0]
    raise AssertionError("the file's sha256 was checked when it was fetched")
