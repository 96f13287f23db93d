# SPDX-License-Identifier: Apache-2.0
"""The server's sockets: where they listen, whom they let in, and how much they hold."""

import logging
import socket
from dataclasses import dataclass
from typing import Protocol

import zmq

from backend.exits import Exit, StartError
from backend.keys import AuthorisedKeys, KeyPair
from blender_addon.protocol_addresses import endpoint, is_ipv6

log = logging.getLogger("backend")

MAX_FRAME_BYTES = 64 * 2**20
"""Of a request: a photo, an edited mesh, a 4096 px texture."""
MAX_SMALL_BYTES = 64 * 2**10
"""Of a control or feed message."""
RECEIVE_AHEAD = 2
"""Requests of one client that wait in the server's memory."""
REPLIES_AHEAD = 16
"""Replies that a client has not collected; more are dropped."""
ROUND = 64
"""Messages of one socket that are dealt with before the others' turn."""


class Authoriser(Protocol):
    """Who may connect, as pyzmq's authenticator asks."""

    def callback(self, domain: str, key: bytes) -> bool:
        """Say whether the holder of a public key may connect."""


class Listed:
    """Lets in those whose key is on the list."""

    def __init__(self, keys: AuthorisedKeys) -> None:
        self._keys = keys

    def callback(self, domain: str, key: bytes) -> bool:
        """Look a key up; the log says whom it kept out."""
        allowed = self._keys.allows(key.decode("ascii"))
        if not allowed:
            log.warning("key refused", extra={"facts": {"client": key.decode("ascii")[:8]}})
        return allowed


@dataclass(frozen=True)
class Address:
    """Where the server listens; port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 0
    """Of requests; control and events take the next two."""


class Waker:
    """Lets other threads end the loop's sleep."""

    def __init__(self) -> None:
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    def fileno(self) -> int:
        """Give what the loop polls."""
        return self._woken.fileno()

    def wake(self) -> None:
        """Let the loop look around now; callable from any thread."""
        try:
            self._wake.send(b"!")
        except OSError:
            return  # it is awake already, or it has left

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


def bound(
    context: zmq.Context[zmq.Socket[bytes]], address: Address, index: int, keys: KeyPair
) -> tuple[zmq.Socket[bytes], int]:
    """Open one of the three sockets; give it and its port.

    Raises:
        StartError: The address cannot be bound.
    """
    found = context.socket(zmq.ROUTER)
    found.linger = 0
    found.ipv6 = is_ipv6(address.host)
    found.router_mandatory = True
    found.curve_server = True
    found.curve_secretkey = keys.secret.encode()
    found.zap_domain = b"clients"
    found.maxmsgsize = MAX_FRAME_BYTES if index == 0 else MAX_SMALL_BYTES
    found.rcvhwm = RECEIVE_AHEAD if index == 0 else ROUND
    found.sndhwm = REPLIES_AHEAD if index == 0 else 1000
    found.heartbeat_ivl, found.heartbeat_timeout = 5000, 20000
    try:
        if address.port:
            port = address.port + index
            found.bind(endpoint(address.host, port))
        else:
            port = found.bind_to_random_port(endpoint(address.host))
    except zmq.ZMQError as error:
        found.close()
        raise StartError(
            Exit.PORT_TAKEN,
            f"The server must be able to listen on {address.host}, port "
            f"{address.port + index if address.port else 'of any number'}, but got "
            f"'{error.strerror}': choose another, or leave --port out.",
        ) from error
    return found, port
