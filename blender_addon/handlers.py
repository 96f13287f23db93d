# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender tells us: files loaded and saved, undo, and meshes that somebody edits."""

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import session


@persistent
def _loaded(*_: object) -> None:
    if (here := session.known()) is not None:
        here.arrivals.forget_scenes()


@persistent
def _undone(*_: object) -> None:
    if (here := session.known()) is not None:
        here.arrivals.after_undo()


@persistent
def _saving(*_: object) -> None:
    """Keep what was painted by hand: Blender would drop images that have no file."""
    from .comparing import COPY
    from .photo import MASK
    from .scene_import import ALBEDO, ROLE

    for image in bpy.data.images:
        if image.get(ROLE) in (MASK, ALBEDO, COPY) and image.is_dirty:
            image.pack()


@persistent
def _changed(_scene: Any, graph: Any) -> None:
    """Notice when a person's shape was changed by hand: later stages are stale then."""
    here = session.known()
    if here is None:
        return
    from .operators import is_open
    from .scene_import import JOB, PERSON, ROLE, STAGE, reshaped

    for update in graph.updates:
        found = update.id
        ours = update.is_updated_geometry and found.get(ROLE) == PERSON and STAGE not in found
        if not ours or found.id_type != "OBJECT" or found.mode == "EDIT":
            continue  # what is done in Edit Mode is in the mesh when that is left
        job = str(found[JOB])
        if not is_open(here.model.job(job)):
            here.model.edited(job, "sculpt" if reshaped(found.original) else "")


HANDLERS = {
    "load_post": _loaded,
    "undo_post": _undone,
    "redo_post": _undone,
    "save_pre": _saving,
    "depsgraph_update_post": _changed,
}


def register() -> None:
    """Listen to Blender."""
    for name, handler in HANDLERS.items():
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Listen no more."""
    for name, handler in HANDLERS.items():
        listed = getattr(bpy.app.handlers, name)
        if handler in listed:
            listed.remove(handler)
