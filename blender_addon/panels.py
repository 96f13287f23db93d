# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel in the viewport's sidebar: photo, quality, the button, settings, stages.

Draws what is known and computes nothing; the first drawing wakes the session's timer.
"""

from typing import Any

import bpy

from . import photo, recipe_form, session
from .drawing import picture, sentence, trouble
from .drawing import remedy as draw_remedy
from .naming import stage_title
from .operators import is_open, row_here
from .operators_photo import found_mask
from .scene_import import LIVE_IMAGE
from .translations import told

STATE_ICONS = {
    "waiting": "RADIOBUT_OFF",
    "running": "PLAY",
    "done": "CHECKMARK",
    "stale": "FILE_REFRESH",
    "failed": "ERROR",
}
_WITH_VIEWS = ("nerf_init", "sculpt", "latent_texture", "pixel_texture")
"""Stages that show their work while they run."""


class InSidebar:
    """Where all panels lie."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "GeneMAN"


class GENEMAN_PT_reconstruct(InSidebar, bpy.types.Panel):
    """The photo, the quality and the one obvious button; always there, so without a header."""

    bl_label = "Reconstruct"
    bl_order = 0
    bl_options = {"HIDE_HEADER"}  # noqa: RUF012 (Blender's way)

    def draw(self, context: Any) -> None:
        """Draw it."""
        here, layout = session.wake(), self.layout
        layout.use_property_decorate = False
        row = row_here(context)
        waiting = here is not None and here.waiting is not None
        working = is_open(row) or waiting
        live = _live_picture(here, row)
        _draw_photo(layout, context.scene.geneman, live)
        column = layout.column()
        column.use_property_split = True
        column.prop(context.scene.geneman, "preset")
        if working:
            _draw_progress(layout, row, waiting=waiting)
        else:
            button = layout.column()
            button.scale_y = 1.6
            button.operator("geneman.reconstruct", icon="OUTLINER_OB_ARMATURE")
        if here is not None:
            _draw_state(layout, here, row, context.scene.geneman.job)


def _live_picture(here: Any, row: Any) -> Any | None:
    """Give what the stage that runs now shows of its work, if it shows anything."""
    if here is None or row is None or not here.arrivals.pictured(row.job.id, row.job.stage):
        return None
    return bpy.data.images.get(LIVE_IMAGE) if is_open(row) else None


def _draw_photo(layout: Any, wanted: Any, live: Any | None) -> None:
    """Draw the picker and the photo, or in its place what is becoming of it."""
    row = layout.row(align=True)
    row.prop(wanted, "photo", text="")
    row.operator("geneman.paste_photo", text="", icon="PASTEDOWN")
    shown = live or wanted.photo_image
    if shown is not None:
        picture(layout, shown, 8.0)
    if not wanted.photo:
        sentence(layout, "Choose a photo of one person, or drop it onto the viewport")
    elif photo.readable(wanted.photo) is None:
        sentence(layout, "The photo is not there any more", icon="ERROR", alert=True)
        layout.operator("geneman.choose_photo")
    elif shown is None:
        sentence(layout, "Blender cannot show this kind of picture; the backend can read it")


def _draw_state(layout: Any, here: Any, row: Any, job: str) -> None:
    """Say what is in the way, and what helps: the nearest thing first."""
    if here.notice is not None:
        trouble(layout, here.notice, dismiss=True)
    if row is not None and row.trouble is not None and not is_open(row):
        trouble(layout, row.trouble)
    backend = here.model.backend
    if here.service.trouble is not None:
        trouble(layout, here.service.trouble)
    elif backend.fraction is not None:
        layout.progress(factor=backend.fraction, text=backend.sentence)
    elif not backend.ready:
        sentence(layout, backend.sentence, icon="SORTTIME" if backend.busy else "INFO")
        draw_remedy(layout, str(backend.remedy))
    for link in here.arrivals.holding():
        sentence(layout, link.waiting, icon="PAUSE")
    mine = here.arrivals.linked(job)
    if mine is not None and mine.lost:
        sentence(layout, "The person was deleted from the scene", icon="INFO")
        layout.operator("geneman.show_person")


def _draw_progress(layout: Any, row: Any, *, waiting: bool) -> None:
    line = layout.row(align=True)
    if waiting or row is None:
        line.label(text="Waits for the backend", icon="SORTTIME")
    else:
        line.progress(factor=row.fraction, text=row.sentence)
    line.operator("geneman.cancel", text="", icon="X")


class GENEMAN_PT_mask(InSidebar, bpy.types.Panel):
    """Which part of the photo is the person."""

    bl_label = "Mask"
    bl_order = 1
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender's way)

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only a photo has a mask."""
        return context.scene.geneman.photo_image is not None

    def draw(self, context: Any) -> None:
        """Draw what was found, or what is being painted."""
        layout = self.layout
        painted, found = context.scene.geneman.mask, found_mask(context)
        if painted is None:
            if found is not None:
                picture(layout, found, 6.0)
            layout.operator("geneman.paint_mask", icon="BRUSH_DATA")
            return
        row = layout.row(align=True)
        brush = context.scene.tool_settings.image_paint.brush
        erases = brush is not None and brush.blend == "ERASE_ALPHA"
        row.operator("geneman.mask_brush", text="Add", depress=not erases).erase = False
        row.operator("geneman.mask_brush", text="Erase", depress=erases).erase = True
        row = layout.row(align=True)
        row.operator("geneman.paint_mask", text="Go On Painting", icon="BRUSH_DATA")
        row.operator("geneman.clear_mask", text="", icon="X")
        if row_here(context) is not None:
            layout.operator("geneman.rerun_from_mask", icon="FILE_REFRESH")


# ---- settings ---------------------------------------------------------------------------------


class GENEMAN_PT_settings(InSidebar, bpy.types.Panel):
    """Prompt, seed, and every stage's settings."""

    bl_label = "Settings"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender's way)

    def draw(self, context: Any) -> None:
        """Draw them."""
        layout, wanted = self.layout, context.scene.geneman
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(wanted, "prompt", placeholder="Automatic")
        layout.prop(wanted, "seed")
        if not recipe_form.settings():
            sentence(layout, "Each stage's settings come with the backend, once it is connected")
        for stage in recipe_form.stages():
            header, body = layout.panel(f"GENEMAN_settings_{stage}", default_closed=True)
            header.label(text=stage_title(stage))
            if body is not None:
                draw_stage_settings(body, context.scene, stage)


def draw_stage_settings(layout: Any, scene: Any, stage: str) -> None:
    """Draw a stage's settings: plain ones first, then groups, then what changes over the steps."""
    group = recipe_form.group_of(scene, stage)
    plain, nested, over_time = recipe_form.sorted_settings(stage)
    for setting in plain:
        _draw_setting(layout, scene, group, setting)
    for name, settings in nested.items():
        header, body = layout.panel(f"GENEMAN_settings_{stage}_{name}", default_closed=True)
        header.label(text=name.replace("_", " ").replace(".", " ").title())
        for setting in settings if body is not None else ():
            _draw_setting(body, scene, group, setting)
    if over_time:
        header, body = layout.panel(f"GENEMAN_settings_{stage}_over_time", default_closed=True)
        header.label(text="Weights and Schedules")
        for setting in over_time if body is not None else ():
            _draw_setting(body, scene, group, setting)


def _draw_setting(layout: Any, scene: Any, group: Any, setting: Any) -> None:
    name = recipe_form.identifier(setting)
    if setting.optional:
        row = layout.row(heading=recipe_form.label(setting))
        row.prop(group, f"{name}__given", text="")
        value = row.row()
        value.active = getattr(group, f"{name}__given")
        value.prop(group, name, text="")
        return
    layout.prop(group, name)
    if setting.type != "schedule":
        return
    kind = getattr(group, f"{name}__kind")
    column = layout.column(align=True)
    column.prop(group, f"{name}__kind", text=" ")
    if kind != recipe_form.CONSTANT:
        column.prop(group, f"{name}_stop")
        column.prop(group, f"{name}_begin")
    if kind == recipe_form.RAMP:
        column.prop(group, f"{name}_end")


# ---- stages -----------------------------------------------------------------------------------


class GENEMAN_PT_stages(InSidebar, bpy.types.Panel):
    """How each stage stands."""

    bl_label = "Stages"
    bl_order = 4

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only a job has stages."""
        return session.known() is not None and bool(context.scene.geneman.job)

    def draw(self, context: Any) -> None:
        """Draw a line for each."""
        here = session.known()
        if here is None:
            return
        column = self.layout.column(align=True)
        ended = not is_open(row_here(context))
        for stage in here.model.stage_rows(context.scene.geneman.job):
            row = column.row(align=True)
            _draw_stage(row, stage)
            _draw_stage_buttons(row, context, stage, ended=ended)


def _draw_stage(row: Any, stage: Any) -> None:
    title = told(stage_title(stage.name))
    if stage.state == "running":
        left = f", {_duration(stage.seconds_left)}" if stage.seconds_left is not None else ""
        row.label(text="", icon=STATE_ICONS["running"])
        row.progress(factor=stage.fraction, text=f"{title}{left}")
        return
    name = row.row(align=True)
    name.active = stage.state != "waiting"
    name.label(text=title, icon=STATE_ICONS[str(stage.state)])
    more = name.row(align=True)
    more.alignment = "RIGHT"
    if stage.edited:
        more.label(text="", icon="GREASEPENCIL")
    elif stage.state == "stale":
        more.label(text="Stale")
    elif stage.seconds:
        more.label(text=_duration(stage.seconds), translate=False)


def _draw_stage_buttons(row: Any, context: Any, stage: Any, *, ended: bool) -> None:
    """Draw only buttons that do something now, each always in its place."""
    stages, hidden = session.current().model.stages, context.window_manager.geneman
    if stage.name in _WITH_VIEWS and stage.name in stages:
        number = stages.index(stage.name)
        icon = "HIDE_ON" if hidden.hide_live[number] else "HIDE_OFF"
        row.prop(hidden, "hide_live", index=number, text="", icon=icon, emboss=False)
    else:
        row.label(text="", icon="BLANK1")
    if stage.has_result:
        row.operator("geneman.inspect", text="", icon="VIEWZOOM", emboss=False).stage = stage.name
    else:
        row.label(text="", icon="BLANK1")
    if ended:
        again = row.operator("geneman.rerun_stage", text="", icon="FILE_REFRESH", emboss=False)
        again.stage = stage.name


def _duration(seconds: float) -> str:
    from .wording import duration

    return duration(seconds, told)


CLASSES = (
    GENEMAN_PT_reconstruct,
    GENEMAN_PT_mask,
    GENEMAN_PT_settings,
    GENEMAN_PT_stages,
)
