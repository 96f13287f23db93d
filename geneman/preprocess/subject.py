"""Who in the photo is to be reconstructed, from the best source there is.

A given mask wins, then the photo's own alpha channel, then `rembg` if it is installed with its
weights, then our own cut-out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from PIL import Image

from geneman.errors import PhotoError
from geneman.preprocess.cut_out import (
    cut_out,
    find_people,
    in_one_piece,
    nobody_found,
    only_main_person,
)
from geneman.preprocess.face import Face, FaceModel
from geneman.preprocess.matting import without_shadow
from geneman.preprocess.person import PersonModels, Pose
from geneman.preprocess.photo import Photo
from geneman.preprocess.removal import remove_background
from geneman.priors import weights

GIVEN, ALPHA, OWN, REMBG = "given", "the photo's alpha", "mediapipe and matting", "rembg"
NONE_FOUND, NO_WEIGHTS = "none found", "none: the person models have not been fetched"
WORKING_SIDE = 3072
"""Longest side, in pixels, of what is worked on: three times the square, so nothing is lost
unless the person takes less than a third of a larger photo."""

_HALF = 0.5


@dataclass(frozen=True)
class Subject:
    """A person, where the photo shows them."""

    colour: UInt8[ndarray, "h w 3"]
    """The photo, made smaller by `shrunk`."""
    alpha: Float32[ndarray, "h w"]
    """The person's cover of each of its pixels."""
    pose: Pose | None
    """Body points in its pixels."""
    face: Face | None
    """The face in its pixels, where it is seen."""
    shrunk: int
    source: str
    """Who made the mask."""
    landmarks_source: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.colour.shape[1], self.colour.shape[0]


def find_subject(photo: Photo, mask: Bool[ndarray, "h w"] | None) -> Subject:
    """Find the person to reconstruct.

    Args:
        photo: The photo.
        mask: What the user says is the person, at the photo's size.

    Raises:
        PhotoError: nothing tells where the person is, and nobody is found.
        MissingComponentError: people must be looked for and the models are not there.
    """
    shrunk = max(1, -(-max(photo.size) // WORKING_SIDE))
    picture = Image.fromarray(photo.colour).reduce(shrunk)
    colour = np.asarray(picture)
    models = PersonModels()
    known = photo.alpha if mask is None else mask.astype(np.float32)
    if known is not None:
        alpha = np.asarray(Image.fromarray(known).reduce(shrunk))
        _must_show_something(alpha)
        if mask is None:
            alpha = without_shadow(colour, alpha)
            alpha = in_one_piece(alpha, alpha > _HALF)
        source = GIVEN if mask is not None else ALPHA
        return _with_pose(colour, alpha, models, shrunk, source)
    removed = remove_background(picture)
    if removed is None:
        own = cut_out(colour, models)
        face = FaceModel().find(colour, own.pose)
        return Subject(colour, own.alpha, own.pose, face, shrunk, OWN, models.name)
    people = find_people(colour, models)
    if not people:
        raise nobody_found()
    alpha = only_main_person(removed, people)
    face = FaceModel().find(colour, people[0])
    return Subject(colour, alpha, people[0], face, shrunk, REMBG, models.name)


def _must_show_something(alpha: Float32[ndarray, "h w"]) -> None:
    if not (alpha > _HALF).any():
        raise PhotoError(
            "A photo's alpha channel must show the person",
            value="one that is nowhere more than half opaque",
            remedy="make the person opaque, or give --mask",
        )


def _with_pose(
    colour: UInt8[ndarray, "h w 3"],
    alpha: Float32[ndarray, "h w"],
    models: PersonModels,
    shrunk: int,
    source: str,
) -> Subject:
    """Look for the body points of a person whose outline is known already."""
    if not weights.present("person"):
        return Subject(colour, alpha, None, None, shrunk, source, NO_WEIGHTS)
    # Colours under a transparent alpha are anything: people are looked for on plain grey.
    share = alpha[..., None]
    seen = (colour * share + 128 * (1 - share)).astype(np.uint8)
    people = find_people(seen, models)
    if not people:
        return Subject(colour, alpha, None, None, shrunk, source, NONE_FOUND)
    pose = max(people, key=lambda person: float((person.cover * alpha).sum()))
    return Subject(colour, alpha, pose, FaceModel().find(seen, pose), shrunk, source, models.name)
