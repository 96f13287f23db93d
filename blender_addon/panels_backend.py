# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend's panel and the preferences."""

from typing import Any

import bpy

from . import session
from .drawing import remedy, sentence, trouble
from .panels import InSidebar
from .translations import told


class GENEMAN_PT_backend(InSidebar, bpy.types.Panel):
    """One sentence on the backend, and its buttons."""

    bl_label = "Backend"
    bl_order = 2
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender's way)

    def draw_header_preset(self, _context: Any) -> None:
        """Show at a glance how it stands."""
        here = session.wake()
        if here is not None:
            self.layout.label(text="", icon=_icon(here.model.backend))

    def draw(self, _context: Any) -> None:
        """Draw it."""
        here, layout = session.wake(), self.layout
        if here is None:
            return
        backend = here.model.backend
        if here.service.trouble is not None:
            trouble(layout, here.service.trouble)
        elif backend.fraction is not None:
            layout.progress(factor=backend.fraction, text=backend.sentence)
        else:
            sentence(layout, backend.sentence, icon=_icon(backend))
        if here.service.setting_up:
            layout.operator("geneman.cancel_set_up")
        elif str(backend.remedy) not in ("start", "none"):
            remedy(layout, str(backend.remedy))
        row, elsewhere = layout.row(align=True), here.service.choice.place == "REMOTE"
        if here.service.started:
            row.operator("geneman.stop", text="Disconnect" if elsewhere else "Stop")
            row.operator("geneman.free_memory")
        elif here.service.installed:
            row.operator("geneman.start", text="Connect" if elsewhere else "Start")
        for device in here.model.welcome.devices if here.model.welcome is not None else ():
            free, total = f"{device.free_bytes / 2**30:.1f}", f"{device.memory_bytes / 2**30:.1f}"
            memory = told("{free} of {total} GiB free", free=free, total=total)
            layout.label(text=f"{device.title}: {memory}", icon="MEMORY", translate=False)
        row = layout.row(align=True)
        row.operator("geneman.open_preferences", text="Preferences", icon="PREFERENCES")
        if here.service.log is not None:
            row.operator("geneman.open_log", icon="TEXT")


def _icon(backend: Any) -> str:
    if backend.ready:
        return "CHECKMARK"
    return "SORTTIME" if backend.busy else "ERROR"


def draw_preferences(preferences: Any, layout: Any, _context: Any) -> None:
    """Draw the add-on's preferences."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    layout.prop(preferences, "place")
    if preferences.place == "EXISTING":
        layout.prop(preferences, "environment")
    elif preferences.place == "REMOTE":
        layout.prop(preferences, "address", placeholder="render7:5600")
        layout.prop(preferences, "server_key")
        layout.operator("geneman.copy_key")
    else:
        row = layout.row(align=True)
        row.operator("geneman.set_up")
        row.operator("geneman.remove_backend", text="", icon="TRASH")
    if preferences.place != "REMOTE":
        layout.prop(preferences, "device")
        layout.prop(preferences, "auto_start")
        layout.prop(preferences, "keep_running")
    here = session.known()
    if here is not None:
        sentence(layout, here.model.backend.sentence, icon=_icon(here.model.backend))
    row = layout.row()
    row.operator("geneman.open_folder")
    row.operator("geneman.open_log")


CLASSES = (GENEMAN_PT_backend,)
