# SPDX-License-Identifier: GPL-3.0-or-later
"""Set Up Backend: a private environment from the bundled wheel, with the right torch.

It is built beside the current one and takes its place by the renaming of one small file, so that
whatever happens in between (cancel, crash, a full disk) leaves either the old one or the new.
Downloads stay in a cache, so that a second attempt goes on where the first ended.
"""

import shutil
import threading
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .building import LINES, Building, remove
from .commands import CancelledError
from .environment import CACHE, current
from .installers import failure, has_nvidia
from .set_up_plan import Plan, SetUpState, SetUpStatus, Step
from .troubles import Remedy, Trouble, TroubleError

__all__ = ["Plan", "Removal", "SetUp", "SetUpState", "SetUpStatus", "Step", "remove"]

NEEDED_BYTES, NEEDED_CUDA_BYTES, NEEDED_AGAIN_BYTES = 4 * 10**9, 12 * 10**9, 10**9
"""Free disk for environment and cache: without CUDA, with it, and when most is in the cache."""


class SetUp:
    """One run of Set Up Backend on a thread of its own. Every method returns at once."""

    def __init__(self, plan: Plan) -> None:
        """Make ready; nothing happens before `start`."""
        self._plan = plan
        self._status = SetUpStatus()
        self._began = 0.0
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="GeneMAN set-up", daemon=True)

    @property
    def status(self) -> SetUpStatus:
        """How it stands now: a value that is replaced as a whole."""
        return self._status

    @property
    def log(self) -> Path:
        """What the installers said, word for word."""
        return self._plan.log

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        self._status = SetUpStatus(SetUpState.RUNNING, line=LINES[Step.CHECK])
        self._thread.start()

    def cancel(self) -> None:
        """End the installers and remove what is not whole; downloads stay in the cache."""
        self._cancelled.set()
        if self._status.state is SetUpState.RUNNING:
            self._tell(state=SetUpState.CANCELLING, line="Cancelling")

    def join(self, seconds: float) -> bool:
        """Wait for the end, for `unregister` and tests; say whether it has come."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _tell(self, **changes: object) -> None:
        seconds = time.monotonic() - self._began
        self._status = replace(self._status, seconds=seconds, **changes)  # type: ignore[arg-type]

    def _run(self) -> None:
        try:
            self._allow()
            with self._plan.log.open("w", encoding="utf-8") as log:
                found = Building(self._plan, log, self._cancelled, self._progress).build()
            self._tell(state=SetUpState.DONE, fraction=1.0, line="Done", environment=found)
        except CancelledError:
            self._tell(state=SetUpState.CANCELLED, line="Cancelled")
        except TroubleError as error:
            self._tell(state=SetUpState.FAILED, trouble=error.trouble)
        except OSError as error:
            trouble = failure("The environment", f"error: {error}", self._plan.log)
            self._tell(state=SetUpState.FAILED, trouble=trouble)
        except Exception as error:
            trouble = Trouble(
                "Set Up Backend must not fail in ways we do not know, but it did ({kind}): report "
                "it.",
                Remedy.REPORT,
                traceback.format_exc(),
                values={"kind": type(error).__name__},
            )
            self._tell(state=SetUpState.FAILED, trouble=trouble)

    def _progress(self, step: Step, fraction: float, line: str) -> None:
        if self._status.state is SetUpState.RUNNING:
            fraction = max(fraction, self._status.fraction)
            self._tell(step=step, fraction=fraction, line=line)

    def _allow(self) -> None:
        """See that it may begin at all.

        Raises:
            TroubleError: It may not.
            OSError: The folder cannot be made.
        """
        plan = self._plan
        if not plan.online:
            raise TroubleError(
                Trouble(
                    "Set Up Backend must fetch packages, but Blender does not allow online access: "
                    "allow it in Preferences > System, or choose an existing environment.",
                    Remedy.ALLOW_ONLINE,
                )
            )
        if not zipfile.is_zipfile(plan.wheel):
            raise TroubleError(
                Trouble(
                    "The add-on must hold the backend's wheel, but '{path}' is none: install the "
                    "add-on again.",
                    Remedy.UPDATE_ADDON,
                    values={"path": plan.wheel},
                )
            )
        plan.folder.mkdir(parents=True, exist_ok=True)
        needed = plan.needed_bytes or _needed(plan.folder)
        free = shutil.disk_usage(plan.folder).free
        if free < needed:
            raise TroubleError(
                Trouble(
                    "The backend needs {needed:.1f} GB of free disk, but '{folder}' has "
                    "{free:.1f} GB: free some space.",
                    Remedy.FREE_DISK,
                    values={"needed": needed / 1e9, "folder": plan.folder, "free": free / 1e9},
                )
            )


class Removal:
    """One run of Remove Backend on a thread of its own: gigabytes take a while."""

    def __init__(self, folder: Path, end: Callable[[], object]) -> None:
        """Begin at once.

        Args:
            folder: The one that `SetUp` filled.
            end: Ends what runs from there; may take its time.
        """
        self.trouble: Trouble | None = None
        """Why something is left, once `done`."""
        self._folder, self._end = folder, end
        self._thread = threading.Thread(target=self._run, name="GeneMAN removal", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or the other."""
        return not self._thread.is_alive()

    def join(self, seconds: float) -> bool:
        """Wait for the end, for `unregister` and tests; say whether it has come."""
        self._thread.join(seconds)
        return self.done

    def _run(self) -> None:
        try:
            self._end()
            remove(self._folder)
        except TroubleError as error:
            self.trouble = error.trouble


def _needed(folder: Path) -> int:
    if current(folder) is not None and (folder / CACHE).is_dir():
        return NEEDED_AGAIN_BYTES
    return NEEDED_CUDA_BYTES if has_nvidia() else NEEDED_BYTES
