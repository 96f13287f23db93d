# SPDX-License-Identifier: GPL-3.0-or-later
"""How an environment is made: uv (or pip where there is none), the wheel, models, kernels."""

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from .commands import CancelledError, CommandError, Commands
from .environment import (
    CACHE,
    ENVIRONMENTS,
    RECORD,
    Environment,
    check,
    current,
    examine,
    make_current,
    python_of,
)
from .frames import new_token
from .installers import PYTHON, Reading, failure, has_nvidia, pip_torch_options, uv_variables
from .processes import WINDOWS
from .set_up_plan import Plan, Step
from .troubles import Remedy, Trouble, TroubleError

INSTALLED_BYTES, INSTALLED_CUDA_BYTES = 1.6e9, 7e9
"""What the packages take: with it the disk tells how far a large download is."""
UV = "uv>=0.8,<1"
"""Knows --torch-backend, and says what we read."""
TOOLS, PYTHONS = "tools", "python"
"""Folders of uv, and of the Python that it fetched."""
_MADE = (ENVIRONMENTS, CACHE, TOOLS, PYTHONS)
BEGINS = {
    Step.CHECK: 0.0,
    Step.INSTALLER: 0.01,
    Step.ENVIRONMENT: 0.04,
    Step.PACKAGES: 0.08,
    Step.MODELS: 0.60,
    Step.KERNELS: 0.65,
    Step.VERIFY: 0.98,
}
"""Share of the whole at which each step begins, as measured."""
LINES = {
    Step.CHECK: "Looking at disk and package",
    Step.INSTALLER: "Fetching the installer",
    Step.ENVIRONMENT: "Making the environment",
    Step.PACKAGES: "Resolving packages",
    Step.MODELS: "Fetching the models that find a person",
    Step.KERNELS: "Compiling kernels (once)",
    Step.VERIFY: "Looking whether it starts",
}

_COMPILED = re.compile(r"Compiled (\d+) of (\d+) kernel modules")

Tell = Callable[[Step, float, str], None]
"""Told the step, its share of the whole, and a line for people."""


class Building:
    """Makes one environment, step by step."""

    def __init__(self, plan: Plan, log: TextIO, cancelled: threading.Event, tell: Tell) -> None:
        self._plan, self._tell = plan, tell
        self._name = new_token()[:12]
        self._reading = Reading()
        self._step, self._free = Step.CHECK, 0
        self._installed = INSTALLED_CUDA_BYTES if has_nvidia() else INSTALLED_BYTES
        self._commands = Commands(log, self._on_line, self._tick, cancelled)

    @property
    def _folder(self) -> Path:
        return self._plan.folder / ENVIRONMENTS / self._name

    @property
    def _python(self) -> Path:
        return python_of(self._folder)

    def build(self) -> Environment:
        """Make the environment and let it be the current one.

        Raises:
            CancelledError: Somebody has cancelled; nothing of it is left.
            TroubleError: It cannot be made; nothing of it is left.
        """
        tidy(self._plan.folder)
        try:
            self._begin(Step.INSTALLER)
            uv = self._uv()
            self._begin(Step.ENVIRONMENT)
            self._make_empty(uv)
            self._begin(Step.PACKAGES)
            self._install(uv)
            if self._plan.finish:
                self._begin(Step.MODELS)
                self._finish("The person models", "weights", "get", "person")
                self._begin(Step.KERNELS)
                self._finish("Compiling the kernels", "doctor", "--warm")
            self._begin(Step.VERIFY)
            found = replace(examine(self._python), wheel=_sha256(self._plan.wheel))
            check(found)
            if self._commands.cancelled.is_set():
                raise CancelledError
            make_current(self._plan.folder, self._name, found)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return found

    # ---- progress ---------------------------------------------------------------------------

    def _begin(self, step: Step) -> None:
        self._step = step
        self._free = shutil.disk_usage(self._plan.folder).free
        self._tell(step, BEGINS[step], LINES[step])

    def _tick(self) -> None:
        """Tell how far the packages are: by what is said, or by what the disk has taken."""
        if self._step is not Step.PACKAGES:
            return
        reading = self._reading
        share = 1.0
        if not reading.installing:
            written = max(self._free - shutil.disk_usage(self._plan.folder).free, 0)
            said = reading.done / reading.total if reading.total else 0.0
            share = 0.9 * min(max(said, written / self._installed), 1.0)
        self._tell_share(share, Step.MODELS, reading.line or LINES[Step.PACKAGES])

    def _on_line(self, said: str) -> None:
        """Take in what a program says."""
        if self._step is Step.PACKAGES:
            self._reading.take(said)
        compiled = _COMPILED.match(said) if self._step is Step.KERNELS else None
        if compiled:
            done, of = (int(number) for number in compiled.groups())
            self._tell_share(done / max(of, 1), Step.VERIFY, f"Compiling kernels, {done} of {of}")

    def _tell_share(self, share: float, until: Step, line: str) -> None:
        """Tell how much of the present step is done; `until` is the one that follows."""
        begin, end = BEGINS[self._step], BEGINS[until]
        self._tell(self._step, begin + share * (end - begin), line)

    # ---- steps ------------------------------------------------------------------------------

    def _uv(self) -> Path | None:
        """Give uv's binary; none if this machine has no way to get it, but pip.

        Raises:
            TroubleError: There is neither.
        """
        if self._plan.uv is not None:
            return self._plan.uv
        tools = self._plan.folder / TOOLS
        found = tools / ("Scripts/uv.exe" if WINDOWS else "bin/uv")
        try:
            self._commands.run([found, "--version"])
        except CommandError:
            shutil.rmtree(tools, ignore_errors=True)
        else:
            return found
        try:
            self._commands.run([self._plan.base_python, "-I", "-m", "venv", tools])
        except CommandError as error:
            raise TroubleError(
                failure("Python's venv module", error.words, self._plan.log)
            ) from error
        try:
            self._pip(python_of(tools), UV)
        except CommandError:
            return None  # pip installs the rest too, and will say what it lacks
        return found if found.exists() else None

    def _make_empty(self, uv: Path | None) -> None:
        if uv is None:
            self._checked("The environment", [self._plan.base_python, "-I", "-m", "venv"])
            return
        base: list[str | Path] = [uv, "--no-config", "venv", "--no-project"]
        try:
            # A Python of its own outlives updates of Blender, whose own may vanish with them.
            own = ["--managed-python", "--python", PYTHON]
            self._commands.run([*base, *own, self._folder], environment=self._variables)
        except CommandError:
            ours = ["--no-managed-python", "--python", str(self._plan.base_python)]
            self._checked("The environment", [*base, *ours])

    def _checked(self, what: str, command: list[str | Path]) -> None:
        try:
            self._commands.run([*command, self._folder], environment=self._variables)
        except CommandError as error:
            raise TroubleError(failure(what, error.words, self._plan.log)) from error

    @property
    def _variables(self) -> dict[str, str]:
        own = {"UV_PYTHON_INSTALL_DIR": str(self._plan.folder / PYTHONS)}
        return uv_variables(self._plan.folder / CACHE) | own

    def _install(self, uv: Path | None) -> None:
        """Install the wheel and all that it needs; pip too, by which models are fetched."""
        plan = self._plan
        extras = f"[{','.join(plan.extras)}]" if plan.extras else ""
        wanted = [f"geneman{extras} @ {plan.wheel.absolute().as_uri()}", "pip"]
        constraints = ["--constraint", str(plan.constraints)] if plan.constraints else []
        try:
            if uv is None:
                nvidia = has_nvidia()
                torch = pip_torch_options(nvidia=nvidia) if plan.torch_backend else []
                self._pip(self._python, *torch, *constraints, *wanted)
                return
            command: list[str | Path] = [uv, "--no-config", "pip", "install", *constraints]
            command += ["--python", self._python]
            self._with_uv(command, wanted)
        except CommandError as error:
            raise TroubleError(failure("The packages", error.words, plan.log)) from error

    def _with_uv(self, command: list[str | Path], wanted: list[str]) -> None:
        """Install with the torch for this machine.

        Where a company's mirror stands between us and PyTorch's own index, with the mirror's.

        Raises:
            CommandError: That failed.
        """
        backend = self._plan.torch_backend
        if backend:
            try:
                chosen = [*command, "--torch-backend", backend, *wanted]
                self._commands.run(chosen, environment=self._variables)
            except CommandError as error:
                if "download.pytorch.org" not in error.words:
                    raise
                self._reading.line = "PyTorch's index is out of reach: using the package index's"
            else:
                return
        self._commands.run([*command, *wanted], environment=self._variables)

    def _pip(self, python: Path, *wanted: str) -> None:
        pip: list[str | Path] = [python, "-I", "-m", "pip", "--disable-pip-version-check"]
        cache = ["--cache-dir", str(self._plan.folder / CACHE / "pip")]
        self._commands.run([*pip, "install", "--progress-bar", "off", *cache, *wanted])

    def _finish(self, what: str, *command: str) -> None:
        """Let the installed library do something.

        Raises:
            TroubleError: It failed.
        """
        try:
            self._commands.run([self._python, "-I", "-m", "geneman", *command])
        except CommandError as error:
            raise TroubleError(failure(what, error.words, self._plan.log)) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tidy(folder: Path) -> None:
    """Delete environments that are unfinished or replaced; what is in use may stay."""
    found = current(folder)
    kept = "" if found is None else found.python.parent.parent.name
    with contextlib.suppress(OSError):
        for path in (folder / ENVIRONMENTS).iterdir():
            if path.name != kept:
                shutil.rmtree(path, ignore_errors=True)


def leaves_something(folder: Path) -> bool:
    """Say whether `remove` would find anything to delete."""
    return any((folder / name).exists() for name in (RECORD, *_MADE))


def remove(folder: Path) -> None:
    """Delete environments and cache that were set up there (the button Remove Backend); slow.

    Raises:
        TroubleError: A file cannot be deleted: something still runs from there.
    """
    try:
        (folder / RECORD).unlink(missing_ok=True)
        for name in _MADE:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise TroubleError(
            Trouble(
                "Files of the backend must not be in use while it is removed, but '{path}' is "
                "({cause}): stop the backend and try again.",
                Remedy.FREE_DISK,
                values={"path": error.filename, "cause": error.strerror},
            )
        ) from error
