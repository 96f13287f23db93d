# SPDX-License-Identifier: GPL-3.0-or-later
"""A line to a server's control socket alone: is it there, and will it please stop?"""

import time

import zmq

from .connection import Connection
from .frames import Envelope, encode, new_token
from .protocol import Control, Ping, Shutdown
from .protocol_addresses import is_ipv6


class Heartbeat:
    """Asks one server whether it is there; used by one thread, and never waits for long."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.heard: float | None = None
        """When it last answered, by the monotonic clock."""
        self._asked = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.sndhwm = 4  # of a server that hangs, only so many questions wait
        self._socket.ipv6 = is_ipv6(connection.host)
        self._socket.curve_serverkey = connection.server_key.encode()
        self._socket.curve_publickey = connection.client.public.encode()
        self._socket.curve_secretkey = connection.client.secret.encode()
        try:
            self._socket.connect(connection.endpoint(connection.control))
        except zmq.ZMQError:
            self.close()
            raise

    def look(self, every: float) -> None:
        """Take in answers, and ask again if it is time."""
        now = time.monotonic()
        try:
            while self._socket.recv_multipart(zmq.NOBLOCK):
                self.heard = now
        except zmq.Again:
            pass
        if now - self._asked > every:
            self._asked = now
            self._say(Ping())

    def answers(self, within: float) -> bool:
        """Wait for an answer for a moment; say whether it came."""
        self._say(Ping())
        if self._socket.poll(int(within * 1000)):
            self.look(within)
        return self.heard is not None

    def shut_down(self) -> None:
        """Ask it to stop."""
        self._say(Shutdown())

    def _say(self, body: Control) -> None:
        try:
            self._socket.send_multipart(encode(Envelope(id=new_token(), body=body)), zmq.NOBLOCK)
        except zmq.Again:
            return  # it does not take what waits already

    def close(self) -> None:
        """Close the line; a question to stop that is on its way still goes."""
        self._socket.close(linger=200)
        self._context.term()
