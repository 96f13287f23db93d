# SPDX-License-Identifier: GPL-3.0-or-later
"""The private environment that the backend runs in: where it lies, and whether it will do.

FOLDER/environment.json     which of the environments below is the current one
FOLDER/environments/NAME/   a whole Python environment; without a mention above: unfinished
FOLDER/cache/               downloads, kept so that updates and second attempts are quick
FOLDER/set_up.log           what the last set-up said
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .frames import MAJOR
from .processes import WINDOWS, clean_environment
from .troubles import Remedy, Trouble, TroubleError

RECORD, ENVIRONMENTS, CACHE, LOG = "environment.json", "environments", "cache", "set_up.log"


@dataclass(frozen=True)
class Environment:
    """An environment with a backend in it."""

    python: Path
    """Its interpreter."""
    version: str
    """Of the backend's package."""
    protocol: tuple[int, int]
    """Major and minor version of the protocol that it speaks."""
    torch: str = ""
    """As in '2.13.0+cu130'; the part behind + says what it was built for."""
    wheel: str = ""
    """sha256 of the wheel it was made from; empty for one that we did not make."""


class Record(msgspec.Struct, frozen=True):
    """`environment.json`."""

    name: str
    """Of the folder in `environments`."""
    version: str
    protocol: tuple[int, int]
    torch: str
    wheel: str


def python_of(environment: Path) -> Path:
    """Give where an environment's interpreter lies, on this system."""
    return environment / ("Scripts/python.exe" if WINDOWS else "bin/python")


def current(folder: Path) -> Environment | None:
    """Give the environment that was set up there, by its record alone: quick.

    Returns None if there is none, or its interpreter is gone.
    """
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    python = python_of(folder / ENVIRONMENTS / record.name)
    if not python.exists():
        return None
    return Environment(python, record.version, record.protocol, record.torch, record.wheel)


def make_current(folder: Path, name: str, found: Environment) -> None:
    """Let an environment be the current one, whole or not at all.

    Raises:
        OSError: The record cannot be written.
    """
    record = Record(name, found.version, found.protocol, found.torch, found.wheel)
    partial = folder / f".{RECORD}.{os.getpid()}"
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / RECORD)


_QUESTION = """
import importlib.metadata, json
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
found = {"version": version("geneman"), "torch": version("torch"), "protocol": [0, 0]}
if found["version"]:
    import backend.exits, zmq
    from blender_addon.frames import MAJOR, MINOR
    found["protocol"] = [MAJOR, MINOR]
print(json.dumps(found))
"""
"""Asks without loading torch, which would take seconds."""


class _Answer(msgspec.Struct):
    version: str
    torch: str
    protocol: tuple[int, int]


def examine(python: Path, *, seconds: float = 60.0) -> Environment:
    """Ask an interpreter what it has; starts it, so call this from a thread.

    Raises:
        TroubleError: It cannot be started, or has no backend, or one that is not whole.
    """
    try:
        asked = subprocess.run(
            [str(python), "-I", "-c", _QUESTION],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            timeout=seconds,
            check=False,
        )
        lines = asked.stdout.decode(errors="replace").splitlines()
        answer = msgspec.json.decode(lines[-1] if lines else "", type=_Answer)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or f"no answer for {seconds:.0f} seconds"
        raise _unfit(
            "The backend's Python must be startable, but '{python}' is not ({cause}): set the "
            "backend up again, or choose another environment.",
            python=python,
            cause=why,
        ) from error
    except msgspec.DecodeError as error:
        words = asked.stderr.decode(errors="replace").strip()
        last = words.splitlines()[-1] if words else f"it ended with code {asked.returncode}"
        raise _unfit(
            "The backend's environment must be whole, but '{python}' says '{words}': set the "
            "backend up again, or choose another environment.",
            words,
            python=python,
            words=last[:200],
        ) from error
    if not answer.version:
        raise _unfit(
            "The environment must have the backend installed, but '{python}' has no package "
            "'geneman': set the backend up, or choose another environment.",
            python=python,
        )
    return Environment(python, answer.version, answer.protocol, answer.torch)


def check(environment: Environment, *, version: str = "") -> None:
    """See that we can work with it.

    Args:
        environment: What `examine` or `current` gave.
        version: Of the backend that is wanted; empty takes any that speaks our protocol.

    Raises:
        TroubleError: It speaks another protocol, or is another version.
    """
    spoken = environment.protocol[0]
    if spoken != MAJOR:
        values = {"version": environment.version, "theirs": spoken, "ours": MAJOR}
        if spoken < MAJOR:
            raise _unfit(
                "Add-on and backend must speak the same protocol, but the backend {version} speaks "
                "{theirs} and the add-on {ours}: set the backend up again.",
                **values,
            )
        raise TroubleError(
            Trouble(
                "Add-on and backend must speak the same protocol, but the backend {version} speaks "
                "{theirs} and the add-on {ours}: update the add-on.",
                Remedy.UPDATE_ADDON,
                values=values,
            )
        )
    if version and environment.version != version:
        raise _unfit(
            "The backend must have the add-on's version {wanted}, but the one installed is "
            "{version}: set the backend up again.",
            wanted=version,
            version=environment.version,
        )


def interpreter(chosen: Path) -> Path:
    """Give the interpreter of what the user chose: an environment's folder, or the file itself.

    Raises:
        TroubleError: There is none.
    """
    for candidate in (chosen, python_of(chosen), chosen / "python.exe"):
        if candidate.is_file():
            return candidate.absolute()
    raise TroubleError(
        Trouble(
            "An existing environment must be its folder or its interpreter, but '{chosen}' has no "
            "Python in it: choose the folder that holds {folder}.",
            Remedy.CONNECT,
            values={"chosen": chosen, "folder": "Scripts" if WINDOWS else "bin"},
        )
    )


def _unfit(text: str, detail: str = "", /, **values: object) -> TroubleError:
    return TroubleError(Trouble(text, Remedy.SET_UP, detail, values))
