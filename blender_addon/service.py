# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend as the add-on uses it: an environment, a launcher and a client, as was chosen.

Knows no bpy. Everything returns at once; the parts work on threads of their own, and `watch` lets
the panel's model see how they stand.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import environment as environments
from .building import leaves_something
from .client import Client
from .connection import ConnectionFile, RemoteServer, Source
from .environment import Environment
from .installation import Plan, Removal, SetUp, SetUpState
from .launcher import Launch, Launcher, Phase
from .state import Model
from .troubles import Remedy, Trouble, TroubleError

OWN, EXISTING, REMOTE = "OWN", "EXISTING", "REMOTE"
_CLOSING_SECONDS = 5.0
"""How long Blender may be held up at its end; what is left then ends by itself."""
_ENDING_SECONDS = 30.0
"""For a backend to write its checkpoint and end before its files are deleted."""


@dataclass(frozen=True)
class Choice:
    """Which backend somebody wants."""

    place: str = OWN
    environment: str = ""
    """Folder or interpreter, of `EXISTING`."""
    address: str = ""
    server_key: str = ""
    device: str = "auto"
    keep_running: bool = False
    online: bool = False
    """Whether Blender allows online access; this machine itself is always in reach."""


@dataclass(frozen=True)
class Site:
    """Where things lie on this machine."""

    folder: Path
    """The add-on's own, for everything that it writes."""
    addon: Path
    """Where its code lies, and the backend's wheel with it."""
    base_python: Path
    """Blender's own interpreter."""

    @property
    def installed(self) -> Path:
        """What Set Up Backend makes."""
        return self.folder / "backend"

    @property
    def running(self) -> Path:
        """What the local backend keeps: jobs, connection file, log."""
        return self.folder / "service"

    @property
    def keys(self) -> Path:
        """Our own key pair, for backends elsewhere."""
        return self.folder / "keys.json"

    @property
    def wheel(self) -> Path | None:
        """The backend that came with the add-on; none in a checkout."""
        return next(iter(sorted((self.addon / "backend").glob("geneman-*.whl"))), None)

    @property
    def version(self) -> str:
        """The add-on's version, which the backend's should be too."""
        text = (self.addon / "blender_manifest.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["version"])


class Service:
    """One backend and the way to it; only the main thread uses it."""

    def __init__(self, site: Site, model: Model, choice: Choice) -> None:
        self.site, self.model = site, model
        self.client: Client | None = None
        self.launcher: Launcher | None = None
        self.set_up: SetUp | None = None
        self.trouble: Trouble | None = None
        """Why the choice cannot be used."""
        self._removal: Removal | None = None
        self._phase = Phase.STOPPED
        self._choice = choice
        self._environment: Environment | None = None
        self._find()

    # ---- what was chosen --------------------------------------------------------------------

    @property
    def choice(self) -> Choice:
        """What was chosen last."""
        return self._choice

    def choose(self, choice: Choice) -> None:
        """Use another backend from now on; a running one of ours stops."""
        if choice == self._choice:
            return
        started = self.started
        self.stop()
        self.launcher = None
        self._choice = choice
        self._find()
        if started:
            self.start()

    def _find(self) -> None:
        """Look for the environment of the choice, by what lies on the disk alone."""
        self.trouble = self._environment = None
        try:
            if self._choice.place == OWN:
                self._environment = environments.current(self.site.installed)
            elif self._choice.place == EXISTING:
                python = environments.interpreter(Path(self._choice.environment))
                self._environment = Environment(python, "", (0, 0))
            elif not self._choice.online and not _is_here(self._choice.address):
                self.trouble = Trouble(
                    "Another machine is reached over the network, but Blender does not allow "
                    "online access: allow it in Preferences > System > Network.",
                    Remedy.ALLOW_ONLINE,
                )
        except TroubleError as error:
            self.trouble = error.trouble

    @property
    def installed(self) -> bool:
        """Whether there is something to start or to connect to."""
        if self._choice.place == REMOTE:
            known = bool(self._choice.address and self._choice.server_key)
            return known and self.trouble is None
        return self._environment is not None

    @property
    def setting_up(self) -> bool:
        """Whether a set-up is under way."""
        state = self.set_up.status.state if self.set_up is not None else None
        return state in (SetUpState.RUNNING, SetUpState.CANCELLING)

    # ---- life -------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether somebody wants the backend now."""
        return self.client is not None

    def start(self) -> None:
        """Start the backend if it is ours, and connect to it."""
        if not self.installed:
            return
        if self._environment is not None:
            if self.launcher is None:
                self.launcher = Launcher(self._launch(self._environment))
            self.launcher.start()
        if self.client is None:
            self.client = Client(self._source(), version=self.site.version)
            self.client.start()
        self.client.try_now()

    def restart(self) -> None:
        """Stop a backend of ours if it is there, and start it anew."""
        if self.launcher is None:
            self.start()
        else:
            self.launcher.restart()

    def stop(self) -> None:
        """Stop a backend of ours, and listen no more."""
        if self.launcher is not None:
            self.launcher.stop()
        if self.client is not None:
            self.client.stop()
            self.client = None

    def begin_set_up(self, *, online: bool) -> None:
        """Make the private environment.

        Raises:
            TroubleError: There is no wheel to make it from.
        """
        wheel = self.site.wheel
        if wheel is None:
            raise TroubleError(
                Trouble(
                    "The backend's wheel must lie in the add-on, but this copy has none: install "
                    "GeneMAN from its zip, or choose an existing environment in the preferences.",
                    Remedy.CONNECT,
                )
            )
        plan = Plan(self.site.installed, wheel, self.site.base_python, online)
        self.set_up = SetUp(plan)
        self.set_up.start()

    def remove(self) -> None:
        """Delete the private environment; downloads and all. Jobs stay, and go on in the next."""
        self.stop()
        launcher, self.launcher = self.launcher, None
        self.set_up = self._environment = None
        end = (lambda: None) if launcher is None else partial(launcher.close, _ENDING_SECONDS)
        self._removal = Removal(self.site.installed, end)

    @property
    def removable(self) -> bool:
        """Whether there is anything to delete, be it what an earlier attempt has left."""
        return self._choice.place == OWN and leaves_something(self.site.installed)

    @property
    def removing(self) -> bool:
        """Whether the private environment is being deleted."""
        return self._removal is not None

    def watch(self) -> None:
        """Let the model see how everything stands; once a tick."""
        if self._removal is not None and self._removal.done:
            trouble, self._removal = self._removal.trouble, None
            self._find()
            self.trouble = self.trouble or trouble
        if self.set_up is not None and self._choice.place == OWN:
            status = self.set_up.status
            if status.state is SetUpState.DONE and status.environment != self._environment:
                self._environment = status.environment
        phase = self.launcher.status.phase if self.launcher is not None else Phase.STOPPED
        came_up = phase in (Phase.RUNNING, Phase.SHARED) and phase is not self._phase
        if came_up and self.client is not None:
            self.client.try_now()
        self._phase = phase
        self.model.watch(
            environment=self._environment,
            local=self.launcher.status if self.launcher is not None else None,
            set_up=self.set_up.status if self.set_up is not None else None,
            remote=self._choice.address if self._choice.place == REMOTE else "",
        )

    def close(self, seconds: float = _CLOSING_SECONDS) -> None:
        """End everything, at Blender's end or the add-on's; waits at most so long for each."""
        if self.set_up is not None:
            self.set_up.cancel()
            self.set_up.join(seconds)
        if self._removal is not None:
            self._removal.join(seconds)
        client, launcher = self.client, self.launcher
        self.client = self.launcher = None
        if client is not None:
            client.stop()
            client.join(seconds)
        if launcher is not None:
            launcher.close(seconds)

    def _launch(self, found: Environment) -> Launch:
        return Launch(
            found.python,
            self.site.running,
            os.getpid(),
            device=self._choice.device,
            version=self.site.version,
            keep_running=self._choice.keep_running,
        )

    def _source(self) -> Source:
        if self._choice.place == REMOTE:
            return RemoteServer(self._choice.address, self._choice.server_key, self.site.keys)
        return ConnectionFile(self.site.running / "connection.json")

    @property
    def log(self) -> Path | None:
        """The log that tells most about the present state, if there is one here."""
        for path in (
            self.set_up.log if self.set_up is not None and self._environment is None else None,
            self.site.running / "backend.log" if self._choice.place != REMOTE else None,
        ):
            if path is not None and path.exists():
                return path
        return None


def _is_here(address: str) -> bool:
    """Say whether an address is this machine's own (or none)."""
    host = address.rpartition(":")[0].strip("[]") or address
    return host in ("", "localhost", "::1") or host.startswith("127.")
