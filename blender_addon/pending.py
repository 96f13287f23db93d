# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders on their way to the server: kept until they are answered, sent again after a break."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from .frames import Buffer, Envelope, Message, encode
from .protocol import (
    CONTROLS,
    REQUESTS,
    Control,
    Done,
    Kind,
    Problem,
    Refused,
    Remove,
    Reply,
    Request,
)
from .troubles import Remedy, Trouble, TroubleError

MAX_BYTES = 256 * 2**20
MAX_ORDERS = 256
LARGE_BYTES = 2**20

Answered = Callable[[Message[Reply] | None, Trouble | None], None]
"""Told what became of an order: a reply that is no refusal, or trouble (with the refusal)."""


@dataclass
class Order:
    """One message that wants an answer."""

    id: str
    body: Request | Control
    frames: list[Buffer]
    control: bool
    then: Answered
    since: float
    """When it was given, by the monotonic clock."""
    sent: int = 0
    """How often."""
    due: bool = True
    """Whether it is to be sent over the present connection."""

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return sum(memoryview(frame).nbytes for frame in self.frames)

    def message(self) -> list[Buffer]:
        """Give what is sent."""
        return encode(Envelope(id=self.id, body=self.body), self.frames)


@dataclass
class Pending:
    """All orders that wait for an answer, oldest first."""

    orders: dict[str, Order] = field(default_factory=dict)

    def add(self, order: Order) -> None:
        """Keep an order.

        Raises:
            TroubleError: The server would not understand it, or too much is on its way.
        """
        decoder = CONTROLS if order.control else REQUESTS
        try:
            decoder.decode(order.message()[1])
        except msgspec.ValidationError as error:
            raise TroubleError(
                Trouble(
                    "Everything that is sent must be within its limits, but it is not ({cause}): "
                    "look at the settings, the seed and the prompt.",
                    Remedy.CHANGE_SETTINGS,
                    values={"cause": error},
                )
            ) from error
        total = order.nbytes + sum(one.nbytes for one in self.orders.values())
        if total > MAX_BYTES or len(self.orders) >= MAX_ORDERS:
            raise TroubleError(
                Trouble(
                    "At most {most} orders and {room} MB may be on their way, but this would make "
                    "{count} and {size} MB: wait a moment.",
                    Remedy.RETRY,
                    values={
                        "most": MAX_ORDERS,
                        "room": MAX_BYTES >> 20,
                        "count": len(self.orders) + 1,
                        "size": total >> 20,
                    },
                )
            )
        self.orders[order.id] = order

    @property
    def uploading(self) -> bool:
        """Whether something large is on its way, which may keep a slow line busy for minutes."""
        return any(
            order.sent and not order.due and order.nbytes > LARGE_BYTES
            for order in self.orders.values()
        )

    def due(self) -> list[Order]:
        """Give what is still to be sent over the present connection."""
        return [order for order in self.orders.values() if order.due]

    def again(self) -> None:
        """Let everything be sent again: the connection is another."""
        for order in self.orders.values():
            order.due = True

    def answer(self, message: Message[Reply]) -> None:
        """Take a reply to whoever waits for it; one that nobody waits for is no news."""
        order = self.orders.pop(message.envelope.parent or self._oldest_sent(), None)
        if order is None:
            return
        body = message.body
        if not isinstance(body, Refused):
            order.then(message, None)
        elif _is_done_already(order, body):
            envelope = msgspec.structs.replace(message.envelope, body=Done())
            order.then(Message(envelope), None)
        else:
            order.then(message, trouble_of(body.problem))

    def _oldest_sent(self) -> str:
        """Name the order that a refusal without a name must mean."""
        return next((order.id for order in self.orders.values() if order.sent), "")

    def give_up(self, old: Callable[[Order], bool], trouble: Trouble) -> None:
        """Tell whoever gave an order that nothing came of it."""
        for order in [order for order in self.orders.values() if old(order)]:
            del self.orders[order.id]
            order.then(None, trouble)


def _is_done_already(order: Order, refused: Refused) -> bool:
    """Say whether a job is unknown only because it was removed at the first attempt."""
    removed = isinstance(order.body, Remove) and order.sent > 1
    return removed and refused.problem.kind is Kind.UNKNOWN_JOB


_REMEDIES = {
    Kind.INPUT: Remedy.CHANGE_SETTINGS,
    Kind.MEMORY: Remedy.CHANGE_SETTINGS,
    Kind.CRASH: Remedy.RETRY,
    Kind.HANG: Remedy.RETRY,
    Kind.DISK: Remedy.REMOVE_JOBS,
    Kind.LIMIT: Remedy.REMOVE_JOBS,
    Kind.PROTOCOL: Remedy.UPDATE_ADDON,
    Kind.STOPPING: Remedy.RETRY,
    Kind.FAULT: Remedy.OPEN_LOG,
}


def trouble_of(problem: Problem, stage: str = "") -> Trouble:
    """Give what the server says as trouble, with the button for its kind.

    Args:
        problem: Of a refusal or a failure.
        stage: In which a job failed. Only `prepare` looks at the photo; elsewhere a wrong input
            is a setting.
    """
    remedy = _REMEDIES.get(problem.kind, Remedy.NONE)
    if problem.kind is Kind.INPUT and stage == "prepare":
        remedy = Remedy.CHOOSE_PHOTO
    sentence = problem.sentence[:1].upper() + problem.sentence[1:]
    return Trouble(sentence, remedy, problem.traceback)
