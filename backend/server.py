# SPDX-License-Identifier: Apache-2.0
"""The server: three sockets, one thread that never computes and never waits for a disk.

Control is looked at before anything else, in each round. Large files are read and written by two
file threads. Everything that could grow has a bound: frames, requests under way, replies that a
client does not collect, events on the way to a listener.
"""

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator

from backend.desk import Answer, Desk, Later
from backend.exits import StartError
from backend.feeds import Feeds
from backend.keys import AuthorisedKeys, KeyPair
from backend.limits import UnderWay
from backend.refusals import RefusedError
from backend.sockets import ROUND, Address, Listed, Waker, bound
from backend.streaming import Posted
from blender_addon.frames import Buffer, Envelope, Message, ProtocolError, decode, encode, new_token
from blender_addon.protocol import (
    CONTROLS,
    REQUESTS,
    Kind,
    Problem,
    Refused,
    Stopping,
)

log = logging.getLogger("backend")

Body = TypeVar("Body")

TICK_MILLISECONDS = 100
FAREWELL_SECONDS = 0.2
HOUSEKEEPING_SECONDS = 60.0


class Server:
    """Moves messages between clients, desk and board."""

    def __init__(
        self,
        desk: Desk,
        address: Address,
        waker: Waker,
        *,
        keys: KeyPair,
        authorised: AuthorisedKeys,
    ) -> None:
        """Open the sockets.

        Raises:
            StartError: The address cannot be bound.
        """
        self.desk, self.session = desk, new_token()
        self._waker = waker
        self._context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(
            domain="clients", credentials_provider=Listed(authorised)
        )
        self.ports: list[int] = []
        try:
            opened = []
            for index in range(3):
                one, port = bound(self._context, address, index, keys)
                opened.append(one)
                self.ports.append(port)
            self._requests, self._control, self._events = opened
        except StartError:
            self.close()
            raise
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._files = ThreadPoolExecutor(2, "files")
        self._under_way = UnderWay(desk.limits)
        self._feeds = Feeds(
            desk.board, self.session, desk.limits, self._send_event, self.in_background
        )

    def close(self) -> None:
        """Close everything; whatever was not sent is dropped."""
        self._authenticator.stop()
        self._context.destroy(linger=0)

    # ---- the loop ---------------------------------------------------------------------------

    def run(
        self,
        asked_to_stop: threading.Event,
        parent_is_there: Callable[[], bool],
        outdated: Callable[[], list[Later]],
    ) -> None:
        """Serve until somebody asks to stop, then let the worker finish its checkpoint."""
        poller = zmq.Poller()
        for one in (self._control, self._requests, self._events):
            poller.register(one, zmq.POLLIN)
        poller.register(self._waker.fileno(), zmq.POLLIN)
        supervisor, next_housekeeping = self.desk.supervisor, 0.0
        while supervisor.workers or self._under_way or not supervisor.stopping:
            poller.poll(TICK_MILLISECONDS)
            self._round()
            if supervisor.stopping:
                continue
            if time.monotonic() > next_housekeeping:
                next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
                self._feeds.forget_quiet()
                for deletion in outdated():
                    self._delete(deletion)
            if asked_to_stop.is_set() or self.desk.shutdown or not parent_is_there():
                log.info("stopping")
                self.desk.board.post(None, Stopping())
                supervisor.stop()
        self._feeds.pump()
        time.sleep(FAREWELL_SECONDS)  # for what is on its way to the clients
        self._files.shutdown()

    def _round(self) -> None:
        """Deal with everything that waits, control first."""
        self._waker.drain()
        self._serve(self._control, self._on_control)
        while not self._calls.empty():
            self._calls.get()()
        self._serve(self._events, self._feeds.on_message)
        self._serve(self._requests, self._on_request)
        self.desk.supervisor.tick()
        self._feeds.pump()

    def _serve(
        self,
        where: zmq.Socket[bytes],
        handle: Callable[[bytes, list[Buffer], str], None],
    ) -> None:
        """Deal with what has come on one socket."""
        for _ in range(ROUND):
            try:
                identity, *frames = where.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            owner = str(identity.get("User-Id"))
            handle(identity.bytes, [frame.buffer for frame in frames], owner)
        self._waker.wake()

    # ---- requests and control ---------------------------------------------------------------

    def _on_control(self, identity: bytes, frames: list[Buffer], owner: str) -> None:
        self._answer(
            self._control,
            identity,
            frames,
            owner,
            CONTROLS,
            lambda message: self.desk.command(message.body, owner),
        )

    def _on_request(self, identity: bytes, frames: list[Buffer], owner: str) -> None:
        def ask(message: Message[Any]) -> Answer | Later:
            if self.desk.supervisor.stopping:
                raise RefusedError(
                    Kind.STOPPING,
                    "a request must come before the server stops",
                    value="one after that",
                    remedy="send it again when the server has been started anew",
                )
            self._under_way.must_have_room(owner)
            return self.desk.ask(message, owner)

        self._answer(self._requests, identity, frames, owner, REQUESTS, ask)

    def _answer(
        self,
        where: zmq.Socket[bytes],
        identity: bytes,
        frames: list[Buffer],
        owner: str,
        decoder: msgspec.msgpack.Decoder[Envelope[Body]],
        ask: Callable[[Message[Body]], Answer | Later],
    ) -> None:
        """Answer a message, whatever it is, and whatever becomes of it."""
        parent = ""

        def reply(outcome: Answer) -> None:
            body, arrays = outcome
            self._send(where, identity, body, arrays, parent=parent)

        def guarded(produce: Callable[[], Answer | Later]) -> None:
            try:
                outcome = produce()
            except (RefusedError, ProtocolError) as error:
                reply((Refused(_told(error)), []))
            except Exception as error:
                full = isinstance(error, OSError) and error.errno in FULL_DISK
                log.exception("request failed")
                reply((Refused(DISK_FULL if full else OUR_FAULT), []))
            else:
                if isinstance(outcome, Later):
                    self._later(outcome, guarded, owner, sum(map(_nbytes, frames)))
                else:
                    reply(outcome)

        def first() -> Answer | Later:
            nonlocal parent
            message = decode(frames, decoder)
            parent = message.envelope.id
            return ask(message)

        guarded(first)

    def _later(
        self,
        later: Later,
        guarded: Callable[[Callable[[], Answer | Later]], None],
        owner: str,
        nbytes: int,
    ) -> None:
        self._under_way.add(owner, nbytes)

        def finished(work: Future[Any]) -> None:
            def settle() -> None:
                self._under_way.add(owner, -nbytes, requests=-1)
                self.desk.settled(later.job)
                guarded(lambda: later.then(work.result()))

            self._calls.put(settle)
            self._waker.wake()

        self._files.submit(later.work).add_done_callback(finished)

    def in_background(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Let a file thread do something and the loop deal with the outcome."""

        def settle(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                then(done.result())
            else:
                log.error("background work failed", exc_info=error)

        def finished(done: Future[Any]) -> None:
            self._calls.put(lambda: settle(done))
            self._waker.wake()

        self._files.submit(work).add_done_callback(finished)

    def _delete(self, deletion: Later) -> None:
        """Delete what a policy no longer keeps; nobody waits for that."""
        self.in_background(deletion.work, lambda _: self.desk.settled(deletion.job))

    # ---- sending ----------------------------------------------------------------------------

    def _send_event(self, identity: bytes, posted: Posted) -> bool:
        return self._send(
            self._events,
            identity,
            posted.body,
            posted.frames,
            parent=posted.parent,
            sequence=posted.sequence,
        )

    def _send(
        self,
        where: zmq.Socket[bytes],
        identity: bytes,
        body: object,
        arrays: Any,
        *,
        parent: str = "",
        sequence: int = 0,
    ) -> bool:
        """Send a message unless its client is gone or does not collect; say whether it went."""
        envelope = Envelope(
            id=f"{self.session[:16]}{time.monotonic_ns():016x}",
            parent=parent,
            session=self.session,
            sequence=sequence,
            body=body,
        )
        try:
            where.send_multipart([identity, *encode(envelope, arrays)], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            log.info("client gone", extra={"facts": {"why": error.strerror}})
            return False
        return True


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = Problem(
    Kind.DISK, "The server's disk is full: remove old jobs or free some space there."
)
OUR_FAULT = Problem(
    Kind.FAULT, "The request could not be answered; it is our fault: the server's log tells more."
)


def _nbytes(frame: Buffer) -> int:
    return memoryview(frame).nbytes


def _told(error: RefusedError | ProtocolError) -> Problem:
    if isinstance(error, RefusedError):
        return error.problem
    return Problem(Kind.PROTOCOL, str(error))
