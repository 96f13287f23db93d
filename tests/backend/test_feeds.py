"""Feeds: each listener gets what it lacks, compressed if it wants that, and none can crowd us."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backend.feeds import LISTENER_SECONDS, Feeds
from backend.limits import Limits
from backend.streaming import Board, Posted
from blender_addon.frames import Envelope, Packer, can_compress, encode, new_token
from blender_addon.protocol import Follow, Picture, Received, Step

JOB, SESSION = new_token(), new_token()


class Line:
    """What a server does for its feeds, here: events are kept, and work waits until it is done."""

    def __init__(self, **limits: Any) -> None:
        self.board = Board()
        self.sent: list[tuple[bytes, Posted]] = []
        self.gone: set[bytes] = set()
        self.work: list[Callable[[], None]] = []
        self.feeds = Feeds(self.board, SESSION, Limits(**limits), self._send, self._later)

    def _send(self, identity: bytes, posted: Posted) -> bool:
        if identity in self.gone:
            return False
        self.sent.append((identity, posted))
        return True

    def _later(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.work.append(lambda: then(work()))

    def say(self, identity: bytes, body: Follow | Received, owner: str = "me") -> None:
        self.feeds.on_message(identity, encode(Envelope(id=new_token(), body=body)), owner)

    def heard(self, identity: bytes) -> list[Any]:
        self.feeds.pump()
        return [posted.body for to, posted in self.sent if to == identity]


def step(number: int) -> Step:
    return Step(JOB, "sculpt", number, 100, {}, 0.0)


def post_picture(board: Board, number: int) -> None:
    packer = Packer()
    header = packer.add(np.full((64, 64, 3), number, np.uint8))
    board.post("me", Picture(JOB, "sculpt", number, header), packer.frames)


def test_only_who_follows_hears_and_only_of_its_own_jobs() -> None:
    line = Line()
    line.say(b"a", Follow())
    line.say(b"b", Follow(), "you")
    line.board.post("me", step(1))
    assert line.heard(b"a") == [step(1)]
    assert line.heard(b"b") == line.heard(b"c") == []


def test_a_place_in_another_session_counts_for_nothing() -> None:
    line = Line()
    line.board.post("me", step(1))
    line.say(b"a", Follow("another", 99))
    line.say(b"b", Follow(SESSION, 1))
    assert line.heard(b"a") == [step(1)]
    assert line.heard(b"b") == []


def test_who_is_gone_or_quiet_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    for name in (b"gone", b"quiet"):
        line.say(name, Follow())
    line.gone.add(b"gone")
    line.board.post("me", step(1))
    assert line.heard(b"quiet") == [step(1)]
    line.gone.clear()
    line.board.post("me", step(2))
    assert line.heard(b"gone") == []
    assert line.heard(b"quiet") == [step(1), step(2)]
    monkeypatch.setattr("backend.feeds.LISTENER_SECONDS", -LISTENER_SECONDS)
    line.feeds.forget_quiet()
    line.board.post("me", step(3))
    assert line.heard(b"quiet") == [step(1), step(2)]


def test_one_listener_too_many_puts_out_the_quietest_of_the_same_client() -> None:
    line = Line(listeners=2)
    line.say(b"yours", Follow(), "you")
    for name in (b"a", b"b"):
        line.say(name, Follow())
    line.say(b"a", Received(0))  # so b is the one that was quiet for longest
    line.say(b"c", Follow())
    for owner in ("me", "you"):
        line.board.post(owner, Step(new_token(), "sculpt", 1, 1, {}, 0.0))
    assert [len(line.heard(name)) for name in (b"a", b"b", b"c", b"yours")] == [1, 0, 1, 1]


def test_who_follows_again_and_again_is_not_served_again() -> None:
    line = Line(burst=3.0, requests_per_second=0.0)
    line.board.post("me", step(1))
    for _ in range(10):
        line.say(b"a", Follow())
        line.feeds.pump()
    assert line.heard(b"a") == [step(1)] * 3


def test_an_acknowledgement_of_a_stranger_is_not_heard() -> None:
    line = Line()
    line.say(b"a", Follow())
    for number in range(300):
        line.board.post("me", step(number))
        line.feeds.pump()
    full = len(line.sent)
    line.say(b"a", Received(300), "you")
    line.feeds.pump()
    assert len(line.sent) == full == 256
    line.say(b"a", Received(300))
    assert line.heard(b"a")[-1] == step(299)


@pytest.mark.skipif(not can_compress(), reason="zstandard is not installed")
def test_compressed_events_wait_for_a_thread_and_keep_their_order() -> None:
    line = Line()
    line.say(b"raw", Follow())
    line.say(b"zstd", Follow(zstd=True))
    post_picture(line.board, 1)
    line.board.post("me", step(1))
    assert [type(body) for body in line.heard(b"raw")] == [Picture, Step]
    assert line.heard(b"zstd") == []  # the picture is being compressed, and the step comes after
    post_picture(line.board, 2)
    line.feeds.pump()
    assert len(line.work) == 1
    line.work.pop()()
    first, second = line.heard(b"zstd")
    assert isinstance(first, Picture)
    assert (first.step, first.image.zstd) == (1, True)
    assert second == step(1)
    line.work.pop()()
    assert line.heard(b"zstd")[-1].step == 2
    post_picture(line.board, 3)
    line.feeds.pump()
    line.say(b"zstd", Follow())  # anew while the third is under way: raw from here on
    line.work.pop()()
    assert [body.image.zstd for body in line.heard(b"zstd")[3:] if isinstance(body, Picture)] == [
        False
    ]
