# SPDX-License-Identifier: GPL-3.0-or-later
"""What was edited by hand goes back to the backend, and the work goes on from there."""

from typing import Any

import bpy

from . import photo, session
from .operators import can_order, can_run_again, is_open, job_here, refused, row_here, run_again
from .scene_import import (
    SceneError,
    albedo_of,
    edited_image,
    edited_mesh,
    job_of,
    person_of,
    placement_of,
)

TEXTURE_STAGE = "latent_texture"
"""The first stage that works on a given mesh."""


def edited_person(context: Any) -> Any:
    """Give the scene's person, in whatever mode it is, or None."""
    return person_of(job_here(context)) if job_here(context) else None


class GENEMAN_OT_rerun_from_mesh(bpy.types.Operator):
    """Textures the person anew, as it was sculpted by hand."""

    bl_idname = "geneman.rerun_from_mesh"
    bl_label = "Re-run Texture from Edited Mesh"
    bl_description = "Keep the mesh as you edited it, modifiers included, and texture it anew"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if not can_run_again(cls, context):
            return False
        person = edited_person(context)
        if person is None:
            return refused(cls, "The person is not in the scene: press Show in Scene")
        return True

    def execute(self, context: Any) -> set[str]:
        """Send the mesh."""
        from .orders import Again

        person = edited_person(context)
        if person.mode != "OBJECT":
            person.update_from_editmode()
        try:
            mesh = edited_mesh(person, placement_of(person))
        except SceneError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        again = Again(mesh=mesh, discard=("sculpt", "pixel_texture"))
        run_again(context, job_here(context), again)
        session.current().model.edited(job_here(context), "sculpt")
        return {"FINISHED"}


class GENEMAN_OT_keep_texture(bpy.types.Operator):
    """Keeps the painted texture in the stages after it."""

    bl_idname = "geneman.keep_texture"
    bl_label = "Keep Painted Texture"
    bl_description = "Use the texture as you painted it, in the finished person and its exports"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if not can_run_again(cls, context):
            return False
        if albedo_of(job_here(context)) is None:
            return refused(cls, "The person has no texture yet")
        return True

    def execute(self, context: Any) -> set[str]:
        """Send the image."""
        from .orders import Again

        try:
            albedo = edited_image(albedo_of(job_here(context)))
        except SceneError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        run_again(context, job_here(context), Again(albedo=albedo))
        session.current().model.edited(job_here(context), "pixel_texture")
        return {"FINISHED"}


class GENEMAN_OT_texture_selected(bpy.types.Operator):
    """Textures somebody's own mesh from the photo."""

    bl_idname = "geneman.texture_selected"
    bl_label = "Texture Selected Mesh from Photo"
    bl_description = (
        "Give the active mesh, upright and facing -Y, the looks of the person in the photo; "
        "its texture coordinates are kept if it has any"
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        active = context.view_layer.objects.active
        if active is None or active.type != "MESH" or not active.select_get():
            return refused(cls, "Select a mesh first")
        if active.mode != "OBJECT":
            return refused(cls, "Leave the mesh's mode for Object Mode first")
        if job_of(active):
            return refused(cls, "This is a reconstructed person: use Re-run Texture instead")
        if photo.readable(context.scene.geneman.photo) is None:
            return refused(cls, "Choose a photo first")
        if is_open(row_here(context)):
            return refused(cls, "This scene's person is being made: wait for it or cancel it")
        return can_order(cls)

    def execute(self, context: Any) -> set[str]:
        """Send photo and mesh."""
        from dataclasses import replace

        from .operators import wish_of

        active = context.view_layer.objects.active
        try:
            mesh = edited_mesh(active, None)
            wish = replace(wish_of(context), mesh=mesh, start=TEXTURE_STAGE, label=active.name)
        except SceneError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        session.current().reconstruct(wish, context.scene)
        return {"FINISHED"}


CLASSES = (GENEMAN_OT_rerun_from_mesh, GENEMAN_OT_keep_texture, GENEMAN_OT_texture_selected)
