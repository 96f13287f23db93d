# SPDX-License-Identifier: Apache-2.0
"""What a request must keep to, given what a worker has said that it can do."""

from collections.abc import Sequence

from backend.jobs import Entry
from backend.recipes import flattened
from backend.refusals import RefusedError
from backend.uploads import Upload
from blender_addon.protocol import Kind, Recipe, Rerun, Welcome


def known_recipe(
    known: Welcome | None, preset: str | None, recipe: Recipe, stages: Sequence[str | None]
) -> Recipe:
    """Hold what is wished for to what the worker knows, and give its settings by path.

    Before a worker has described itself nothing is known; the worker then checks alone.

    Raises:
        RefusedError: A preset, stage or setting does not exist, or a value is out of its limits.
    """
    if known is None:
        return recipe
    for what, value, names in (
        ("preset", preset, tuple(known.presets)),
        *(("stage", stage, known.stages) for stage in stages),
    ):
        if value is not None and value not in names:
            raise RefusedError(
                Kind.INPUT,
                f"a {what} must be one that the backend knows",
                value=f"'{value}'",
                remedy="look at what it said in its welcome",
            )
    return flattened(recipe, known.settings)


def check_start(known: Welcome | None, start: str | None, upload: Upload) -> None:
    """Refuse a new job that would begin after stages that nobody has done."""
    order = known.stages if known else ()
    if start is None or start not in order:
        return
    # Nothing is before the first, and `prepare` runs in any case.
    done = max((order.index(stage) for stage in upload.handmade), default=0)
    if order.index(start) > done + 1:
        raise RefusedError(
            Kind.INPUT,
            f"a new job may start at {order[done + 1]} at the latest",
            value=start,
            remedy="send what was made by hand for the stages before, or start earlier",
        )


def check_edited(known: Welcome | None, entry: Entry, wanted: Rerun, upload: Upload) -> None:
    """Refuse to compute again what was made by hand, unless it may be lost."""
    order = known.stages if known else ()
    starts = [stage for stage in (wanted.start, *upload.handmade) if stage in order]
    if not starts:
        return
    first = min(starts, key=order.index)
    held = entry.edited - set(wanted.discard) - set(upload.handmade)
    for stage in sorted(held & set(order), key=order.index):
        if order.index(stage) >= order.index(first):
            raise RefusedError(
                Kind.EDITED,
                f"what was made by hand for {stage} must not be overwritten",
                value=f"new work from {first} on",
                remedy=f"start after {stage}, or discard what was made by hand",
            )
