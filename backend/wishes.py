# SPDX-License-Identifier: Apache-2.0
"""What a job is to do, from what its client asked for and what came with it."""

import msgspec

from backend.specs import Spec
from backend.uploads import Upload
from blender_addon.protocol import Recipe, Rerun, Submit


def first_spec(wanted: Submit, upload: Upload, recipe: Recipe) -> Spec:
    """Give what a new job is to do."""
    return Spec(
        photo=upload.photo,
        maps=upload.maps,
        prompt=wanted.prompt,
        preset=wanted.preset,
        recipe=recipe,
        seed=wanted.seed,
        start=wanted.start,
        until=wanted.until,
        handmade=upload.handmade,
    )


def next_spec(old: Spec, wanted: Rerun, upload: Upload, recipe: Recipe) -> Spec:
    """Give what a job is to do now: the old wish with the new one laid over it."""
    merged = {} if wanted.preset is not None else dict(old.recipe)
    for stage, fields in recipe.items():
        merged[stage] = merged.get(stage, {}) | fields
    kept = {stage: files for stage, files in old.handmade.items() if stage not in wanted.discard}
    return msgspec.structs.replace(
        old,
        maps=old.maps | upload.maps,
        prompt=old.prompt if wanted.prompt is None else wanted.prompt,
        preset=wanted.preset or old.preset,
        recipe=merged,
        seed=old.seed if wanted.seed is None else wanted.seed,
        start=wanted.start,
        until=wanted.until,
        handmade=kept | upload.handmade,
        discard=tuple(stage for stage in wanted.discard if stage not in upload.handmade),
    )
