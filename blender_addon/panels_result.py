# SPDX-License-Identifier: GPL-3.0-or-later
"""The result, what can be done with it by hand, its export, and the list of jobs."""

from typing import Any

import bpy

from . import session
from .drawing import sentence
from .operators import is_open, row_here
from .operators_jobs import chosen_row
from .panels import InSidebar

JOB_ICONS = {
    "queued": "SORTTIME",
    "running": "PLAY",
    "cancelling": "CANCEL",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "X",
}


def has_person(context: Any) -> bool:
    """Say whether the scene has a reconstructed person."""
    here = session.known()
    return here is not None and here.arrivals.person_made(context.scene.geneman.job)


class GENEMAN_PT_result(InSidebar, bpy.types.Panel):
    """Ways to look at the person."""

    bl_label = "Result"
    bl_order = 5

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only where there is one."""
        return has_person(context)

    def draw(self, context: Any) -> None:
        """Draw it."""
        shading = context.space_data.shading
        flat = shading.type == "SOLID" and shading.light == "FLAT"
        clay = shading.type == "SOLID" and shading.color_type == "SINGLE"
        textured = flat and shading.color_type == "TEXTURE"
        row = self.layout.row(align=True)
        row.operator("geneman.show_texture", text="Texture", depress=textured).clay = False
        row.operator("geneman.show_texture", text="Clay", depress=clay).clay = True
        column = self.layout.column(align=True)
        column.operator("geneman.match_camera", icon="VIEW_CAMERA")
        column.operator("geneman.add_turntable", icon="CON_TRACKTO")
        column = self.layout.column(align=True)
        if not is_open(row_here(context)):
            column.operator("geneman.stages_beside", icon="MOD_ARRAY")
        column.operator("geneman.compare_stages", icon="DUPLICATE")


class GENEMAN_PT_edit(InSidebar, bpy.types.Panel):
    """What was edited by hand goes on from there."""

    bl_label = "Edit and Go On"
    bl_order = 6
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender's way)

    def draw(self, context: Any) -> None:
        """Draw it."""
        column = self.layout.column()
        if has_person(context):
            column.operator("geneman.rerun_from_mesh", icon="SCULPTMODE_HLT")
            column.operator("geneman.keep_texture", icon="TPAINT_HLT")
        column.operator("geneman.texture_selected", icon="MOD_UVPROJECT")


class GENEMAN_PT_export(InSidebar, bpy.types.Panel):
    """Files for other programs."""

    bl_label = "Export"
    bl_order = 7
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender's way)

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only where there is something to export."""
        return has_person(context)

    def draw(self, _context: Any) -> None:
        """Draw it."""
        self.layout.operator("geneman.export_gltf", icon="EXPORT")


class GENEMAN_UL_jobs(bpy.types.UIList):
    """The queue, and below it the history."""

    def draw_item(  # Blender counts the arguments
        self, _context: Any, layout: Any, _data: Any, item: Any, _icon: int, _in: Any, _name: str
    ) -> None:
        """Draw one job."""
        here = session.known()
        row = here.model.job(item.job) if here is not None else None
        if row is None:
            layout.label(text="")
            return
        line = layout.split(factor=0.45)
        icon = JOB_ICONS.get(str(row.job.state), "NONE")
        line.label(text=row.job.label or "Person", icon=icon, translate=False)
        if is_open(row):
            line.progress(factor=row.fraction, text=row.sentence)
        else:
            line.label(text=row.sentence)


class GENEMAN_PT_jobs(InSidebar, bpy.types.Panel):
    """All jobs of this machine."""

    bl_label = "Jobs"
    bl_order = 8
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 (Blender's way)

    def draw(self, context: Any) -> None:
        """Draw the list and the buttons for the chosen job."""
        layout, window = self.layout, context.window_manager.geneman
        if not len(window.jobs):
            sentence(layout, "What you reconstruct is listed here, and can be recalled")
            return
        row = layout.row()
        row.template_list("GENEMAN_UL_jobs", "", window, "jobs", window, "job_index", rows=4)
        side = row.column(align=True)
        chosen = chosen_row(context)
        if is_open(chosen):
            side.operator("geneman.cancel_job", text="", icon="X")
        else:
            side.operator("geneman.remove_job", text="", icon="TRASH")
        side.separator()
        side.operator("geneman.move_job", text="", icon="TRIA_UP").up = True
        side.operator("geneman.move_job", text="", icon="TRIA_DOWN").up = False
        row = layout.row(align=True)
        row.operator("geneman.show_job", icon="IMPORT")
        row.operator("geneman.recall_settings", icon="LOOP_BACK")


CLASSES = (
    GENEMAN_PT_result,
    GENEMAN_PT_edit,
    GENEMAN_PT_export,
    GENEMAN_UL_jobs,
    GENEMAN_PT_jobs,
)
