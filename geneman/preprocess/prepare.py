"""The stage `prepare`: a photo and whatever is known about it become a `ReferenceView`.

Estimates fill what was not given: MediaPipe's networks the mask and the body points, the shape
prior the normals, the depth and the hidden side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float32
from msgspec import Meta
from numpy import ndarray
from PIL import Image
from torch import Tensor

from geneman.errors import MapError
from geneman.preprocess.face import face_triangles
from geneman.preprocess.face_relief import with_face
from geneman.preprocess.framing import (
    face_in,
    framing_of,
    given_landmarks,
    landmarks_in,
    prompt_for,
)
from geneman.preprocess.given_maps import GivenMaps, Maps, read_maps
from geneman.preprocess.matting import RIM, foreground_colour
from geneman.preprocess.photo import read_photo
from geneman.preprocess.recentring import Frame, unit
from geneman.preprocess.registration import LEAST_AGREEMENT, register
from geneman.preprocess.standing import standing_camera
from geneman.preprocess.subject import GIVEN, Subject, find_subject
from geneman.priors.bundle import Priors
from geneman.progress import ImagePreview, Report, StageStarted, StepDone, silent
from geneman.view import ReferenceView

STAGE = "prepare"
_STEPS = 3
_HALF = 0.5


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of `prepare`."""

    size: Annotated[int, Meta(ge=128, le=4096)] = 1024
    """Side of the recentred square in pixels (METHOD section 1)."""
    rim: Annotated[float, Meta(ge=0, le=16)] = RIM
    """Pixels inward from the outline whose colour may be the background's (ours)."""
    upright: bool = False
    """Take the camera for as high or low as somebody who stands tells it, instead of for level as
    the paper does: then they stand upright in the scene (ours)."""
    face: bool = True
    """Look at the face once more by itself, and lay the mesh that is found there into the relief
    (ours)."""


@dataclass(frozen=True)
class Prepared:
    """The view, and where each part of it came from."""

    view: ReferenceView
    sources: Mapping[str, str]
    """mask, landmarks, normal, depth, hidden, prompt -> "given", or who estimated it."""
    photo_mask: Float32[ndarray, "H W"]
    """The person's cover of each pixel of the photo itself: what people paint on."""


@dataclass(frozen=True)
class _Placement:
    """Where photo and maps lie in the square, and the mask there."""

    photo: Frame
    maps: Frame
    mask: Float32[ndarray, "h w"]
    mask_source: str
    registered: bool
    """Whether the given maps define the square, and so the given landmarks' frame too."""


@dataclass(frozen=True)
class _Square:
    """What is known of the person, at the pixels of the square."""

    colour: Float32[ndarray, "h w 3"]
    mask: Float32[ndarray, "h w"]
    normal: Float32[ndarray, "h w 3"] | None
    depth: Float32[ndarray, "h w"] | None
    landmarks: Float32[ndarray, "33 4"]
    face: Float32[ndarray, "470 3"] | None


def run(
    photo: Path,
    *,
    given: GivenMaps,
    priors: Priors,
    config: PrepareConfig,
    device: torch.device,
    report: Report = silent,
) -> Prepared:
    """Prepare a photo.

    Args:
        photo: The picture file.
        given: Maps and a prompt that replace estimates.
        priors: Only `shape` is asked, and `caption` if no prompt is given.
        config: Settings.
        device: Where the view's tensors will be.
        report: Receives a cut-out and the normals as previews.

    Raises:
        PhotoError: the file is no usable photo, or shows nobody.
        MapError: a given map does not fit.
        MissingComponentError: an estimate is needed whose weights have not been fetched.
    """
    report(StageStarted(STAGE, _STEPS))
    picture = read_photo(photo)
    maps = read_maps(given, picture.size)
    photo_sized = maps.size is None or maps.size == picture.size
    subject = find_subject(picture, maps.mask if photo_sized else None)
    report(StepDone(STAGE, 0, _STEPS, {}, 0.0))
    place = (_recentred if photo_sized else _registered)(subject, maps, config)
    square = _squared(subject, maps, place, config)
    report(ImagePreview(STAGE, 1, _on_white(square)))
    report(StepDone(STAGE, 1, _STEPS, {}, 0.0))
    view = _completed(square, given.prompt, priors, device)
    if config.upright:
        view = replace(view, camera=standing_camera(view))
    report(ImagePreview(STAGE, 2, (view.normal.cpu() + 1) / 2))
    report(StepDone(STAGE, 2, _STEPS, {}, 0.0))
    photo_mask = np.asarray(Image.fromarray(subject.alpha).resize(picture.size))
    return Prepared(view, _sources(subject, given, place, priors, view), photo_mask)


def _recentred(subject: Subject, maps: Maps, config: PrepareConfig) -> _Placement:
    """Recentre the photo, and maps of its size with it."""
    frame = Frame.around(subject.alpha > _HALF, config.size)
    maps_frame = frame.of_larger(subject.shrunk)
    return _Placement(frame, maps_frame, frame.cover(subject.alpha), subject.source, False)


def _registered(subject: Subject, maps: Maps, config: PrepareConfig) -> _Placement:
    """Lay the photo under maps that were recentred elsewhere.

    Raises:
        MapError: the photo's person fits the maps' nowhere.
    """
    support = maps.support
    assert support is not None  # maps without a silhouette were refused when read
    found = register(subject.colour.astype(np.float32) / 255, subject.alpha, support, maps.normal)
    if found.agreement < LEAST_AGREEMENT:
        raise MapError(
            "Maps of another size than the photo must show the photo's person, recentred",
            value=f"a silhouette that agrees with the person's by {found.agreement:.0%}",
            remedy="give the maps of this photo, or export them at its size",
        )
    maps_frame = Frame(config.size / support.shape[0], 0.0, 0.0, config.size)
    frame = found.frame.resized(config.size)
    if maps.mask is None:
        return _Placement(frame, maps_frame, frame.cover(subject.alpha), subject.source, True)
    mask = maps_frame.cover(support.astype(np.float32))
    return _Placement(frame, maps_frame, mask, GIVEN, True)


def _squared(subject: Subject, maps: Maps, place: _Placement, config: PrepareConfig) -> _Square:
    """Bring everything into the square."""
    photo = place.photo.colours(subject.colour.astype(np.float32) / 255)
    # A given mask may be cut too wide or too hard: our own matte also has a say on colours.
    trusted = np.minimum(place.mask, place.photo.cover(subject.alpha))
    colour = foreground_colour(photo, trusted, rim=config.rim)
    normal = depth = None
    if (support := maps.support) is not None:
        if maps.normal is not None:
            normal = unit(place.maps.inside_map(maps.normal, support))
        if maps.depth is not None:
            depth = place.maps.inside_map(maps.depth, support)
    if maps.landmarks is not None and place.registered:
        landmarks = maps.landmarks
    elif maps.landmarks is not None:
        landmarks = given_landmarks(maps.landmarks, place.mask, place.photo, subject.size)
    elif subject.pose is not None:
        landmarks = landmarks_in(place.photo, subject.pose)
    else:
        landmarks = np.zeros((33, 4), np.float32)
    face = face_in(place.photo, subject.face) if config.face and subject.face is not None else None
    return _Square(colour, place.mask, normal, depth, landmarks, face)


def _completed(
    square: _Square, prompt: str | None, priors: Priors, device: torch.device
) -> ReferenceView:
    """Ask the shape prior for what is not known, and hand everything to torch."""
    colour, mask, normal, depth, landmarks = (
        None if values is None else torch.from_numpy(np.ascontiguousarray(values)).to(device)
        for values in (square.colour, square.mask, square.normal, square.depth, square.landmarks)
    )
    assert colour is not None and mask is not None and landmarks is not None  # noqa: PT018
    framing = framing_of(square.landmarks, square.mask)
    surfaces = priors.shape.surfaces(colour, mask, landmarks, framing, normal=normal, depth=depth)
    if square.face is not None and normal is None:  # given normals know the face better
        surfaces = with_face(surfaces, mask, square.face, face_triangles())
    return ReferenceView(
        colour=colour,
        mask=mask,
        normal=surfaces.normal,
        depth=surfaces.depth,
        hidden=surfaces.hidden,
        landmarks=landmarks,
        framing=framing,
        prompt=prompt or _captioned(colour, mask, priors) or prompt_for(framing),
    )


def _captioned(colour: Tensor, mask: Tensor, priors: Priors) -> str | None:
    return None if priors.caption is None else priors.caption(colour, mask)


def _sources(
    subject: Subject, given: GivenMaps, place: _Placement, priors: Priors, view: ReferenceView
) -> dict[str, str]:
    """Say for each part of the view who knew it."""
    estimated = {
        "mask": place.mask_source,
        "landmarks": subject.landmarks_source,
        "normal": priors.shape.name,
        "depth": priors.shape.name,
        "prompt": (
            "the framing"
            if view.prompt == prompt_for(view.framing)
            else getattr(priors.caption, "name", "a captioner")
        ),
    }
    named = {
        name: GIVEN if name != "mask" and getattr(given, name) else source
        for name, source in estimated.items()
    }
    return named | {"hidden": priors.shape.name}


def _on_white(square: _Square) -> Tensor:
    """Give the cut-out as people expect to see it."""
    share = square.mask[..., None]
    return torch.from_numpy(square.colour * share + 1 - share)
