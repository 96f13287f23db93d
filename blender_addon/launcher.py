# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, watches and ends the backend on this machine.

A thread of its own does all of it, so that no method ever waits; what stands is read from
`status`, a value that is replaced as a whole. A second Blender finds the first one's backend by
the connection file and uses it; when that ends, it starts its own.
"""

import threading

from .keeper import Keeper, Wish
from .launch import Launch, Limits, Phase, Status

__all__ = ["Launch", "Launcher", "Limits", "Phase", "Status"]


class Launcher:
    """Keeps one backend up. Every public method returns at once and may be called anywhere."""

    def __init__(self, launch: Launch, limits: Limits | None = None) -> None:
        """Make ready; nothing happens before `start`."""
        self._keeper = Keeper(launch, limits or Limits())
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def status(self) -> Status:
        """How it stands now."""
        return self._keeper.status

    def start(self) -> None:
        """Have a backend: find one that runs already, or start it. Forgets earlier failures."""
        self._wish(Wish.START)

    def restart(self) -> None:
        """Stop it if it is ours, and start it anew."""
        self._wish(Wish.RESTART)

    def stop(self) -> None:
        """Let our backend write its checkpoint and end; leave one that others started."""
        self._wish(Wish.STOP)

    def close(self, seconds: float) -> bool:
        """Stop, and wait for that at most so long (`unregister`, exit); say whether it is done.

        Afterwards no process of ours is left, or it is on its way out by itself; with
        `keep_running` it goes on. Wishes that come later are ignored.
        """
        self._wish(Wish.CLOSE)
        self._closed = True
        thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _wish(self, wish: Wish) -> None:
        """Hand a wish to the thread, which begins with the first."""
        with self._lock:
            if self._closed:
                return
            if self._thread is None and wish in (Wish.START, Wish.RESTART):
                self._thread = threading.Thread(
                    target=self._keeper.run, name="GeneMAN launcher", daemon=True
                )
                self._thread.start()
            self._keeper.wishes.put(wish)
