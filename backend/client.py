# SPDX-License-Identifier: Apache-2.0
"""A client for programs without a window: the terminal, batches, tests."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import zmq

from backend.keys import Connection
from blender_addon.frames import (
    Buffer,
    Envelope,
    Message,
    Packer,
    decode,
    encode,
    new_token,
)
from blender_addon.protocol import (
    EVENTS,
    MAX_CHUNK_BYTES,
    REPLIES,
    Artefact,
    Chunk,
    Control,
    Event,
    Fetch,
    Follow,
    JobIs,
    Problem,
    Received,
    Refused,
    Reply,
    Request,
    Submit,
)
from blender_addon.protocol_addresses import endpoint, is_ipv6

R = TypeVar("R")

PATIENCE_SECONDS = 15.0


class ServerGoneError(Exception):
    """Nobody answers, or not to this key; the text says what to do."""


class RequestRefusedError(Exception):
    """The server refused, and said why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.sentence)


class Client:
    """A connection to a server; one thread may use it at a time."""

    def __init__(
        self, connection: Connection, *, patience: float = PATIENCE_SECONDS, zstd: bool = False
    ) -> None:
        """Connect; with `zstd`, arrays and files come compressed, for a slow line."""
        self._connection, self._patience, self._zstd = connection, patience, zstd
        self._context = zmq.Context()
        self._requests = self._connected(connection.requests)
        self._control = self._connected(connection.control)
        self._events: zmq.Socket[bytes] | None = None
        self.session, self.sequence = "", 0

    def __enter__(self) -> "Client":
        """Give the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)

    def _connected(self, port: int) -> zmq.Socket[bytes]:
        found = self._context.socket(zmq.DEALER)
        found.linger = 0
        found.curve_serverkey = self._connection.server_key.encode()
        found.curve_publickey = self._connection.client.public.encode()
        found.curve_secretkey = self._connection.client.secret.encode()
        found.ipv6 = is_ipv6(self._connection.host)
        found.connect(endpoint(self._connection.host, port))
        return found

    # ---- requests ---------------------------------------------------------------------------

    def ask(self, body: Request, expected: type[R], frames: Sequence[Buffer] = ()) -> R:
        """Send a request and give the body of the reply.

        Raises:
            RequestRefusedError: The server refused.
            ServerGoneError: It does not answer.
        """
        return _expected(self._round_trip(self._requests, body, frames).body, expected)

    def command(self, body: Control, expected: type[R]) -> R:
        """Send a control message and give the body of the reply; errors as `ask`."""
        return _expected(self._round_trip(self._control, body, ()).body, expected)

    def _round_trip(
        self, where: zmq.Socket[bytes], body: Request | Control, frames: Sequence[Buffer]
    ) -> Message[Reply]:
        asked = new_token()
        where.send_multipart(encode(Envelope(id=asked, body=body), frames), copy=False)
        deadline = time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            if where.poll(int(left * 1000)):
                reply = decode(where.recv_multipart(), REPLIES)
                if reply.envelope.parent in (asked, ""):
                    return reply
        raise ServerGoneError(
            f"The backend must answer within {self._patience:.0f} seconds, but nobody did at "
            f"{self._connection.host}:{self._connection.requests}: see that it runs and that this "
            "machine's key is authorised there."
        )

    def submit(self, photo: bytes, packer: Packer | None = None, **wish: Any) -> JobIs:
        """Send a photo to be reconstructed; `wish` holds `Submit`'s other fields."""
        packer = packer or Packer()
        body = Submit(photo=packer.add_file(photo), **({"job": new_token(), "label": ""} | wish))
        return self.ask(body, JobIs, packer.frames)

    def fetch(self, job: str, artefact: Artefact, path: Path) -> None:
        """Write an artefact to a file, whole or not at all.

        Raises:
            OSError: It changed on the way, or the disk refuses it.
            RequestRefusedError: The server refused.
        """
        digest, partial = hashlib.sha256(), path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            while file.tell() < artefact.size:
                wanted = Fetch(job, artefact.name, file.tell(), MAX_CHUNK_BYTES, self._zstd)
                reply = self._round_trip(self._requests, wanted, ())
                data = reply.file(_expected(reply.body, Chunk).data)
                if not data:
                    break
                file.write(data)
                digest.update(data)
        if digest.hexdigest() != artefact.sha256:
            partial.unlink()
            raise OSError(f"{artefact.name} changed while it was fetched; fetch it again")
        partial.replace(path)

    # ---- events -----------------------------------------------------------------------------

    def follow(self) -> None:
        """Begin to listen, or go on after the last event that was heard."""
        if self._events is None:
            self._events = self._connected(self._connection.events)
        self._feed(Follow(self.session, self.sequence, self._zstd))

    def event(self, timeout: float) -> Message[Event] | None:
        """Give the next event and acknowledge it; nothing if none comes in time."""
        if self._events is None or not self._events.poll(int(timeout * 1000)):
            return None
        message = decode(
            [frame.buffer for frame in self._events.recv_multipart(copy=False)], EVENTS
        )
        self.session, self.sequence = message.envelope.session, message.envelope.sequence
        self._feed(Received(self.sequence))
        return message

    def events(self, timeout: float) -> Iterator[Message[Event]]:
        """Give events until none comes for so long."""
        while (message := self.event(timeout)) is not None:
            yield message

    def wait(self, found: Callable[[Event], bool], timeout: float) -> Event:
        """Give the first event that is wanted.

        Raises:
            TimeoutError: It does not come in time.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            message = self.event(min(left, 1.0))
            if message is not None and found(message.body):
                return message.body
        raise TimeoutError(f"no such event within {timeout:.0f} seconds")

    def _feed(self, body: Follow | Received) -> None:
        assert self._events is not None
        self._events.send_multipart(encode(Envelope(id=new_token(), body=body)))


def _expected(body: Reply, expected: type[R]) -> R:
    if isinstance(body, Refused):
        raise RequestRefusedError(body.problem)
    return msgspec.convert(body, expected)
