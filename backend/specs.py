# SPDX-License-Identifier: Apache-2.0
"""What a job is to do, as the table keeps it: files are named as they lie in the job's `input`."""

from typing import Any

import msgspec

from blender_addon.protocol import MeshFrame, Rerun, Submit, Wish


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


def first_spec(
    wanted: Submit,
    *,
    photo: str,
    maps: dict[str, str],
    recipe: dict[str, dict[str, Any]],
    handmade: dict[str, HandMadeFiles],
) -> Spec:
    """Give what a new job is to do."""
    return Spec(
        photo=photo,
        maps=maps,
        prompt=wanted.prompt,
        preset=wanted.preset,
        recipe=recipe,
        seed=wanted.seed,
        start=wanted.start,
        until=wanted.until,
        handmade=handmade,
    )


def next_spec(
    old: Spec,
    wanted: Rerun,
    *,
    maps: dict[str, str],
    recipe: dict[str, dict[str, Any]],
    handmade: dict[str, HandMadeFiles],
) -> Spec:
    """Give what a job is to do now: the old wish with the new one laid over it."""
    merged = {} if wanted.preset is not None else dict(old.recipe)
    for stage, fields in recipe.items():
        merged[stage] = merged.get(stage, {}) | fields
    kept = {stage: files for stage, files in old.handmade.items() if stage not in wanted.discard}
    return msgspec.structs.replace(
        old,
        maps=old.maps | maps,
        prompt=old.prompt if wanted.prompt is None else wanted.prompt,
        preset=wanted.preset or old.preset,
        recipe=merged,
        seed=old.seed if wanted.seed is None else wanted.seed,
        start=wanted.start,
        until=wanted.until,
        handmade=kept | handmade,
        discard=tuple(stage for stage in wanted.discard if stage not in handmade),
    )
