# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at the result: through the photo's camera, around it, stage by stage; and its export."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import photo, session
from .naming import stage_title
from .operators import can_order, can_run_again, job_here, refused
from .operators_photo import found_mask, show_in_editor
from .scene_import import (
    LIVE_IMAGE,
    SHOWN,
    SceneError,
    edited_image,
    marked,
    of_job,
    person_of,
)
from .translations import told

PICTURES = {
    "prepare": ("cut_out.png", "normal.png", "depth.png", "mask.png"),
    "finish": ("preview.png",),
}
"""What a stage's result looks like, where it has pictures; the first is shown."""
INSPECTED = "inspected"
SURFACES = ("sculpt", "pixel_texture")
"""Stages whose results are shown in the viewport."""


def person_here(operator: Any, context: Any) -> Any:
    """Give the scene's person, or tell that there is none."""
    person = person_of(job_here(context)) if job_here(context) else None
    if person is None:
        refused(operator, "There is no reconstructed person in this scene")
    return person


class GENEMAN_OT_inspect(bpy.types.Operator):
    """Shows what a stage made."""

    bl_idname = "geneman.inspect"
    bl_label = "Inspect"
    bl_description = "Show this stage's result"

    stage: bpy.props.StringProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def description(cls, _context: Any, given: Any) -> str:
        """Name the stage and where it is shown."""
        title = stage_title(given.stage)
        if given.stage in SURFACES:
            return told("Show the result of {stage} in the viewport", stage=title)
        return told("Show the result of {stage} in an Image Editor", stage=title)

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        return can_order(cls)

    def execute(self, context: Any) -> set[str]:
        """Fetch it and show it."""
        here, job, stage = session.current(), job_here(context), self.stage
        if here.client is None:
            return {"CANCELLED"}
        if stage in PICTURES:
            name = f"{stage}/{PICTURES[stage][0]}"
            here.fetch(job, name, lambda _: inspect_file(job, stage, here.file_of(job, name)))
        elif stage in SURFACES:
            if here.arrivals.linked(job) is None:
                here.arrivals.link(job, "Person", context.scene)
            here.arrivals.bring_back(job)
            here.show(job, stage)
        elif LIVE_IMAGE in bpy.data.images:
            show_in_editor(context, bpy.data.images[LIVE_IMAGE])
        return {"FINISHED"}


def inspect_file(job: str, stage: str, path: Path) -> None:
    """Show a stage's picture in an Image Editor; one image serves all, so that none pile up."""
    old = next(of_job(bpy.data.images, job, f"{INSPECTED} {stage}"), None)
    if old is not None:
        old.reload()
    else:
        old = bpy.data.images.load(str(path))
        marked(old, job, f"{INSPECTED} {stage}").name = f"GeneMAN {stage_title(stage)}"
    show_in_editor(bpy.context, old)


class GENEMAN_OT_match_camera(bpy.types.Operator):
    """Looks through the photo's camera."""

    bl_idname = "geneman.match_camera"
    bl_label = "Match Photo Camera"
    bl_description = (
        "Look at the person as the photo's camera did, with the photo behind; "
        "the scene's resolution becomes the photo's"
    )
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender's way)

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if person_here(cls, context) is None:
            return False
        if found_mask(context) is None:
            return refused(cls, "The mask has not been fetched: press Show in Scene")
        return True

    def execute(self, context: Any) -> set[str]:
        """Place the camera."""
        from .photo_camera import match_camera
        from .placement import CAMERA, PhotoFrame

        job, welcome = job_here(context), session.current().model.welcome
        person, mask = person_of(job), edited_image(found_mask(context))
        lens = welcome.camera if welcome is not None and welcome.camera is not None else CAMERA
        levels = mask.flat.reshape(mask.height, mask.width, mask.channels)[::-1, :, 0] * 255
        try:
            frame = PhotoFrame.around(levels.astype(np.uint8))
        except ValueError as error:
            self.report({"ERROR"}, told("The camera cannot be matched: {error}", error=str(error)))
            return {"CANCELLED"}
        try:
            behind = photo.upright_photo(context.scene.geneman.photo)
        except SceneError as error:
            self.report({"WARNING"}, str(error))
            behind = None
        match_camera(job, person, context.scene, frame, lens, behind)
        area = context.area
        if area is not None and area.type == "VIEW_3D":
            area.spaces.active.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class GENEMAN_OT_add_turntable(bpy.types.Operator):
    """Lets a camera circle the person."""

    bl_idname = "geneman.add_turntable"
    bl_label = "Add Turntable"
    bl_description = "Let a camera circle the person; play the animation to see it from all sides"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender's way)

    frames: bpy.props.IntProperty(
        name="Frames", description="Length of a full turn", default=96, min=2, max=10_000
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        return person_here(cls, context) is not None

    def execute(self, context: Any) -> set[str]:
        """Add it."""
        from .photo_camera import add_turntable

        job = job_here(context)
        add_turntable(job, context.scene, person_of(job), self.frames)
        return {"FINISHED"}


class GENEMAN_OT_compare_stages(bpy.types.Operator):
    """Keeps a copy of what the person looks like now, beside it."""

    bl_idname = "geneman.compare_stages"
    bl_label = "Keep a Copy Beside"
    bl_description = (
        "Put a copy of the person as it is now beside it, so that stages, "
        "or yours and the next result, can be compared"
    )
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender's way)

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        return person_here(cls, context) is not None

    def execute(self, context: Any) -> set[str]:
        """Copy it."""
        from .comparing import copy_beside

        job = job_here(context)
        copy_beside(job, person_of(job), context.scene)
        return {"FINISHED"}


class GENEMAN_OT_stages_beside(bpy.types.Operator):
    """Puts what the stages made beside the person."""

    bl_idname = "geneman.stages_beside"
    bl_label = "Stages Side by Side"
    bl_description = "Put what each finished stage made beside the person, to compare them"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        return person_here(cls, context) is not None and can_run_again(cls, context)

    def execute(self, context: Any) -> set[str]:
        """Ask for what is not shown; it comes as live surfaces do."""
        here, job = session.current(), job_here(context)
        shown = str(person_of(job).get(SHOWN, ""))
        same = {shown, "pixel_texture"} if shown == "finish" else {shown}
        if here.arrivals.linked(job) is None:
            here.arrivals.link(job, "Person", context.scene)
        for stage in here.model.stage_rows(job):
            if stage.name in SURFACES and stage.has_result and stage.name not in same:
                here.show_beside(job, stage.name)
        if context.area is not None and context.area.type == "VIEW_3D":
            shading = context.area.spaces.active.shading
            if shading.light == "FLAT":
                shading.light = "STUDIO"  # a sculpture without lights is a white patch
        return {"FINISHED"}


class GENEMAN_OT_show_texture(bpy.types.Operator):
    """Lets the viewport show the texture alone, or the form alone."""

    bl_idname = "geneman.show_texture"
    bl_label = "Show Texture"
    bl_description = "Let this viewport show textures without lights"

    clay: bpy.props.BoolProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def description(cls, _context: Any, given: Any) -> str:
        """Say which of the two."""
        if given.clay:
            return told("Let this viewport show the form in clay, without textures")
        return told("Let this viewport show textures without lights")

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only viewports have shading."""
        if context.area is None or context.area.type != "VIEW_3D":
            return refused(cls, "Only a 3D viewport can show it")
        return True

    def execute(self, context: Any) -> set[str]:
        """Set the shading."""
        shading = context.area.spaces.active.shading
        shading.type = "SOLID"
        shading.color_type = "SINGLE" if self.clay else "TEXTURE"
        shading.light = "STUDIO" if self.clay else "FLAT"
        return {"FINISHED"}


class GENEMAN_OT_export_gltf(bpy.types.Operator):
    """Writes the person as it stands in the scene."""

    bl_idname = "geneman.export_gltf"
    bl_label = "Export glTF"
    bl_description = (
        "Write the person with its texture as a .glb file, in metres, facing forward, "
        "with its feet at the origin"
    )

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(default="*.glb", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if person_here(cls, context) is None:
            return False
        if context.mode != "OBJECT":
            return refused(cls, "Switch to Object Mode first")
        return True

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Ask where to."""
        self.filepath = f"{person_of(job_here(context)).name}.glb"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Any) -> set[str]:
        """Write it."""
        path = bpy.path.ensure_ext(bpy.path.abspath(self.filepath), ".glb")
        person = person_of(job_here(context))
        # In Blender 4.2 whoever reads this makes bpy.context belong to the scene of that moment,
        # long after its file was closed; the exporter then tags freed memory. Read again, it is
        # the scene of now.
        _ = bpy.context.tool_settings
        with only_selected(context, person), at_the_origin(person):
            try:
                bpy.ops.export_scene.gltf(
                    filepath=path,
                    export_format="GLB",
                    use_selection=True,
                    export_apply=True,
                    export_animations=False,
                    export_cameras=False,
                    export_extras=False,
                )
            except (RuntimeError, OSError) as error:
                text = "The file could not be written: {error}"
                self.report({"ERROR"}, told(text, error=str(error)))
                return {"CANCELLED"}
        self.report({"INFO"}, told("Wrote {name}", name=Path(path).name))
        return {"FINISHED"}


@contextmanager
def only_selected(context: Any, found: Any) -> Iterator[None]:
    """Select nothing but one object for a while."""
    layer = context.view_layer
    selected = [one for one in layer.objects if one.select_get()]
    active = layer.objects.active
    for one in selected:
        one.select_set(False)
    found.select_set(True)
    layer.objects.active = found
    try:
        yield
    finally:
        found.select_set(False)
        for one in selected:
            one.select_set(True)
        layer.objects.active = active


@contextmanager
def at_the_origin(found: Any) -> Iterator[None]:
    """Let an object stand at the origin for a while: where it stands in the scene is chance."""
    place = found.location.copy()
    found.location = (0.0, 0.0, 0.0)
    try:
        yield
    finally:
        found.location = place


CLASSES = (
    GENEMAN_OT_inspect,
    GENEMAN_OT_match_camera,
    GENEMAN_OT_add_turntable,
    GENEMAN_OT_compare_stages,
    GENEMAN_OT_stages_beside,
    GENEMAN_OT_show_texture,
    GENEMAN_OT_export_gltf,
)
