# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconstruct, cancel, run a stage again, look into a stage.

Network orders are no undo steps: undo cannot take them back. What they bring becomes steps.
"""

from pathlib import Path
from typing import Any

import bpy

from . import photo, recipe_form, session
from .naming import stage_title
from .translations import told


def job_here(context: Any) -> str:
    """Give the id of the scene's job, or nothing."""
    return str(context.scene.geneman.job)


def row_here(context: Any) -> Any:
    """Give what the model knows of the scene's job; None without one."""
    here, job = session.known(), job_here(context)
    return here.model.job(job) if here is not None and job else None


def is_open(row: Any | None) -> bool:
    """Say whether a job runs or waits."""
    return row is not None and row.job.state in ("queued", "running", "cancelling")


def refused(operator: Any, reason: str) -> bool:
    """Tell why a button is grey; always false."""
    operator.poll_message_set(reason)
    return False


def can_order(operator: Any) -> bool:
    """Say whether the backend takes orders now, and if not tell why."""
    here = session.known()
    if here is None or here.client is None:
        return refused(operator, "The backend is not running: start it first")
    if not here.model.backend.ready:
        return refused(operator, here.model.backend.sentence)
    return True


def can_run_again(operator: Any, context: Any) -> bool:
    """Say whether the scene's job can be run again, and if not tell why."""
    if not can_order(operator):
        return False
    row = row_here(context)
    if row is None:
        return refused(operator, "Nothing has been reconstructed in this scene yet")
    if is_open(row):
        return refused(operator, "The job must have ended: wait for it or cancel it")
    return True


def wish_of(context: Any) -> Any:
    """Give what the scene asks for, as an order for the client.

    Raises:
        SceneError: Nothing is left of the painted mask.
    """
    from .orders import NewJob

    wanted = context.scene.geneman
    path = Path(bpy.path.abspath(wanted.photo))
    mask = photo.painted_mask(wanted.mask) if wanted.mask is not None else None
    return NewJob(
        path,
        label=path.stem[:200],
        preset=wanted.preset,
        recipe=recipe_form.changes(context.scene, wanted.preset),
        prompt=wanted.prompt,
        seed=wanted.seed,
        mask=mask,
    )


class GENEMAN_OT_reconstruct(bpy.types.Operator):
    """The one obvious button."""

    bl_idname = "geneman.reconstruct"
    bl_label = "Reconstruct from Photo"
    bl_description = "Make a 3D person from the photo, and watch it grow in the viewport"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if not session.can_work():
            return refused(cls, session.NO_WINDOW)
        wanted = context.scene.geneman
        if not wanted.photo:
            return refused(cls, "Choose a photo first")
        if photo.readable(wanted.photo) is None:
            return refused(cls, told("The photo is not there any more: {path}", path=wanted.photo))
        if is_open(row_here(context)):
            return refused(cls, "This scene's person is being made: wait for it or cancel it")
        here = session.known()
        if here is not None and not here.service.installed:
            return refused(cls, here.model.backend.sentence)
        return True

    def execute(self, context: Any) -> set[str]:
        """Send the photo; a backend that does not run is started first."""
        from .scene_import import SceneError

        here = session.current()
        if not here.service.installed:
            self.report({"ERROR"}, here.model.backend.sentence)
            return {"CANCELLED"}
        try:
            wish = wish_of(context)
        except SceneError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        here.reconstruct(wish, context.scene)
        if context.area is not None and context.area.type == "VIEW_3D":
            _let_textures_be_seen(context.area.spaces.active.shading)
        session.wake()
        return {"FINISHED"}


def _let_textures_be_seen(shading: Any) -> None:
    """Have a viewport that is as Blender opens it show textures; what somebody chose stays."""
    if shading.type == "SOLID" and shading.color_type == "MATERIAL":
        shading.color_type = "TEXTURE"


class GENEMAN_OT_cancel(bpy.types.Operator):
    """Stops a job."""

    bl_idname = "geneman.cancel"
    bl_label = "Cancel"
    bl_description = "Stop at the next step; what is finished stays, and Re-run goes on from there"

    job: bpy.props.StringProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        here = session.known()
        if here is not None and here.waiting is not None:
            return True
        return can_order(cls)

    def execute(self, context: Any) -> set[str]:
        """Cancel the job that was named, or the scene's."""
        here, job = session.current(), self.job or job_here(context)
        if here.waiting is not None and not self.job:
            here.waiting = None
        elif here.client is not None and is_open(here.model.job(job)):
            here.client.cancel(job)
        return {"FINISHED"}


class GENEMAN_OT_rerun_stage(bpy.types.Operator):
    """Runs a stage and those after it again."""

    bl_idname = "geneman.rerun_stage"
    bl_label = "Re-run"
    bl_description = "Run this stage and those after it again, with the settings as they are now"

    stage: bpy.props.StringProperty(options={"SKIP_SAVE", "HIDDEN"})
    discard: bpy.props.BoolProperty(
        name="Discard What Was Made by Hand",
        description="Compute stages anew whose results were edited",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, _context: Any, given: Any) -> str:
        """Name the stage."""
        text = "Run {stage} and the stages after it again, with the settings as they are now"
        return told(text, stage=stage_title(given.stage))

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        return can_run_again(cls, context)

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Ask before something made by hand is lost."""
        if not edited_from(context, self.stage):
            return self.execute(context)
        self.discard = True
        return ask_to_discard(self, context, event)

    def execute(self, context: Any) -> set[str]:
        """Send the order."""
        from .orders import Again

        job, wanted = job_here(context), context.scene.geneman
        again = Again(
            start=self.stage or None,
            preset=wanted.preset,
            recipe=recipe_form.changes(context.scene, wanted.preset),
            prompt=wanted.prompt,
            seed=wanted.seed,
            discard=edited_from(context, self.stage) if self.discard else (),
        )
        run_again(context, job, again)
        return {"FINISHED"}


def edited_from(context: Any, stage: str) -> tuple[str, ...]:
    """Name the stages from this one on whose results were made by hand."""
    rows = session.current().model.stage_rows(job_here(context))
    names = [row.name for row in rows]
    first = names.index(stage) if stage in names else 0
    return tuple(row.name for row in rows[first:] if row.edited)


def ask_to_discard(operator: Any, context: Any, event: Any) -> set[str]:
    """Ask before something made by hand is lost, and only then let the operator run."""
    found: set[str] = context.window_manager.invoke_confirm(
        operator,
        event,
        title="Discard What You Made by Hand?",
        message="It would be computed again",
        confirm_text="Discard and Re-run",
    )
    return found


def run_again(context: Any, job: str, again: Any) -> None:
    """Send a re-run, and let its results come to this scene."""
    here = session.current()
    here.notice = None
    if here.arrivals.linked(job) is None:
        here.arrivals.link(job, "Person", context.scene)
    if again.preset is not None:
        here.note_run(job, again)
    if here.client is not None:
        here.client.rerun(job, again)


class GENEMAN_OT_dismiss(bpy.types.Operator):
    """Puts a message away."""

    bl_idname = "geneman.dismiss"
    bl_label = "Dismiss"
    bl_description = "Put this message away"

    def execute(self, _context: Any) -> set[str]:
        """Forget the notice."""
        session.current().notice = None
        return {"FINISHED"}


class GENEMAN_OT_use_quickest(bpy.types.Operator):
    """Goes back to the settings that ask least of the machine."""

    bl_idname = "geneman.use_quickest"
    bl_label = "Use Quickest Settings"
    bl_description = "Choose the quickest quality, with its settings as they come"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender's way)

    def execute(self, context: Any) -> set[str]:
        """Choose it; setting the quality loads its settings."""
        here = session.current()
        here.notice = None
        welcome = here.model.welcome
        if welcome is not None and welcome.presets:
            context.scene.geneman.preset = next(iter(welcome.presets))
        return {"FINISHED"}


CLASSES = (
    GENEMAN_OT_reconstruct,
    GENEMAN_OT_cancel,
    GENEMAN_OT_rerun_stage,
    GENEMAN_OT_dismiss,
    GENEMAN_OT_use_quickest,
)
