# SPDX-License-Identifier: GPL-3.0-or-later
"""What the main thread wants the client's thread to do.

Files are named, not read, and images and meshes are handed over as Blender gave them: reading,
converting and packing happen on the thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arrays import EditedImage, EditedMesh
from .protocol import MapName


@dataclass(frozen=True)
class NewJob:
    """Reconstruct a photo."""

    photo: Path
    """Read when the order is carried out; if it is gone by then, the outcome says so."""
    label: str = ""
    """Empty: the photo's name."""
    preset: str = "draft"
    recipe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings other than the preset's: stage, field, value."""
    prompt: str = ""
    seed: int = 0
    start: str | None = None
    """The first stage to run after `prepare`, when `mesh` is its input."""
    until: str | None = None
    maps: Mapping[MapName, Path] = field(default_factory=dict)
    """Files."""
    mask: EditedImage | None = None
    """Painted by hand; of the photo's size."""
    mesh: EditedMesh | None = None
    """Texture this mesh instead of sculpting one."""
    albedo: EditedImage | None = None
    """With `mesh` and its texture coordinates: the finished texture, to be rigged and exported."""


@dataclass(frozen=True)
class Again:
    """Run an ended job again, with other settings or with what was edited by hand."""

    start: str | None = None
    """Run this stage and those after it even if nothing changed."""
    until: str | None = None
    preset: str | None = None
    recipe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompt: str | None = None
    seed: int | None = None
    mask: EditedImage | None = None
    mesh: EditedMesh | None = None
    albedo: EditedImage | None = None
    discard: tuple[str, ...] = ()
    """Stages whose results were made by hand and may now be computed again."""
