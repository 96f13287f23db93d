# SPDX-License-Identifier: GPL-3.0-or-later
"""How to start a backend on this machine, and how it stands: values alone."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .troubles import Trouble


class Phase(enum.StrEnum):
    """Where the local backend stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    SHARED = "shared"
    """It runs, but another program started it."""
    WAITING = "waiting"
    """It died; the next attempt comes in a moment."""
    STOPPING = "stopping"
    FAILED = "failed"
    """It will not be started again by itself; `Status.trouble` says why."""


@dataclass(frozen=True)
class Status:
    """How the local backend stands."""

    phase: Phase = Phase.STOPPED
    trouble: Trouble | None = None
    """Why it failed, or why it is being started again."""
    pid: int = 0
    restarts: int = 0
    """Since it last ran well."""


@dataclass(frozen=True)
class Launch:
    """How to start it."""

    python: Path
    """Interpreter of the environment that has the backend."""
    folder: Path
    """Its own: `store`, `connection.json` and `backend.log` lie there."""
    parent_pid: int
    """Blender's; the backend ends when that process is gone."""
    device: str = "auto"
    version: str = ""
    """That the backend must have; empty takes any that speaks our protocol."""
    keep_running: bool = False
    """Let it outlive Blender; the next one finds it again."""
    options: tuple[str, ...] = ()
    """Further options of `geneman serve`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of Blender's own, of which those that steer Python are left out."""
    working_folder: Path | None = None
    """Where it runs; None: in `folder`."""

    @property
    def connection_file(self) -> Path:
        """Where the running backend says how to reach it."""
        return self.folder / "connection.json"

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.folder / "backend.log"


@dataclass(frozen=True)
class Limits:
    """When the launcher loses patience; seconds."""

    start: float = 120.0
    """Until the backend has written its connection file and answers: virus scanners are slow."""
    hang: float = 30.0
    """Without an answer: then it is ended and started again."""
    stop: float = 15.0
    """For the last checkpoint; then it is ended by force."""
    restarts: int = 5
    """Before it stays down."""
    pause: float = 1.0
    """Before the first new start; doubles with each."""
    stable: float = 60.0
    """Up so long, it counts as running well and may die as often again."""
    ask: float = 1.0
    """Between two questions whether it is there."""
