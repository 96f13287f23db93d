# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between Blender and the backend, each with its sentence and its button."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from .wording import Say, as_written


class Remedy(enum.StrEnum):
    """What the button beside a sentence does; the panel knows one operator for each."""

    NONE = "none"
    """Nothing but waiting helps, or the sentence says what to do elsewhere."""
    SET_UP = "set_up"
    """Set Up Backend."""
    START = "start"
    """Start Backend."""
    RESTART = "restart"
    """Stop the backend if it is there, and start it anew."""
    CONNECT = "connect"
    """Connect to another backend: open the preferences."""
    RETRY = "retry"
    """Ask for the same thing again."""
    OPEN_LOG = "open_log"
    """Show the log file."""
    ALLOW_ONLINE = "allow_online"
    """Open the preference Allow Online Access."""
    FREE_DISK = "free_disk"
    """Open the folder that lacks space."""
    CHOOSE_PHOTO = "choose_photo"
    UPDATE_ADDON = "update_addon"
    REMOVE_JOBS = "remove_jobs"
    """Open the history, where old jobs can be removed."""
    CHANGE_SETTINGS = "change_settings"
    """A smaller preset or other settings."""
    REPORT = "report"
    """Copy what those who mend it need to know."""


@dataclass(frozen=True)
class Trouble:
    """Something that does not work, for people."""

    text: str
    """Rule, value and remedy in one sentence, in English; `values` go where its braces are."""
    remedy: Remedy = Remedy.NONE
    """The button that helps."""
    detail: str = ""
    """For a report, such as the last lines of a log or a traceback; may be long."""
    values: Mapping[str, object] = field(default_factory=dict)
    """None: braces in the text are its own, as it came from elsewhere."""
    also: "Trouble | None" = None
    """A second sentence, whose remedy is of no interest."""

    @property
    def sentence(self) -> str:
        """The whole in English, as reports and logs have it."""
        return self.told(as_written)

    def told(self, say: Say) -> str:
        """Give the whole in the reader's language."""
        said = say(self.text)
        if self.values:
            words = {n: say(v) if isinstance(v, str) else v for n, v in self.values.items()}
            said = said.format(**words)
        return said if self.also is None else f"{said} {self.also.told(say)}"


class TroubleError(Exception):
    """Raised inside the add-on; carries its `Trouble`."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(trouble.sentence)
