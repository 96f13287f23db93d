# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that Blender starts: free of Blender's Python, without a window, ended whole."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WINDOWS = os.name == "nt"
_STEERING = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONEXECUTABLE",
    "PYTHONUSERBASE",
    "PYTHONPLATLIBDIR",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "__PYVENV_LAUNCHER__",
)
"""Variables by which Blender, a shell or macOS would bend another Python to their own."""
_TASKKILL_SECONDS = 10.0
NICENESS = 5
"""Of what we start, where 0 is Blender's: a third of its share of a processor that both want."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give our own variables without those that steer Python, and `extra` on top."""
    kept = {name: value for name, value in os.environ.items() if name not in _STEERING}
    return kept | {"PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"} | dict(extra or {})


def start(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    output: Any = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start a process in a group of its own, with standard output and error going to `output`.

    It and its children give way to Blender where both want the same processors.

    Raises:
        OSError: It cannot be started.
    """
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    flags |= getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    flags |= getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output != subprocess.DEVNULL else subprocess.DEVNULL,
        start_new_session=not WINDOWS,  # Ctrl-C in Blender's terminal is Blender's
        creationflags=flags,
    )
    if not WINDOWS:
        with contextlib.suppress(OSError):  # it may have ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    return process


def ask_to_end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end; on Windows there is no such question, and nothing happens."""
    if not WINDOWS:
        with contextlib.suppress(OSError):
            process.terminate()


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group now, and collect it; does nothing if it has ended.

    On Windows the interpreter of an environment is a small program that starts the real one, so
    there the whole tree must go.
    """
    if process.poll() is not None:
        return
    if WINDOWS:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["taskkill", "/PID", str(process.pid), "/T", "/F"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                timeout=_TASKKILL_SECONDS,
                check=False,
            )
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
