# SPDX-License-Identifier: Apache-2.0
"""Who follows the board, and what is on the way to each: nobody can make it grow, or wait."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from backend.limits import Allowance, Limits
from backend.streaming import Board, Listener, Posted, compressed
from blender_addon.frames import Buffer, ProtocolError, can_compress, decode
from blender_addon.protocol import FEEDS, Follow, Received

log = logging.getLogger("backend")

LISTENER_SECONDS = 60.0
"""A listener that says nothing for so long is forgotten; it may follow again."""

Send = Callable[[bytes, Posted], bool]
"""Sends an event to a client; says whether it went."""
InBackground = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Lets a file thread do something, and the server's own thread deal with the outcome."""


class Feeds:
    """The listeners, and what each of them lacks."""

    def __init__(
        self, board: Board, session: str, limits: Limits, send: Send, in_background: InBackground
    ) -> None:
        self._board, self._session, self._limits = board, session, limits
        self._send, self._in_background = send, in_background
        self._listeners: dict[bytes, Listener] = {}
        self._allowances: dict[str, Allowance] = {}

    def on_message(self, identity: bytes, frames: list[Buffer], owner: str) -> None:
        """Note what a listener says; what cannot be read is only logged: nothing is answered."""
        try:
            body = decode(frames, FEEDS).body
        except ProtocolError as error:
            log.warning("feed refused", extra={"facts": {"why": str(error)[:200]}})
            return
        match body:
            case Follow():
                self._follow(identity, owner, body)
            case Received(sequence):
                listener = self._listeners.get(identity)
                if listener is not None and listener.owner == owner:
                    listener.received(sequence)
                    listener.heard = time.monotonic()

    def _follow(self, identity: bytes, owner: str, wanted: Follow) -> None:
        allowance = self._allowances.setdefault(owner, Allowance(self._limits, self._limits.burst))
        if not allowance.take():
            log.warning("follows too often", extra={"facts": {"client": owner[:8]}})
            return
        self._listeners.pop(identity, None)
        mine = [one for one in self._listeners.values() if one.owner == owner]
        if len(mine) >= self._limits.listeners:
            quietest = min(mine, key=lambda one: one.heard)
            log.warning("listener forgotten", extra={"facts": {"client": owner[:8]}})
            del self._listeners[quietest.identity]
        since = wanted.since if wanted.session == self._session else 0
        self._listeners[identity] = Listener(
            identity,
            owner,
            sequence=since,
            zstd=wanted.zstd and can_compress(),
            heard=time.monotonic(),
        )

    def pump(self) -> None:
        """Send every listener what it lacks and has room for."""
        for listener in list(self._listeners.values()):
            while (posted := listener.next(self._board)) is not None:
                if listener.zstd and posted.frames:
                    self._compress(listener, posted)
                elif not self._sent(listener, posted):
                    break

    def _compress(self, listener: Listener, posted: Posted) -> None:
        """Send an event once a file thread has compressed it; until then the listener waits."""
        listener.waits = True

        def settle(packed: Posted) -> None:
            listener.waits = False
            if self._listeners.get(listener.identity) is listener:
                self._sent(listener, packed)

        self._in_background(partial(compressed, posted), settle)

    def _sent(self, listener: Listener, posted: Posted) -> bool:
        """Send an event; a listener that does not take it is forgotten."""
        if self._send(listener.identity, posted):
            return True
        self._listeners.pop(listener.identity, None)
        return False

    def forget_quiet(self) -> None:
        """Forget those who have said nothing for long."""
        before = time.monotonic() - LISTENER_SECONDS
        self._listeners = {i: one for i, one in self._listeners.items() if one.heard > before}
