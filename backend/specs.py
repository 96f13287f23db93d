# SPDX-License-Identifier: Apache-2.0
"""What a job is to do, as the table keeps it: files are named as they lie in the job's `input`."""

from typing import Any

import msgspec

from blender_addon.protocol import MeshFrame, Wish


class HandMadeFiles(msgspec.Struct, frozen=True):
    """What somebody made by hand in the place of one stage's result."""

    files: dict[str, str]
    """By what they hold: vertices, faces, uv, uv_faces, mesh, albedo."""
    frame: MeshFrame = MeshFrame.SCENE


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done."""

    photo: str
    maps: dict[str, str] = {}
    prompt: str = ""
    preset: str = "draft"
    recipe: dict[str, dict[str, Any]] = {}
    """By stage and dotted path."""
    seed: int = 0
    start: str | None = None
    until: str | None = None
    handmade: dict[str, HandMadeFiles] = {}
    """By the stage whose result each replaces. It stays until it is replaced or discarded, so
    that a job which died before it was applied still applies it."""
    discard: tuple[str, ...] = ()

    @property
    def wish(self) -> Wish:
        """What a form needs to ask for the same again."""
        return Wish(self.preset, self.recipe, self.prompt, self.seed, self.until, tuple(self.maps))
