"""The box between the client's thread and Blender's main thread."""

import threading
from pathlib import Path

import numpy as np
import pytest

from blender_addon.arrays import Pixels
from blender_addon.frames import Envelope, Message
from blender_addon.pending import LARGE_BYTES, MAX_ORDERS, Order, Pending
from blender_addon.protocol import (
    Done,
    FreeMemory,
    Job,
    JobChanged,
    JobRemoved,
    JobState,
    Kind,
    Problem,
    Refused,
    Remove,
    Step,
)
from blender_addon.troubles import Trouble, TroubleError
from blender_addon.updates import Fetched, Inbox, Link, LinkChanged, Outcome, PictureShown, Update

A, B = "a" * 32, "b" * 32


def picture(job: str, step: int, side: int = 2) -> PictureShown:
    flat = np.zeros(side * side * 4, np.float32)
    return PictureShown(job, "sculpt", step, Pixels(side, side, flat))


def drained(inbox: Inbox) -> list[Update]:
    found = []
    while (update := inbox.take()) is not None:
        found.append(update)
    return found


def test_only_the_newest_preview_of_each_job_waits() -> None:
    inbox = Inbox()
    for step in range(100):
        inbox.put(picture(A, step))
        inbox.put(Step(A, "sculpt", step, 100, {}, 0.0))
    inbox.put(picture(B, 5))
    found = drained(inbox)
    assert [getattr(update, "step", None) for update in found] == [99, 99, 5]
    assert inbox.nbytes == 0


def test_outcomes_and_files_never_give_way() -> None:
    inbox = Inbox()
    for number in range(50):
        inbox.put(Outcome(str(number), Done()))
        inbox.put(Fetched(str(number), A, "x", Path("x")))
    assert len(drained(inbox)) == 100


def test_how_a_job_stands_is_told_once_and_last() -> None:
    inbox = Inbox()
    job = Job(A, "me", JobState.RUNNING)
    inbox.put(JobChanged(job))
    inbox.put(LinkChanged(Link.CONNECTED))
    inbox.put(JobRemoved(A, "request"))
    assert drained(inbox) == [LinkChanged(Link.CONNECTED), JobRemoved(A, "request")]


def test_a_full_box_says_so_and_when_there_is_room() -> None:
    called = []
    inbox = Inbox(max_bytes=100)
    inbox.on_room(lambda: called.append(1))
    inbox.put(picture(A, 0))
    assert not inbox.full
    inbox.put(picture(B, 0))
    assert inbox.full
    assert inbox.nbytes == 128
    inbox.take()
    assert not inbox.full
    assert called == [1]
    inbox.take()
    assert called == [1]


def test_many_small_updates_fill_it_too() -> None:
    inbox = Inbox(max_updates=3)
    for number in range(3):
        inbox.put(Outcome(str(number)))
    assert inbox.full


def test_an_upload_is_known_while_it_is_on_its_way() -> None:
    pending, told = Pending(), []
    body = FreeMemory()
    large = Order("1" * 32, body, [bytes(LARGE_BYTES + 1)], False, lambda *_: told.append(1), 0.0)
    pending.add(large)
    pending.add(Order("2" * 32, body, [], False, lambda *_: told.append(2), 0.0, sent=1, due=False))
    assert not pending.uploading  # it has not been sent yet
    large.sent, large.due = 1, False
    assert pending.uploading
    pending.answer(Message(Envelope(id="3" * 32, parent=large.id, body=Done())))
    assert not pending.uploading
    assert told == [1]
    pending.give_up(lambda _: True, Trouble("It is over."))
    assert told == [1, 2]


def test_too_much_at_once_is_refused() -> None:
    pending = Pending()
    for number in range(MAX_ORDERS):
        pending.add(Order(f"{number:032x}", FreeMemory(), [], False, lambda *_: None, 0.0))
    with pytest.raises(TroubleError, match="wait a moment"):
        pending.add(Order("f" * 32, FreeMemory(), [], False, lambda *_: None, 0.0))
    assert len(pending.orders) == MAX_ORDERS


def test_a_job_that_was_removed_at_the_first_attempt_is_removed() -> None:
    pending, told = Pending(), []
    unknown = Refused(Problem(Kind.UNKNOWN_JOB, "the job must be one of yours."))
    for sent in (1, 2):
        order = Order("1" * 32, Remove(A), [], False, lambda _, t: told.append(t), 0.0, sent=sent)
        pending.add(order)
        pending.answer(Message(Envelope(id="3" * 32, parent=order.id, body=unknown)))
    assert told == [Trouble("The job must be one of yours."), None]


def test_two_threads_lose_nothing() -> None:
    inbox, found = Inbox(), []

    def put() -> None:
        for number in range(5000):
            inbox.put(Outcome(str(number)))

    thread = threading.Thread(target=put)
    thread.start()
    while thread.is_alive() or inbox._waiting:
        update = inbox.take()
        if isinstance(update, Outcome):
            found.append(int(update.ticket))
    assert found == list(range(5000))
