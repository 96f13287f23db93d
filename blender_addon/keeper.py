# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the launcher's thread: one backend, watched until somebody wants no more of it."""

import contextlib
import enum
import queue
import shutil
import subprocess
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

from . import processes
from .connection import Connection, ConnectionFile
from .endings import STOPPED, ending, hopeless
from .environment import check, examine
from .heartbeat import Heartbeat
from .launch import Launch, Limits, Phase, Status
from .troubles import Remedy, Trouble, TroubleError

TICK_SECONDS = 0.1
ANSWER_SECONDS = 1.0
"""For a backend that may be running already."""
LEFT_SECONDS = 5.0
"""Without an answer from a backend that others started: then we start our own."""
ASLEEP_SECONDS = 5.0
"""A tick that takes so long means that the machine slept, and silence meant nothing."""
LOG_BYTES = 4 * 2**20
"""A longer log is put aside at the next start; one old log is kept."""
LAST_WORDS_BYTES = 4096
NEEDED_BYTES = 64 * 2**20
"""Free disk without which the backend could not even open its tables."""


class Wish(enum.Enum):
    """What somebody wants of the backend."""

    START = "start"
    RESTART = "restart"
    STOP = "stop"
    CLOSE = "close"
    """Stop it, unless it shall go on, and end the thread."""


class Keeper:
    """One backend; others may read `status` and put `wishes`, the rest is the thread's own."""

    def __init__(self, launch: Launch, limits: Limits) -> None:
        self.status = Status()
        self.wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._launch, self._limits = launch, limits
        self._process: subprocess.Popen[bytes] | None = None
        self._heartbeat: Heartbeat | None = None
        self._outdated: Connection | None = None
        self._began = self._ticked = self._next_start = 0.0
        self._restarts = 0
        self._log_start = 0

    def run(self) -> None:
        """Do what is wished until that is `CLOSE`."""
        while True:
            try:
                wish = self.wishes.get(timeout=TICK_SECONDS)
            except queue.Empty:
                wish = None
            try:
                if wish is not None:
                    self._do(wish)
                if wish is Wish.CLOSE:
                    return
                self._tick(time.monotonic())
            except TroubleError as error:
                self._fail(error.trouble)
            except Exception as error:
                self._fail(
                    Trouble(
                        "The launcher must not fail in ways we do not know, but it did ({kind}): "
                        "report it.",
                        Remedy.REPORT,
                        traceback.format_exc(),
                        values={"kind": type(error).__name__},
                    )
                )

    # ---- wishes -----------------------------------------------------------------------------

    def _do(self, wish: Wish) -> None:
        if wish is Wish.CLOSE and self._launch.keep_running:
            self._let_go()
            return
        if wish in (Wish.STOP, Wish.CLOSE, Wish.RESTART):
            self._stop()
        busy = (Phase.STARTING, Phase.RUNNING, Phase.SHARED)
        if wish in (Wish.START, Wish.RESTART) and self.status.phase not in busy:
            self._restarts = 0
            self._begin()

    def _set(self, phase: Phase, trouble: Trouble | None = None) -> None:
        pid = self._process.pid if self._process is not None else 0
        self.status = Status(phase, trouble, pid, self._restarts)

    def _fail(self, trouble: Trouble) -> None:
        self._end()
        self._set(Phase.FAILED, trouble)

    # ---- beginning --------------------------------------------------------------------------

    def _begin(self) -> None:
        """Find a backend that runs, or start ours.

        Raises:
            TroubleError: It cannot be started.
        """
        launch = self._launch
        self._set(Phase.STARTING, self.status.trouble if self._restarts else None)
        try:
            launch.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(launch.folder).free
        except OSError as error:
            raise TroubleError(
                Trouble(
                    "The backend must have a folder of its own, but '{folder}' cannot be made "
                    "({cause}): mend it, or free some space.",
                    Remedy.FREE_DISK,
                    values={"folder": launch.folder, "cause": error.strerror},
                )
            ) from error
        if self._find():
            return
        if free < NEEDED_BYTES:
            raise TroubleError(
                Trouble(
                    "The backend needs {needed} MB of free disk to start, but '{folder}' has "
                    "{free} MB: free some space.",
                    Remedy.FREE_DISK,
                    values={
                        "needed": NEEDED_BYTES >> 20,
                        "folder": launch.folder,
                        "free": free >> 20,
                    },
                )
            )
        check(examine(launch.python), version=launch.version)
        self._start()

    def _find(self) -> bool:
        """Use a backend that runs already on our folder, if there is one."""
        found = self._connection()
        if found is None:
            return False
        heartbeat = Heartbeat(found)
        if not heartbeat.answers(ANSWER_SECONDS):
            heartbeat.close()
            return False
        self._heartbeat = heartbeat
        self._set(Phase.SHARED)
        return True

    def _connection(self) -> Connection | None:
        try:
            return ConnectionFile(self._launch.connection_file).connection()
        except TroubleError:
            return None

    def _start(self) -> None:
        launch = self._launch
        command: list[str | Path] = [launch.python, "-m", "backend"]
        command += ["--store", launch.folder / "store", "--device", launch.device]
        command += ["--connection-file", launch.connection_file, *launch.options]
        if not launch.keep_running:
            command += ["--parent-pid", str(launch.parent_pid)]
        try:
            # What lies there now is of one that is gone or hangs. The pid in it would not tell: on
            # Windows an environment's interpreter starts another process.
            self._outdated = self._connection()
            self._set_log_aside()
            with launch.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = processes.start(
                    command,
                    folder=launch.working_folder or launch.folder,
                    environment=launch.environment,
                    output=log,
                )
        except OSError as error:
            raise TroubleError(
                Trouble(
                    "The backend must be startable, but '{python}' is not ({cause}): see that "
                    "nothing blocks it, or set it up again.",
                    Remedy.SET_UP,
                    values={"python": launch.python, "cause": error.strerror},
                )
            ) from error
        self._began = time.monotonic()
        self._set(Phase.STARTING, self.status.trouble)

    def _set_log_aside(self) -> None:
        log = self._launch.log
        with contextlib.suppress(OSError):  # on Windows not while another one writes it
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_suffix(".1.log"))

    # ---- watching ---------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        slept, self._ticked = now - self._ticked > ASLEEP_SECONDS, now
        if slept and self._heartbeat is not None and self._heartbeat.heard is not None:
            self._heartbeat.heard = now
        match self.status.phase:
            case Phase.STARTING:
                self._watch_start(now)
            case Phase.RUNNING:
                self._watch_running(now)
            case Phase.SHARED:
                self._watch_shared(now)
            case Phase.WAITING if now >= self._next_start:
                self._begin()
            case _:
                return

    def _watch_start(self, now: float) -> None:
        if self._has_ended():
            return
        if self._heartbeat is None:
            found = self._connection()
            if found is not None and found != self._outdated:
                self._heartbeat = Heartbeat(found)
        if self._heartbeat is not None:
            self._heartbeat.look(TICK_SECONDS)
            if self._heartbeat.heard is not None:
                self._set(Phase.RUNNING)
                return
        if now - self._began > self._limits.start:
            self._again(
                "The backend must be there within {seconds} seconds, but was not: it is started "
                "anew.",
                self._limits.start,
            )

    def _watch_running(self, now: float) -> None:
        if self._has_ended() or self._heartbeat is None:
            return
        self._heartbeat.look(self._limits.ask)
        if self._restarts and now - self._began > self._limits.stable:
            self._restarts = 0
            self._set(Phase.RUNNING)
        heard = self._heartbeat.heard
        if heard is not None and now - heard > self._limits.hang:
            self._again(
                "The backend must answer within {seconds} seconds, but hung: it is started anew.",
                self._limits.hang,
            )

    def _watch_shared(self, now: float) -> None:
        assert self._heartbeat is not None
        self._heartbeat.look(self._limits.ask)
        heard = self._heartbeat.heard
        moved = self._connection() != self._heartbeat.connection
        if moved or (heard is not None and now - heard > LEFT_SECONDS):
            self._close_line()
            self._begin()

    def _has_ended(self) -> bool:
        """Deal with the end of the process, if it has come."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return False
        words = self._last_words()
        self._end()
        trouble = ending(code, words)
        if code == STOPPED:
            self._set(Phase.STOPPED, trouble)
        elif hopeless(code, words):
            self._set(Phase.FAILED, trouble)
        else:
            self._wait(trouble)
        return True

    def _again(self, text: str, seconds: float) -> None:
        """End a backend that does not answer, and start it anew after a pause."""
        words = self._last_words()
        self._end()
        self._wait(Trouble(text, Remedy.OPEN_LOG, words, {"seconds": round(seconds)}))

    def _wait(self, trouble: Trouble) -> None:
        """Start again after a pause that doubles, until the limit."""
        limits = self._limits
        if self._restarts >= limits.restarts:
            text = "That happened {count} times in a row."
            often = Trouble(text, values={"count": self._restarts + 1})
            self._set(Phase.FAILED, replace(trouble, also=often))
            return
        self._next_start = time.monotonic() + limits.pause * 2.0**self._restarts
        self._restarts += 1
        self._set(Phase.WAITING, trouble)

    def _last_words(self) -> str:
        """Give the end of what this run wrote."""
        try:
            with self._launch.log.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(self._log_start, size - LAST_WORDS_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    # ---- ending -----------------------------------------------------------------------------

    def _stop(self) -> None:
        """Let ours write its checkpoint and end, by force if that takes too long."""
        process = self._process
        if process is not None and process.poll() is None:
            self._set(Phase.STOPPING)
            if self._heartbeat is not None:
                self._heartbeat.shut_down()
            else:
                processes.ask_to_end(process)
            deadline = time.monotonic() + self._limits.stop
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(TICK_SECONDS / 2)
        self._end()
        self._set(Phase.STOPPED)

    def _let_go(self) -> None:
        """Leave the process to itself."""
        self._close_line()
        if self._process is not None:
            # Should it end before Blender, somebody must collect it, or it stays as a zombie.
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._process = None
        self._set(Phase.STOPPED)

    def _end(self) -> None:
        """Leave no process and no line."""
        self._close_line()
        if self._process is not None:
            processes.end(self._process)
        self._process = None

    def _close_line(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.close()
        self._heartbeat = None
