# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that moves bytes between Blender and a backend.

Three rules hold it together:

1. This thread never touches bpy; the main thread never touches a socket.
2. Methods put an order into a queue and return at once; what came of it arrives as an update.
3. Only the main thread takes updates, as many as its time allows.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .connection import Source
from .courier import Courier, Patience
from .downloads import Arrived, Download
from .frames import Buffer, Message, ProtocolError, new_token
from .orders import Again, NewJob
from .packing import rerun_message, submit_message
from .pending import Answered
from .protocol import (
    Cancel,
    Control,
    Fetch,
    FreeMemory,
    GetJob,
    GetMetrics,
    Move,
    Remove,
    Reply,
    Request,
    Shutdown,
)
from .results import ALBEDO, NORMAL, mesh_file, result_of
from .troubles import Remedy, Trouble, TroubleError
from .updates import (
    Fetched,
    FetchProgress,
    Inbox,
    Outcome,
    SurfaceShown,
    TextureShown,
    Update,
)


class Client:
    """A connection that keeps itself up. Every public method may be called from any thread."""

    def __init__(self, source: Source, *, version: str, patience: Patience | None = None) -> None:
        """Make ready; nothing happens before `start`."""
        self._inbox = Inbox()
        self._courier = Courier(source, version, patience or Patience(), self._inbox)
        self._thread = threading.Thread(target=self._courier.run, name="GeneMAN", daemon=True)

    # ---- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread close its sockets and end; returns at once. There is no second start."""
        self._courier.stop()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread, for `unregister` and tests; say whether it ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def try_now(self) -> None:
        """Connect at once instead of at the next attempt's time (the button Connect)."""
        self._courier.try_now()

    # ---- what has come --------------------------------------------------------------------

    def take(self) -> Update | None:
        """Give the next update, or nothing; never waits. The main thread's only way to hear."""
        return self._inbox.take()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of arrays that wait to be taken."""
        return self._inbox.nbytes

    @property
    def live(self) -> bool:
        """Whether previews are wanted (the tick for live view); set it at any time.

        Results of finished stages come in any case.
        """
        return self._courier.listening.live

    @live.setter
    def live(self, wanted: bool) -> None:
        self._courier.listening.live = wanted

    # ---- orders: each gives the ticket that its `Outcome` will name ------------------------

    def reconstruct(self, wish: NewJob) -> str:
        """Send a photo; the ticket is the new job's id."""
        job = new_token()
        return self._order(lambda: submit_message(job, wish), ticket=job)

    def rerun(self, job: str, again: Again) -> str:
        """Run a job again."""
        return self._order(lambda: rerun_message(job, again))

    def cancel(self, job: str) -> str:
        """Stop a job."""
        return self._order(lambda: (Cancel(job), []), control=True)

    def remove(self, job: str) -> str:
        """Forget an ended job and delete its files there."""
        return self._order(lambda: (Remove(job), []))

    def move(self, job: str, position: int) -> str:
        """Let a waiting job be `position`-th, from 1."""
        return self._order(lambda: (Move(job, position), []))

    def recall(self, job: str) -> str:
        """Ask what a job was made with; the outcome's reply is `JobIs` with its `wish`."""
        return self._order(lambda: (GetJob(job), []))

    def free_memory(self) -> str:
        """End idle workers, and with them everything they hold on their device."""
        return self._order(lambda: (FreeMemory(), []))

    def metrics(self) -> str:
        """Ask for the server's figures; the outcome's reply is `Metrics`."""
        return self._order(lambda: (GetMetrics(), []))

    def shut_down(self) -> str:
        """Stop the server, wherever it runs."""
        return self._order(lambda: (Shutdown(), []), control=True)

    def fetch(self, job: str, name: str, path: Path) -> str:
        """Bring an artefact to a file, whole or not at all; `Fetched` tells when it lies there."""
        ticket = new_token()

        def arrived(found: Path | None, trouble: Trouble | None) -> None:
            if found is not None:
                self._inbox.put(Fetched(ticket, job, name, found))
            self._inbox.put(Outcome(ticket, None, trouble))

        self._download(ticket, job, name, path, arrived)
        return ticket

    def show(self, job: str, stage: str, folder: Path, *, normal_map: bool = False) -> str:
        """Bring the surface of `sculpt`, `pixel_texture` or `finish`, as if it came live.

        It arrives as a `SurfaceShown` or `TextureShown` before its `Outcome`; files are kept in
        `folder`, a folder for this job. `normal_map` says whether the stage has one.
        """
        ticket = new_token()
        name = mesh_file(stage)
        mesh, albedo, relief = (folder / stage / file for file in (name, ALBEDO, NORMAL))

        def outcome(trouble: Trouble | None) -> None:
            self._inbox.put(Outcome(ticket, None, trouble))

        def on_mesh(found: Path | None, trouble: Trouble | None) -> None:
            if found is None:
                outcome(trouble)
                return
            try:
                shown = result_of(job, stage, mesh, albedo, relief if normal_map else None)
            except (ProtocolError, OSError) as error:
                text = "A result must be readable, but it is not ({cause})."
                outcome(Trouble(text, values={"cause": error}))
                return
            pictures = [relief, albedo] if normal_map else [albedo]
            bring(shown, [] if isinstance(shown, SurfaceShown) else pictures)

        def bring(shown: SurfaceShown | TextureShown, pictures: list[Path]) -> None:
            """Download what is still missing, the last first, and then show everything."""
            if not pictures:
                self._inbox.put(shown)
                outcome(None)
                return
            *rest, path = pictures

            def arrived(found: Path | None, trouble: Trouble | None) -> None:
                if found is None:
                    outcome(trouble)
                else:
                    bring(shown, rest)

            self._download(ticket, job, f"{stage}/{path.name}", path, arrived)

        self._download(ticket, job, f"{stage}/{name}", mesh, on_mesh)
        return ticket

    def describe(self) -> Mapping[str, str]:
        """Give what a report about a fault should say about the connection; no secrets."""
        courier = self._courier
        welcome = courier.listening.welcome
        return {
            "place": courier.source.place,
            "link": courier.link.link.value,
            "trouble": courier.link.trouble.sentence if courier.link.trouble else "",
            "backend": welcome.version if welcome else "",
            "silent seconds": f"{time.monotonic() - courier.heard:.1f}" if courier.heard else "",
            "session": courier.listening.session,
            "sequence": str(courier.listening.sequence),
            "waiting bytes": str(self.waiting_bytes),
            "unreadable": "; ".join(courier.listening.faults),
        }

    # ---- how ------------------------------------------------------------------------------

    def _order(
        self,
        prepare: Callable[[], tuple[Request | Control, list[Buffer]]],
        *,
        ticket: str = "",
        control: bool = False,
    ) -> str:
        """Let the thread prepare and send a message; its outcome is published."""
        ticket = ticket or new_token()

        def then(message: Message[Reply] | None, trouble: Trouble | None) -> None:
            self._inbox.put(Outcome(ticket, message.body if message else None, trouble))

        def carry_out() -> None:
            try:
                body, frames = prepare()
            except TroubleError as error:
                then(None, error.trouble)
                return
            except Exception as error:
                text = "An order must be one that can be sent, but it is not ({cause})."
                then(None, Trouble(text, Remedy.OPEN_LOG, values={"cause": error}))
                return
            self._courier.order(ticket, body, frames, then, control=control)

        self._courier.call(carry_out)
        return ticket

    def _download(self, ticket: str, job: str, name: str, path: Path, arrived: Arrived) -> None:
        def ask(body: Fetch, then: Answered) -> None:
            self._courier.order(new_token(), body, [], then)

        def progress(fraction: float) -> None:
            self._inbox.put(FetchProgress(ticket, job, name, fraction))

        download = Download(job, name, path, ask, progress, arrived)
        self._courier.call(download.start)
