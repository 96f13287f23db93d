# SPDX-License-Identifier: GPL-3.0-or-later
"""The photo: choose, paste, drop; and the mask painted on it."""

import time
from pathlib import Path
from typing import Any

import bpy

from . import photo, session
from .operators import (
    ask_to_discard,
    can_run_again,
    edited_from,
    job_here,
    refused,
    run_again,
)
from .scene_import import SceneError, of_job
from .translations import told

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".heic", ".heif")
ADD, ERASE = "ADD_ALPHA", "ERASE_ALPHA"
"""Blend modes of Blender's brushes that change nothing but opacity."""


class TakesPhoto:
    """Takes a picture file as the photo."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender's way)

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(
        default=";".join(f"*{kind}" for kind in KINDS), options={"HIDDEN"}
    )

    def invoke(self: Any, context: Any, _event: Any) -> set[str]:
        """Ask for the file, unless one was dropped."""
        if self.filepath:
            return self.execute(context)  # type: ignore[no-any-return]
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self: Any, context: Any) -> set[str]:
        """Take it."""
        path = Path(bpy.path.abspath(self.filepath))
        if path.suffix.lower() not in KINDS:
            text = (
                "A photo must be a png, jpeg, webp or heic file, but got '{name}': "
                "save the picture as one of these"
            )
            self.report({"ERROR"}, told(text, name=path.name))
            return {"CANCELLED"}
        context.scene.geneman.photo = str(path)
        return {"FINISHED"}


class GENEMAN_OT_choose_photo(TakesPhoto, bpy.types.Operator):
    """Asks for the photo's file."""

    bl_idname = "geneman.choose_photo"
    bl_label = "Choose Photo"
    bl_description = "Choose the picture of a person to reconstruct"


class GENEMAN_OT_drop_photo(TakesPhoto, bpy.types.Operator):
    """Has a name that says enough in Blender's menu of all that a dropped picture may become."""

    bl_idname = "geneman.drop_photo"
    bl_label = "Use as GeneMAN's Photo"
    bl_description = "Reconstruct the person on the picture that was dropped"


class GENEMAN_FH_photo(bpy.types.FileHandler):
    """Lets a picture be dropped onto the viewport or its sidebar.

    Blender's own handler offers an image Empty, too, so Blender asks which it shall be.
    """

    bl_idname = "GENEMAN_FH_photo"
    bl_label = "Photo of a Person for GeneMAN"
    bl_import_operator = "geneman.drop_photo"
    bl_file_extensions = ";".join(KINDS)

    @classmethod
    def poll_drop(cls, context: Any) -> bool:
        """Say whether it was dropped onto a viewport."""
        return context.area is not None and context.area.type == "VIEW_3D"


class GENEMAN_OT_paste_photo(bpy.types.Operator):
    """Takes the picture in the clipboard, or the file whose path is there."""

    bl_idname = "geneman.paste_photo"
    bl_label = "Paste Photo"
    bl_description = "Take the picture, or the picture file, that was copied to the clipboard"

    def execute(self, context: Any) -> set[str]:
        """Take it; a picture without a file is written to one, for the backend reads files.

        Whether there is one is asked only now: another program owns the clipboard, and a panel
        that asked at every drawing would wait for it.
        """
        path = _copied_file(context)
        pasted = _pasted_picture() if path is None else None
        if pasted is not None:
            folder = session.current().service.site.folder / "pasted"
            folder.mkdir(exist_ok=True)
            path = folder / time.strftime("pasted %Y-%m-%d %H-%M-%S.png")
            pasted.filepath_raw, pasted.file_format = str(path), "PNG"
            pasted.save()
            bpy.data.images.remove(pasted)
        if path is None:
            self.report({"ERROR"}, "There is no picture in the clipboard, nor the path of one")
            return {"CANCELLED"}
        context.scene.geneman.photo = str(path)
        bpy.ops.ed.undo_push(message="Paste Photo")
        return {"FINISHED"}


def _pasted_picture() -> Any | None:
    """Give the clipboard's picture as an image; None if there is none, or no window to ask."""
    if not bpy.ops.image.clipboard_paste.poll():
        return None
    before = set(bpy.data.images.keys())
    try:
        bpy.ops.image.clipboard_paste()
    except RuntimeError:  # it reports that nothing is there
        return None
    return next((image for image in bpy.data.images if image.name not in before), None)


def _copied_file(context: Any) -> Path | None:
    text = context.window_manager.clipboard.strip().strip('"').removeprefix("file://")
    if not text or "\n" in text or not text.lower().endswith(KINDS):
        return None
    return Path(text) if Path(text).is_file() else None


# ---- mask -------------------------------------------------------------------------------------


def found_mask(context: Any) -> Any | None:
    """Give the mask that Prepare found for the scene's person, as an image."""
    job = job_here(context)
    return next(of_job(bpy.data.images, job, photo.MASK), None) if job else None


class GENEMAN_OT_paint_mask(bpy.types.Operator):
    """Opens the mask in an Image Editor, ready to paint."""

    bl_idname = "geneman.paint_mask"
    bl_label = "Paint Mask"
    bl_description = "Paint by hand which part of the photo is the person"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if photo.readable(context.scene.geneman.photo) is None:
            return refused(cls, "Choose a photo first")
        return True

    def execute(self, context: Any) -> set[str]:
        """Make the ground to paint on, beginning with the mask that was found."""
        import numpy as np

        wanted, known = context.scene.geneman, found_mask(context)
        if wanted.mask is None:
            values = None
            if known is not None and known.size[0]:
                width, height = known.size
                flat = np.empty(width * height * known.channels, np.float32)
                known.pixels.foreach_get(flat)
                values = flat.reshape(height, width, known.channels)[..., 0]
            try:
                wanted.mask = photo.paint_ground(wanted.photo, values)
            except SceneError as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
        bpy.ops.ed.undo_push(message="Paint Mask")
        show_in_editor(context, wanted.mask, paint=True)
        return {"FINISHED"}


class GENEMAN_OT_clear_mask(bpy.types.Operator):
    """Forgets the painted mask."""

    bl_idname = "geneman.clear_mask"
    bl_label = "Forget Painted Mask"
    bl_description = "Let the backend find the person again"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender's way)

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if context.scene.geneman.mask is None:
            return refused(cls, "No mask has been painted")
        return True

    def execute(self, context: Any) -> set[str]:
        """Forget it."""
        context.scene.geneman.mask = None
        return {"FINISHED"}


class GENEMAN_OT_mask_brush(bpy.types.Operator):
    """Lets the brush add to the mask or take from it."""

    bl_idname = "geneman.mask_brush"
    bl_label = "Mask Brush"
    bl_description = "Let the brush add to the person, or take from it"

    erase: bpy.props.BoolProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def description(cls, _context: Any, given: Any) -> str:
        """Say which of the two."""
        if given.erase:
            return told("Let the brush take from what counts as the person")
        return told("Let the brush add to what counts as the person")

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if context.scene.tool_settings.image_paint.brush is None:
            return refused(cls, "Choose a brush in the Image Editor first")
        return True

    def execute(self, context: Any) -> set[str]:
        """Set the brush's blend mode."""
        context.scene.tool_settings.image_paint.brush.blend = ERASE if self.erase else ADD
        return {"FINISHED"}


class GENEMAN_OT_rerun_from_mask(bpy.types.Operator):
    """Runs everything again with the painted mask."""

    bl_idname = "geneman.rerun_from_mask"
    bl_label = "Re-run from Painted Mask"
    bl_description = "Run all stages again, with the person where you painted it"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if context.scene.geneman.mask is None:
            return refused(cls, "Paint the mask first")
        return can_run_again(cls, context)

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Ask before a sculpted mesh or a painted texture is lost."""
        if set(edited_from(context, "prepare")) <= {"prepare"}:
            return self.execute(context)
        return ask_to_discard(self, context, event)

    def execute(self, context: Any) -> set[str]:
        """Send the order."""
        from .orders import Again

        mask = context.scene.geneman.mask
        try:
            painted = photo.painted_mask(mask)
        except SceneError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        again = Again(mask=painted, discard=("prepare", *edited_from(context, "prepare")))
        run_again(context, job_here(context), again)
        return {"FINISHED"}


def show_in_editor(context: Any, image: Any, *, paint: bool = False) -> None:
    """Show an image in an Image Editor: one that is open, else in a new window."""
    if bpy.app.background:
        return
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "IMAGE_EDITOR":
                _show(area, image, paint=paint)
                return
    bpy.ops.wm.window_new()
    area = context.window_manager.windows[-1].screen.areas[0]
    area.type = "IMAGE_EDITOR"
    _show(area, image, paint=paint)


def _show(area: Any, image: Any, *, paint: bool) -> None:
    space = area.spaces.active
    space.image = image
    space.ui_mode = "PAINT" if paint else "VIEW"
    area.tag_redraw()


CLASSES = (
    GENEMAN_OT_choose_photo,
    GENEMAN_OT_drop_photo,
    GENEMAN_FH_photo,
    GENEMAN_OT_paste_photo,
    GENEMAN_OT_paint_mask,
    GENEMAN_OT_clear_mask,
    GENEMAN_OT_mask_brush,
    GENEMAN_OT_rerun_from_mask,
)
