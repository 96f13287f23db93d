# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue and the history: order, remove, show, recall."""

from typing import Any

import bpy

from . import recipe_form, session
from .operators import can_order, is_open, job_here, refused


def chosen_row(context: Any) -> Any:
    """Give the job that is chosen in the list; None without one."""
    here, window = session.known(), context.window_manager.geneman
    if here is None or not 0 <= window.job_index < len(window.jobs):
        return None
    return here.model.job(window.jobs[window.job_index].job)


class _OfChosenJob(bpy.types.Operator):
    """What can be done with the chosen job; not registered itself."""

    bl_idname = "geneman.of_chosen_job"
    bl_label = ""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if not can_order(cls):
            return False
        row = chosen_row(context)
        if row is None:
            return refused(cls, "Choose a job in the list first")
        reason = cls.reason(row)
        return refused(cls, reason) if reason else True

    @classmethod
    def reason(cls, _row: Any) -> str:
        """Say why it cannot be done with this job; empty if it can."""
        return ""


class GENEMAN_OT_move_job(_OfChosenJob):
    """Moves a waiting job."""

    bl_idname = "geneman.move_job"
    bl_label = "Move Job"
    bl_description = "Let this job wait for a shorter or longer time"

    up: bpy.props.BoolProperty(options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def reason(cls, row: Any) -> str:
        """Only waiting jobs have a place."""
        return "" if row.job.position else "Only a job that waits can be moved"

    def execute(self, context: Any) -> set[str]:
        """Send the order."""
        here, row = session.current(), chosen_row(context)
        if row is not None and here.client is not None:
            here.client.move(row.job.id, max(1, row.job.position + (-1 if self.up else 1)))
        return {"FINISHED"}


class GENEMAN_OT_remove_job(_OfChosenJob):
    """Removes an ended job, or cancels an open one."""

    bl_idname = "geneman.remove_job"
    bl_label = "Remove Job"
    bl_description = "Forget this job and delete its files in the backend; the scene keeps its own"

    @classmethod
    def reason(cls, row: Any) -> str:
        """Only ended jobs can be forgotten."""
        return "Cancel the job first" if is_open(row) else ""

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Ask first: the files cannot be brought back."""
        found: set[str] = context.window_manager.invoke_confirm(
            self, event, title="Remove Job", message="Its files in the backend will be deleted",
            confirm_text="Remove",
        )  # fmt: skip
        return found

    def execute(self, context: Any) -> set[str]:
        """Send the order."""
        here, row = session.current(), chosen_row(context)
        if row is not None and here.client is not None:
            here.client.remove(row.job.id)
        return {"FINISHED"}


class GENEMAN_OT_remove_ended(bpy.types.Operator):
    """Removes all ended jobs."""

    bl_idname = "geneman.remove_ended"
    bl_label = "Remove Ended Jobs"
    bl_description = "Forget all jobs that have ended, but not this scene's, and delete their files"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        return can_order(cls)

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Ask first: the files cannot be brought back."""
        found: set[str] = context.window_manager.invoke_confirm(
            self, event, title="Remove Ended Jobs", confirm_text="Remove",
            message="Their files in the backend will be deleted",
        )  # fmt: skip
        return found

    def execute(self, context: Any) -> set[str]:
        """Send the orders."""
        here = session.current()
        here.notice = None
        for row in here.model.history:
            if here.client is not None and row.job.id != job_here(context):
                here.client.remove(row.job.id)
        return {"FINISHED"}


class GENEMAN_OT_cancel_job(_OfChosenJob):
    """Cancels the chosen job."""

    bl_idname = "geneman.cancel_job"
    bl_label = "Cancel Job"
    bl_description = "Stop this job; what is finished stays"

    @classmethod
    def reason(cls, row: Any) -> str:
        """Only open jobs can be cancelled."""
        return "" if is_open(row) else "The job has ended already"

    def execute(self, context: Any) -> set[str]:
        """Send the order."""
        here, row = session.current(), chosen_row(context)
        if row is not None and here.client is not None:
            here.client.cancel(row.job.id)
        return {"FINISHED"}


class GENEMAN_OT_show_job(_OfChosenJob):
    """Brings a job's result into this scene."""

    bl_idname = "geneman.show_job"
    bl_label = "Show in Scene"
    bl_description = "Bring this job's person into the scene, and let its further work be seen here"

    def execute(self, context: Any) -> set[str]:
        """Link the job to this scene, and ask for what it has."""
        row = chosen_row(context)
        if row is not None:
            show(context, row.job)
        return {"FINISHED"}


class GENEMAN_OT_show_person(bpy.types.Operator):
    """Brings the scene's person back."""

    bl_idname = "geneman.show_person"
    bl_label = "Show in Scene"
    bl_description = "Bring the person back into the scene, as its last finished stage made it"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        if not can_order(cls):
            return False
        return bool(job_here(context)) or refused(cls, "Nothing has been reconstructed here yet")

    def execute(self, context: Any) -> set[str]:
        """Ask for what the job has."""
        here = session.current()
        row = here.model.job(job_here(context))
        if row is None:
            self.report({"ERROR"}, "The backend does not have this person's job any more")
            return {"CANCELLED"}
        show(context, row.job)
        return {"FINISHED"}


def note_recalled(job: str, outcome: Any) -> None:
    """Let a person that is shown again keep what the backend remembers of its run."""
    wish = getattr(outcome.reply, "wish", None)
    if wish is not None:
        session.current().note_run(job, wish)


SHOWABLE = {
    "finish/model.glb": "finish",
    "pixel_texture/mesh.safetensors": "pixel_texture",
    "sculpt/mesh.safetensors": "sculpt",
}
"""Files that are surfaces, and their stages, the last first."""


def show(context: Any, job: Any) -> None:
    """Let a job's results come to this scene, beginning with the last finished one."""
    here = session.current()
    here.arrivals.link(job.id, job.label or "Person", context.scene)
    here.arrivals.bring_back(job.id)
    if here.client is not None:
        recalled = here.client.recall(job.id)  # answered before the surface, which is larger
        here.when_done(recalled, lambda outcome: note_recalled(job.id, outcome))
    files = {artefact.name for artefact in job.artefacts}
    stage = next((stage for name, stage in SHOWABLE.items() if name in files), None)
    if stage is not None:
        here.show(job.id, stage)
    here.bring(job)


class GENEMAN_OT_recall_settings(_OfChosenJob):
    """Recalls what a job was made with."""

    bl_idname = "geneman.recall_settings"
    bl_label = "Recall Settings"
    bl_description = "Set photo, quality, settings, prompt and seed to those of this job"

    def execute(self, context: Any) -> set[str]:
        """Ask the backend, and fill the form when it answers."""
        here, row = session.current(), chosen_row(context)
        if row is None or here.client is None:
            return {"CANCELLED"}
        scene, job = context.scene.name, row.job.id

        def fill(outcome: Any) -> None:
            found, wish = bpy.data.scenes.get(scene), getattr(outcome.reply, "wish", None)
            if found is None or wish is None:
                return
            origin = here.history.get(job)
            recall(found, wish, origin.photo if origin is not None else "")
            bpy.ops.ed.undo_push(message="Recall Settings")

        here.when_done(here.client.recall(job), fill)
        return {"FINISHED"}


def recall(scene: Any, wish: Any, photo_path: str) -> None:
    """Fill a scene's form from what a job was asked to do."""
    wanted = scene.geneman
    if photo_path:
        wanted.photo = photo_path
    wanted.preset, wanted.prompt, wanted.seed = wish.preset, wish.prompt, wish.seed
    recipe_form.load(scene, wish.preset, wish.recipe)


CLASSES = (
    GENEMAN_OT_move_job,
    GENEMAN_OT_remove_job,
    GENEMAN_OT_remove_ended,
    GENEMAN_OT_cancel_job,
    GENEMAN_OT_show_job,
    GENEMAN_OT_show_person,
    GENEMAN_OT_recall_settings,
)
