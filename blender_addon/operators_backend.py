# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the backend: set up, start, stop, connect; and the button of each remedy."""

import platform
from typing import Any

import bpy

from . import session
from .operators import can_order, refused
from .translations import told


def service() -> Any:
    """Give the session's service."""
    return session.current().service


class GENEMAN_OT_set_up(bpy.types.Operator):
    """Makes the private environment."""

    bl_idname = "geneman.set_up"
    bl_label = "Set Up Backend"
    bl_description = (
        "Make a private Python environment in the add-on's folder and fetch the backend's "
        "packages into it, with the torch build for this machine"
    )

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        here = session.known()
        if here is not None and here.service.removing:
            return refused(cls, "The backend is being removed: wait a moment")
        if not bpy.app.online_access:
            return refused(cls, "Allow Online Access in the preferences first")
        return True

    def execute(self, _context: Any) -> set[str]:
        """Begin."""
        from .troubles import TroubleError

        try:
            service().begin_set_up(online=bpy.app.online_access)
        except TroubleError as error:
            session.current().notice = error.trouble
        session.wake()
        return {"FINISHED"}


class GENEMAN_OT_cancel_set_up(bpy.types.Operator):
    """Stops a set-up."""

    bl_idname = "geneman.cancel_set_up"
    bl_label = "Cancel Set Up"
    bl_description = "Stop, and remove what is not whole; downloads are kept for the next attempt"

    def execute(self, _context: Any) -> set[str]:
        """Cancel."""
        if service().set_up is not None:
            service().set_up.cancel()
        return {"FINISHED"}


class GENEMAN_OT_remove_backend(bpy.types.Operator):
    """Deletes the private environment."""

    bl_idname = "geneman.remove_backend"
    bl_label = "Remove Backend"
    bl_description = (
        "Stop the backend and delete its private environment with all downloads; "
        "jobs and their files stay"
    )

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        here = session.known()
        if here is None or not here.service.removable:
            return refused(cls, "The backend is not installed")
        if here.service.removing:
            return refused(cls, "The backend is being removed: wait a moment")
        if here.service.setting_up:
            return refused(cls, "The backend is being set up: cancel that first")
        return True

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Ask first: it takes minutes to fetch it again."""
        found: set[str] = context.window_manager.invoke_confirm(
            self, event, title="Remove Backend", confirm_text="Remove",
            message="Its packages would have to be fetched again",
        )  # fmt: skip
        return found

    def execute(self, _context: Any) -> set[str]:
        """Begin."""
        service().remove()
        session.wake()
        return {"FINISHED"}


class GENEMAN_OT_start(bpy.types.Operator):
    """Starts the backend, or connects to it."""

    bl_idname = "geneman.start"
    bl_label = "Start"
    bl_description = "Start the backend, if it is this machine's, and connect to it"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        here = session.known()
        if not session.can_work():
            return refused(cls, session.NO_WINDOW)
        if here is not None and not here.service.installed:
            return refused(cls, here.model.backend.sentence)
        return True

    def execute(self, _context: Any) -> set[str]:
        """Start."""
        service().start()
        session.wake()
        return {"FINISHED"}


class GENEMAN_OT_restart(bpy.types.Operator):
    """Starts the backend anew."""

    bl_idname = "geneman.restart"
    bl_label = "Restart"
    bl_description = "Stop the backend if it is there, and start it anew; jobs go on"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Tell what is missing."""
        return bool(GENEMAN_OT_start.poll(context))

    def execute(self, _context: Any) -> set[str]:
        """Restart."""
        service().restart()
        return {"FINISHED"}


class GENEMAN_OT_stop(bpy.types.Operator):
    """Stops the backend."""

    bl_idname = "geneman.stop"
    bl_label = "Stop"
    bl_description = (
        "Let this machine's backend write its checkpoint and end, or leave another machine's; "
        "jobs go on when it starts again"
    )

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        here = session.known()
        if here is None or not here.service.started:
            return refused(cls, "The backend is not running")
        return True

    def execute(self, _context: Any) -> set[str]:
        """Stop."""
        service().stop()
        return {"FINISHED"}


class GENEMAN_OT_free_memory(bpy.types.Operator):
    """Frees the device."""

    bl_idname = "geneman.free_memory"
    bl_label = "Free Memory"
    bl_description = "Give the device's memory back, for rendering; the next job takes it again"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        if not can_order(cls):
            return False
        here = session.known()
        if here is not None and any(row.job.state == "running" for row in here.model.queue):
            return refused(cls, "A job is running: wait for it or cancel it")
        return True

    def execute(self, _context: Any) -> set[str]:
        """Send the order."""
        here = session.current()
        if here.client is not None:
            here.client.free_memory()
        return {"FINISHED"}


class GENEMAN_OT_open_log(bpy.types.Operator):
    """Opens the log."""

    bl_idname = "geneman.open_log"
    bl_label = "Open Log"
    bl_description = "Show what the backend, or its set-up, has written"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Tell what is missing."""
        here = session.known()
        if here is None or here.service.log is None:
            return refused(cls, "There is no log on this machine yet")
        return True

    def execute(self, _context: Any) -> set[str]:
        """Open it in whatever program shows text here."""
        bpy.ops.wm.path_open(filepath=str(service().log))
        return {"FINISHED"}


class GENEMAN_OT_open_preferences(bpy.types.Operator):
    """Opens the add-on's preferences."""

    bl_idname = "geneman.open_preferences"
    bl_label = "Connect"
    bl_description = "Choose another backend in the preferences"

    def execute(self, _context: Any) -> set[str]:
        """Open them."""
        bpy.ops.preferences.addon_show(module=__package__)
        return {"FINISHED"}


class GENEMAN_OT_allow_online(bpy.types.Operator):
    """Opens the preference for online access."""

    bl_idname = "geneman.allow_online"
    bl_label = "Allow Online Access"
    bl_description = "Open Blender's preference, so that the backend's packages may be fetched"

    def execute(self, context: Any) -> set[str]:
        """Open the section with the tick."""
        bpy.ops.screen.userpref_show()
        context.preferences.active_section = "SYSTEM"
        return {"FINISHED"}


class GENEMAN_OT_open_folder(bpy.types.Operator):
    """Opens the add-on's folder."""

    bl_idname = "geneman.open_folder"
    bl_label = "Open Folder"
    bl_description = "Show the folder in which the add-on keeps everything"

    def execute(self, _context: Any) -> set[str]:
        """Open it."""
        bpy.ops.wm.path_open(filepath=str(service().site.folder))
        return {"FINISHED"}


class GENEMAN_OT_copy_key(bpy.types.Operator):
    """Copies our public key."""

    bl_idname = "geneman.copy_key"
    bl_label = "Copy This Machine's Key"
    bl_description = "For the other machine: geneman serve --authorize KEY lets this Blender in"

    def execute(self, context: Any) -> set[str]:
        """Make the key pair at the first use, and copy its public half."""
        from .connection import own_keys
        from .troubles import TroubleError

        try:
            context.window_manager.clipboard = own_keys(service().site.keys).public
        except TroubleError as error:
            self.report({"ERROR"}, error.trouble.told(told))
            return {"CANCELLED"}
        self.report({"INFO"}, "Copied this machine's public key")
        return {"FINISHED"}


class GENEMAN_OT_open_extensions(bpy.types.Operator):
    """Opens Blender's extensions."""

    bl_idname = "geneman.open_extensions"
    bl_label = "Update Add-on"
    bl_description = "Open Blender's extensions, where a newer GeneMAN can be installed"

    def execute(self, context: Any) -> set[str]:
        """Open them."""
        bpy.ops.screen.userpref_show()
        context.preferences.active_section = "EXTENSIONS"
        return {"FINISHED"}


class GENEMAN_OT_copy_report(bpy.types.Operator):
    """Copies everything that a report should say."""

    bl_idname = "geneman.copy_report"
    bl_label = "Copy Report"
    bl_description = "Copy what went wrong, in full, with all versions, to paste it into a report"

    text: bpy.props.StringProperty(options={"SKIP_SAVE", "HIDDEN"})

    def execute(self, context: Any) -> set[str]:
        """Copy it; without a text of its own it is about the message that is shown."""
        here, text = session.current(), self.text
        if not text:
            shown = here.notice or here.service.trouble or here.model.backend
            text = f"{shown.sentence}\n\n{shown.detail}"
        context.window_manager.clipboard = report_of(text)
        self.report({"INFO"}, "Copied the report")
        return {"FINISHED"}


def report_of(text: str) -> str:
    """Give a text with all versions and how the connection stands; no secrets."""
    here = session.current()
    facts = {
        "GeneMAN": here.service.site.version,
        "Blender": bpy.app.version_string,
        "system": platform.platform(),
    }
    facts |= here.client.describe() if here.client is not None else {}
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    return "\n".join([text.strip(), "", *lines])


REMEDIES = {
    "set_up": "geneman.set_up",
    "start": "geneman.start",
    "restart": "geneman.restart",
    "connect": "geneman.open_preferences",
    "open_log": "geneman.open_log",
    "allow_online": "geneman.allow_online",
    "free_disk": "geneman.open_folder",
    "update_addon": "geneman.open_extensions",
    "choose_photo": "geneman.choose_photo",
    "retry": "geneman.rerun_stage",
    "remove_jobs": "geneman.remove_ended",
    "change_settings": "geneman.use_quickest",
    "report": "geneman.copy_report",
}
"""The button of each `Remedy`; `none` has none."""

CLASSES = (
    GENEMAN_OT_set_up,
    GENEMAN_OT_cancel_set_up,
    GENEMAN_OT_remove_backend,
    GENEMAN_OT_start,
    GENEMAN_OT_restart,
    GENEMAN_OT_stop,
    GENEMAN_OT_free_memory,
    GENEMAN_OT_open_log,
    GENEMAN_OT_open_preferences,
    GENEMAN_OT_allow_online,
    GENEMAN_OT_open_folder,
    GENEMAN_OT_copy_key,
    GENEMAN_OT_open_extensions,
    GENEMAN_OT_copy_report,
)
