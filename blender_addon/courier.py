# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the client's thread: keeps a wire up, carries orders out and events in."""

import queue
import select
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from .connection import THIS_MACHINE, Connection, Source
from .frames import MAJOR, Buffer, Envelope, VersionError, decode, encode, new_token
from .listening import Listening
from .pending import Answered, Order, Pending
from .protocol import (
    REPLIES,
    Control,
    Follow,
    Hello,
    Jobs,
    ListJobs,
    Ping,
    Received,
    Request,
    Welcome,
)
from .troubles import Remedy, Trouble, TroubleError
from .updates import AllJobs, Inbox, Link, LinkChanged
from .wire import Condition, Waker, Wire, receive, send

PROGRAM = "GeneMAN for Blender"
TICK_SECONDS = 0.25
LOOK_SECONDS = 0.5
"""Between two looks at the connection file while there is no connection."""
FEED_SECONDS = 15.0
"""Between two signs of life on the events' socket; the server forgets a listener after 60."""
NOBODY_SECONDS = 2.0
"""So long nobody may listen before that is said: a server that starts is not yet there."""
_NEWER_BACKEND = (
    "Add-on and backend must speak the same protocol, but the backend on {place} speaks {theirs} "
    "and the add-on {ours}: update the add-on."
)
_OLDER_BACKEND = (
    "Add-on and backend must speak the same protocol, but the backend on {place} speaks {theirs} "
    "and the add-on {ours}: update the backend."
)


@dataclass(frozen=True)
class Patience:
    """How long the client waits, in seconds."""

    silence: float = 10.0
    """Without a sign of life: then the connection counts as lost. The server answers within
    milliseconds, but a machine that is all busy may let it wait."""
    upload: float = 60.0
    """The same while something large is being sent: answers may queue behind it."""
    ping: float = 1.5
    """Between two questions whether the backend is there."""
    retry: float = 0.5
    """Before the second attempt to connect; doubles with each, up to `slowest_retry`."""
    slowest_retry: float = 10.0
    offline: float = 60.0
    """How long an order waits for a connection."""
    answer: float = 300.0
    """How long an order waits for its answer; large photos over slow lines take their time."""


@dataclass
class Courier:
    """Owns the sockets. `run` is the thread; `give`, `stop` and `try_now` are for the others."""

    source: Source
    version: str
    patience: Patience
    inbox: Inbox
    waker: Waker = field(default_factory=Waker)
    link: LinkChanged = field(default_factory=lambda: LinkChanged(Link.CLOSED))
    """What was published last."""
    heard: float = 0.0
    """When the server last said something, by the monotonic clock."""
    _calls: "queue.SimpleQueue[Callable[[], None]]" = field(default_factory=queue.SimpleQueue)
    _pending: Pending = field(default_factory=Pending)
    _wire: Wire | None = None
    _tried: Connection | None = None
    _opened: float = 0.0
    _looked: float = 0.0
    _asked: float = 0.0
    _fed: float = 0.0
    _next_attempt: float = 0.0
    _failures: int = 0
    _connected: bool = False
    _ever: bool = False
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.listening = Listening(self.inbox)
        self.inbox.on_room(self.waker.wake)

    # ---- for other threads ------------------------------------------------------------------

    def call(self, what: Callable[[], None]) -> None:
        """Let something run on this thread soon."""
        self._calls.put(what)
        self.waker.wake()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping = True
        self.waker.wake()

    def try_now(self) -> None:
        """Do not wait for the next attempt's time."""

        def forget() -> None:
            self._next_attempt = self._looked = 0.0

        self.call(forget)

    # ---- the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Keep the connection up until somebody stops it."""
        self._publish(Link.CONNECTING)
        while not self._stopping:
            try:
                self._round(time.monotonic())
            except Exception as error:
                fault = Trouble(
                    "The connection must not fail in ways we do not know, but it did ({kind}): "
                    "report it; it is tried again.",
                    Remedy.REPORT,
                    traceback.format_exc(),
                    values={"kind": type(error).__name__},
                )
                self._lose(Link.LOST, fault, self.patience.slowest_retry)
        self._pending.give_up(
            lambda _: True,
            Trouble("The connection was closed before this was answered.", Remedy.CONNECT),
        )
        self._close()
        self._publish(Link.CLOSED)
        self.waker.close()

    def _round(self, now: float) -> None:
        self.waker.drain()
        while not self._calls.empty():
            self._calls.get()()
        if now - self._looked > LOOK_SECONDS and not self._connected:
            self._looked = now
            self._look(now)
        self._expire(now)
        if self._wire is None:
            select.select([self.waker.fileno()], [], [], TICK_SECONDS)
            return
        if self._connected:
            self._send_orders(self._wire)
        self._wire.wait(TICK_SECONDS, self.waker, events=not self.inbox.full)
        now = time.monotonic()
        if not self._examine(self._wire, now):
            return
        try:
            self._hear_replies(self._wire, now)
            self._hear_events(self._wire, now)
        except VersionError:
            return  # said by whoever raised it
        self._keep_alive(self._wire, now)

    # ---- the wire ---------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """See where the backend is, and try it there if that is new or due."""
        try:
            found = self.source.connection()
        except TroubleError as error:
            self._close()
            self._tried = None
            self._publish(self._away, error.trouble)
            return
        if found == self._tried and (self._wire is not None or now < self._next_attempt):
            return
        self._close()
        self._tried = found
        try:
            self._wire = Wire(found)
        except zmq.ZMQError as error:
            trouble = Trouble(
                "A backend's address must be one that can be reached, but '{host}' is not "
                "({cause}): look at it in the preferences.",
                Remedy.CONNECT,
                values={"host": found.host, "cause": error.strerror},
            )
            self._lose(Link.REFUSED, trouble, self.patience.slowest_retry)
            return
        self._opened = self.heard = self._asked = now
        self._say(self._wire.requests, Hello(PROGRAM, self.version))
        if self.link.link is Link.CLOSED:
            self._publish(Link.CONNECTING)

    @property
    def _away(self) -> Link:
        return Link.LOST if self._ever else Link.CONNECTING

    def _examine(self, wire: Wire, now: float) -> bool:
        """See whether the wire is of any use; say whether to go on with it."""
        condition, place = wire.condition, self.source.place
        slow = self.patience.slowest_retry
        if condition is Condition.KEY_REFUSED:
            key = wire.connection.client.public
            trouble = Trouble(
                "This machine's key must be authorised by the backend on {place}, but it was "
                "refused: run `geneman serve --authorize '{key}'` there.",
                Remedy.CONNECT,
                key,
                values={"place": place, "key": key},
            )
            self._lose(Link.REFUSED, trouble, slow)
        elif condition is Condition.STRANGE:
            trouble = Trouble(
                "The backend on {place} must have the key that we know, but whoever answers has "
                "another: copy its server key or connection file anew.",
                Remedy.CONNECT,
                values={"place": place},
            )
            self._lose(Link.REFUSED, trouble, slow)
        elif condition is Condition.BROKEN:
            self._lose(Link.LOST, _ended(place), self.patience.retry)
        elif condition is Condition.NOBODY and not self._connected:
            if now - self._opened > NOBODY_SECONDS:
                self._publish(self._away, _nobody(place))
        elif now - self.heard > (limit := self._silence):
            delay = min(self.patience.retry * 2.0**self._failures, slow)
            self._lose(Link.LOST, _silent(place, limit), delay)
        return self._wire is not None

    @property
    def _silence(self) -> float:
        """How long the server may say nothing; longer while an upload fills the line."""
        patience = self.patience
        return patience.upload if self._pending.uploading else patience.silence

    def _lose(self, link: Link, trouble: Trouble, delay: float) -> None:
        self._close()
        self._failures += 1
        self._next_attempt = time.monotonic() + delay
        self._looked = 0.0
        self._publish(link, trouble)

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire, self._connected = None, False
        self._pending.again()

    def _publish(self, link: Link, trouble: Trouble | None = None, *, anew: bool = False) -> None:
        """Tell how the connection stands, if that is news or `anew` says so."""
        news = LinkChanged(link, trouble, self.listening.welcome)
        if news != self.link or anew:
            self.link = news
            self.inbox.put(news)

    # ---- what goes out ----------------------------------------------------------------------

    def order(
        self,
        ticket: str,
        body: Request | Control,
        frames: list[Buffer],
        then: Answered,
        *,
        control: bool = False,
    ) -> None:
        """Send something that wants an answer, now or as soon as there is a connection."""
        order = Order(ticket, body, frames, control, then, time.monotonic())
        try:
            self._pending.add(order)
        except TroubleError as error:
            then(None, error.trouble)

    def _send_orders(self, wire: Wire) -> None:
        for order in self._pending.due():
            if not send(wire.control if order.control else wire.requests, order.message()):
                return
            order.due, order.sent = False, order.sent + 1

    def _expire(self, now: float) -> None:
        limit = self.patience.answer if self._connected else self.patience.offline
        trouble = self.link.trouble or Trouble(
            "The backend must answer an order within {seconds} seconds, but it did not: try again.",
            Remedy.RETRY,
            values={"seconds": round(limit)},
        )
        self._pending.give_up(lambda order: now - order.since > limit, trouble)

    def _say(self, where: "zmq.Socket[bytes]", body: object) -> None:
        send(where, encode(Envelope(id=new_token(), body=body)))

    def _keep_alive(self, wire: Wire, now: float) -> None:
        if not self._connected:
            return
        if now - self._asked > self.patience.ping:
            self._asked = now
            self._say(wire.control, Ping())
        if now - self._fed > FEED_SECONDS:
            self._acknowledge(wire, now)

    def _acknowledge(self, wire: Wire, now: float) -> None:
        """Give a sign of life on the events' socket."""
        # Blender's own Python may have kept this thread from running for minutes: by then the
        # server has forgotten who listens here, and only `Follow` makes it remember.
        stalled, self._fed = now - self._fed > 2 * FEED_SECONDS, now
        sequence = self.listening.sequence
        follow = Follow(self.listening.session, sequence)
        self._say(wire.events, follow if stalled else Received(sequence))

    # ---- what comes in ----------------------------------------------------------------------

    def _hear_replies(self, wire: Wire, now: float) -> None:
        for where in (wire.control, wire.requests):
            while (frames := receive(where)) is not None:
                self.heard = now
                self._check_version(frames)
                message = decode(frames, REPLIES)
                if isinstance(message.body, Welcome):
                    self._welcome(wire, message.body, now)
                else:
                    self._pending.answer(message)

    def _check_version(self, frames: list[Buffer]) -> None:
        """Say it if the backend speaks another protocol.

        Raises:
            VersionError: It does.
        """
        head = bytes(frames[0])
        if len(head) < 3 or head[2] == MAJOR:  # noqa: PLR2004 ("GM" and the major version)
            return
        newer = head[2] > MAJOR
        values = {"place": self.source.place, "theirs": head[2], "ours": MAJOR}
        if newer:
            text, remedy = _NEWER_BACKEND, Remedy.UPDATE_ADDON
        else:
            text, remedy = _OLDER_BACKEND, Remedy.SET_UP
        trouble = Trouble(text, remedy, values=values)
        self._lose(Link.REFUSED, trouble, self.patience.slowest_retry)
        raise VersionError(trouble.sentence)

    def _welcome(self, wire: Wire, welcome: Welcome, now: float) -> None:
        self.listening.welcome = welcome
        self._connected = self._ever = True
        self._failures = 0
        self._say(wire.events, Follow(self.listening.session, self.listening.sequence))
        self._fed = now
        self.order(new_token(), ListJobs(), [], self._listed)
        self._publish(Link.CONNECTED)

    def _listed(self, message: object, _: Trouble | None) -> None:
        body = getattr(message, "body", None)
        if isinstance(body, Jobs):
            self.inbox.put(AllJobs(body.jobs))

    def _hear_events(self, wire: Wire, now: float) -> None:
        heard = False
        while not self.inbox.full and (frames := receive(wire.events)) is not None:
            heard, self.heard = True, now
            self._check_version(frames)
            if self.listening.hear(frames):
                self._publish(Link.CONNECTED, anew=True)  # a worker is ready, perhaps once more
        if heard:
            self._acknowledge(wire, now)


def _nobody(place: str) -> Trouble:
    return Trouble(
        "The backend on {place} must be running, but nobody listens there: start it.",
        Remedy.START if place == THIS_MACHINE else Remedy.CONNECT,
        values={"place": place},
    )


def _ended(place: str) -> Trouble:
    return Trouble(
        "The backend on {place} must stay reachable, but the connection ended: it is tried again.",
        Remedy.START if place == THIS_MACHINE else Remedy.NONE,
        values={"place": place},
    )


def _silent(place: str, seconds: float) -> Trouble:
    return Trouble(
        "The backend on {place} must answer within {seconds} seconds, but it does not: start it "
        "anew if that goes on.",
        Remedy.RESTART if place == THIS_MACHINE else Remedy.CONNECT,
        values={"place": place, "seconds": round(seconds)},
    )
