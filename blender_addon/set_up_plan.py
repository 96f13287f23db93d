# SPDX-License-Identifier: GPL-3.0-or-later
"""What Set Up Backend shall do, and how it stands: values alone."""

import enum
from dataclasses import dataclass
from pathlib import Path

from .environment import LOG, Environment
from .troubles import Trouble


class Step(enum.StrEnum):
    """What is being done, in this order."""

    CHECK = "check"
    """Disk, access, wheel."""
    INSTALLER = "installer"
    """Get uv, which chooses the torch build."""
    ENVIRONMENT = "environment"
    """Make the empty environment."""
    PACKAGES = "packages"
    """Download and install; by far the longest."""
    MODELS = "models"
    """Fetch the small models that find a person in a photo."""
    KERNELS = "kernels"
    """Compile, so that the first reconstruction need not."""
    VERIFY = "verify"
    """See that it starts."""


class SetUpState(enum.StrEnum):
    """Where a set-up stands."""

    WAITING = "waiting"
    """Not begun."""
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class SetUpStatus:
    """How a set-up stands."""

    state: SetUpState = SetUpState.WAITING
    step: Step = Step.CHECK
    fraction: float = 0.0
    """Of the whole, an estimate that never goes back."""
    line: str = ""
    """What is happening, for people: 'Downloading torch (184 MB)'."""
    seconds: float = 0.0
    """Since it began."""
    trouble: Trouble | None = None
    """Why it failed."""
    environment: Environment | None = None
    """When it is done."""


@dataclass(frozen=True)
class Plan:
    """What to set up, and where."""

    folder: Path
    """The add-on's own folder for it (see `environment`)."""
    wheel: Path
    """The backend's wheel, as it lies in the add-on."""
    base_python: Path
    """Blender's own interpreter: gets uv, and is what the environment is made from if uv cannot
    fetch a Python of its own."""
    online: bool
    """Whether Blender allows online access; without it nothing is begun."""
    torch_backend: str = "auto"
    """For uv: 'auto' asks the machine, 'cpu', 'cu130' ... choose; '' takes the package index's."""
    uv: Path | None = None
    """A uv binary that is at hand; None fetches one."""
    constraints: Path | None = None
    """A pip constraints file."""
    extras: tuple[str, ...] = ()
    """Optional parts of the backend, as in ('full',)."""
    needed_bytes: int = 0
    """Free disk to insist on; 0 is what a machine of this kind needs."""
    finish: bool = True
    """Fetch models and compile kernels too."""

    @property
    def log(self) -> Path:
        """What the installers say, word for word."""
        return self.folder / LOG
