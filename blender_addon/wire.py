# SPDX-License-Identifier: GPL-3.0-or-later
"""Three sockets to one server, and what their monitors tell about them.

A wire is used by one thread, is never mended, and is closed whole: whoever wants to try again
makes another.
"""

import enum
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from .connection import Connection
from .frames import Buffer
from .protocol_addresses import is_ipv6

HEARTBEAT_MILLISECONDS, HEARTBEAT_TIMEOUT = 5000, 20000
"""Of ZeroMQ's own: end half-open connections, for which no packet would ever come."""
RECONNECT_MILLISECONDS = 250
WAITING_MESSAGES = 8
"""Events that wait in the socket while nobody reads; the server keeps the rest."""


class Condition(enum.Enum):
    """What is known about the way to the server."""

    NOBODY = "nobody"
    """Nobody listens there."""
    SHAKING = "shaking"
    """Somebody listens; keys are being exchanged."""
    UP = "up"
    KEY_REFUSED = "key refused"
    """Our key is not authorised."""
    STRANGE = "strange"
    """Somebody listens who does not have the server's key, or no such server at all."""
    BROKEN = "broken"
    """It was up."""


@dataclass
class _Line:
    """One socket and its monitor."""

    socket: "zmq.Socket[bytes]"
    monitor: "zmq.Socket[bytes]"
    condition: Condition = Condition.NOBODY
    failures: int = 0
    """Handshakes that failed for an unknown reason."""

    def look(self) -> None:
        """Take in what the monitor tells."""
        while self.monitor.poll(0):
            self._note(recv_monitor_message(self.monitor)["event"])

    def _note(self, event: int) -> None:
        match event:
            case zmq.EVENT_CONNECTED if self.condition is Condition.NOBODY:
                self.condition = Condition.SHAKING
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.condition = Condition.UP
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.condition = Condition.KEY_REFUSED
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self._failed()
            case zmq.EVENT_DISCONNECTED if self.condition is Condition.UP:
                self.condition = Condition.BROKEN
            case zmq.EVENT_DISCONNECTED if self.condition is Condition.SHAKING:
                self._failed()
            case _:
                return

    def _failed(self) -> None:
        """One failure may be a server that was just stopping; two are another server."""
        self.failures += 1
        if self.condition is not Condition.KEY_REFUSED:
            self.condition = Condition.STRANGE if self.failures > 1 else Condition.NOBODY


@dataclass
class Wire:
    """Sockets for requests, control and events."""

    connection: Connection
    _context: "zmq.Context[zmq.Socket[bytes]]" = field(default_factory=zmq.Context)

    def __post_init__(self) -> None:
        try:
            self._requests = self._line(self.connection.requests)
            self._control = self._line(self.connection.control)
            self._events = self._line(self.connection.events)
        except zmq.ZMQError:
            self.close()
            raise
        self.requests, self.control = self._requests.socket, self._control.socket
        self.events = self._events.socket

    def _line(self, port: int) -> _Line:
        found = self._context.socket(zmq.DEALER)
        found.linger = 0
        found.ipv6 = is_ipv6(self.connection.host)
        found.rcvhwm = WAITING_MESSAGES
        found.reconnect_ivl = RECONNECT_MILLISECONDS
        found.heartbeat_ivl = HEARTBEAT_MILLISECONDS
        found.heartbeat_timeout = HEARTBEAT_TIMEOUT
        found.curve_serverkey = self.connection.server_key.encode()
        found.curve_publickey = self.connection.client.public.encode()
        found.curve_secretkey = self.connection.client.secret.encode()
        where: Any = f"inproc://monitor.{port}".encode()  # bytes, as `endpoint` says why
        monitor = found.get_monitor_socket(zmq.EVENT_ALL, where)
        found.connect(self.connection.endpoint(port))
        return _Line(found, monitor)

    @property
    def condition(self) -> Condition:
        """The worst that is known of any socket, but up only if all are."""
        lines = (self._requests, self._control, self._events)
        for line in lines:
            line.look()
        found = {line.condition for line in lines}
        for bad in (Condition.KEY_REFUSED, Condition.BROKEN, Condition.STRANGE):
            if bad in found:
                return bad
        if found == {Condition.UP}:
            return Condition.UP
        return Condition.NOBODY if Condition.NOBODY in found else Condition.SHAKING

    def wait(self, seconds: float, waker: "Waker", *, events: bool) -> None:
        """Wait for a message, a change of condition, or somebody who wakes us."""
        poller = zmq.Poller()
        sockets: list[Any] = [self.requests, self.control, waker.fileno()]
        sockets += [line.monitor for line in (self._requests, self._control, self._events)]
        if events:
            sockets.append(self.events)
        for one in sockets:
            poller.register(one, zmq.POLLIN)
        poller.poll(max(0, int(seconds * 1000)))

    def close(self) -> None:
        """Close everything; what was not sent is dropped."""
        self._context.destroy(linger=0)


def send(where: "zmq.Socket[bytes]", frames: Sequence[Buffer]) -> bool:
    """Send a message if there is room for it in the socket; say whether it went."""
    try:
        where.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def receive(where: "zmq.Socket[bytes]") -> list[Buffer] | None:
    """Give the next message's frames without a copy, or nothing."""
    try:
        parts = where.recv_multipart(zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return None
    return [part.buffer for part in parts]


class Waker:
    """Lets other threads end the sleep of the one that owns the sockets."""

    def __init__(self) -> None:
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    def fileno(self) -> int:
        """Give what is polled."""
        return self._woken.fileno()

    def wake(self) -> None:
        """Let the owner look around now; callable from any thread, at any time."""
        try:
            self._wake.send(b"!")
        except OSError:
            return  # it is awake already, or gone

    def drain(self) -> None:
        """Forget all wishes so far."""
        try:
            while self._woken.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close both ends."""
        self._wake.close()
        self._woken.close()
