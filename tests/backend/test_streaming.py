"""The board: late, slow and returning listeners see how things stand, and memory stays flat."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.streaming import (
    REMOVED_KEPT,
    SWEPT_BEYOND,
    WINDOW_BYTES,
    WINDOW_EVENTS,
    Board,
    Listener,
    Posted,
    compressed,
)
from blender_addon.frames import Envelope, Packer, can_compress, decode, encode, new_token
from blender_addon.protocol import (
    EVENTS,
    Job,
    JobChanged,
    JobRemoved,
    JobState,
    Picture,
    Step,
    Surface,
)

JOB = new_token()


def step(number: int, job: str = JOB) -> Step:
    return Step(job, "sculpt", number, 100, {}, 0.0)


def post_surface(board: Board, topology: int, value: float, *, faces: bool, size: int = 4) -> None:
    packer = Packer()
    vertices = packer.add(np.full((size, 3), value, np.float32))
    header = packer.add(np.zeros((2, 3), np.int32)) if faces else None
    surface = Surface(JOB, "sculpt", 0, topology, vertices, header)
    board.post("me", surface, packer.frames)


class Counting(dict[int, Posted]):
    """Counts how often something is looked up."""

    gets = 0

    def get(self, *arguments: Any) -> Any:
        self.gets += 1
        return super().get(*arguments)


def everything(listener: Listener, board: Board) -> list[Posted]:
    got = []
    while posted := listener.next(board):
        got.append(posted)
        listener.received(posted.sequence)
    return got


def test_who_keeps_up_gets_every_event_in_order() -> None:
    board, listener = Board(), Listener(b"a", "me")
    got = []
    for number in range(50):
        board.post("me", step(number))
        got += everything(listener, board)
    assert [posted.body for posted in got] == [step(n) for n in range(50)]
    assert [posted.sequence for posted in got] == list(range(1, 51))


def test_who_comes_late_gets_the_newest_of_each() -> None:
    board = Board()
    other = new_token()
    for number in range(50):
        board.post("me", step(number))
        board.post("me", step(number, other))
    late = everything(Listener(b"a", "me"), board)
    assert [posted.body for posted in late] == [step(49), step(49, other)]


def test_who_returns_gets_only_what_changed() -> None:
    board, listener = Board(), Listener(b"a", "me")
    board.post("me", step(1))
    board.post("me", JobChanged(Job(JOB, "x", JobState.RUNNING)))
    (_, seen) = everything(listener, board)
    board.post("me", step(2))
    back = Listener(b"b", "me", sequence=seen.sequence)
    assert [posted.body for posted in everything(back, board)] == [step(2)]


def test_nobody_sees_the_jobs_of_others() -> None:
    board = Board()
    board.post("you", step(1))
    assert everything(Listener(b"a", "me"), board) == []


def test_who_acknowledges_nothing_is_sent_a_window_and_no_more() -> None:
    board, listener, sent = Board(), Listener(b"a", "me"), 0
    for number in range(1000):
        board.post("me", step(number))
        while listener.next(board):
            sent += 1
    assert sent == WINDOW_EVENTS
    for _ in range(100):
        post_surface(board, 1, 0.0, faces=True, size=100_000)
        assert listener.next(board) is None
    assert board.nbytes < 2 * 2**20
    listener.received(board.sequence)
    got = [posted.body for posted in everything(listener, board)]
    assert step(999) in got  # the newest, though it was skipped before
    assert sum(isinstance(body, Surface) for body in got) == 1


def test_one_event_larger_than_the_window_is_still_sent() -> None:
    board, listener = Board(), Listener(b"a", "me")
    packer = Packer()
    image = packer.add(np.zeros(WINDOW_BYTES + 1, np.uint8))
    board.post("me", Picture(JOB, "sculpt", 0, image), packer.frames)
    assert listener.next(board) is not None


def test_faces_travel_once_a_topology_to_each_listener() -> None:
    board, early, late = Board(), Listener(b"a", "me"), Listener(b"b", "me")
    post_surface(board, 1, 0.0, faces=True)
    first = everything(early, board)[0]
    post_surface(board, 1, 1.0, faces=False)
    second = everything(early, board)[0]
    whole = everything(late, board)[0]
    assert isinstance(first.body, Surface)
    assert isinstance(second.body, Surface)
    assert isinstance(whole.body, Surface)
    assert first.body.faces is not None
    assert second.body.faces is None
    assert whole.body.faces is not None
    assert first.body.topology == second.body.topology == whole.body.topology
    np.testing.assert_array_equal(np.frombuffer(whole.frames[0], np.float32), 1.0)
    post_surface(board, 2, 2.0, faces=True)
    third = everything(early, board)[0].body
    assert isinstance(third, Surface)
    assert third.faces is not None
    assert third.topology > first.body.topology


def test_positions_without_known_faces_are_not_shown() -> None:
    board = Board()
    post_surface(board, 1, 0.0, faces=False)
    post_surface(board, 2, 0.0, faces=True)
    post_surface(board, 3, 0.0, faces=False)
    (posted,) = everything(Listener(b"a", "me"), board)
    assert isinstance(posted.body, Surface)
    assert posted.body.faces is not None


def test_a_restarted_worker_that_counts_anew_is_another_topology() -> None:
    board, listener = Board(), Listener(b"a", "me")
    post_surface(board, 1, 0.0, faces=True)
    everything(listener, board)
    board.settle(JOB)
    post_surface(board, 1, 0.0, faces=True)
    (again,) = everything(listener, board)
    assert isinstance(again.body, Surface)
    assert again.body.faces is not None


def test_an_ended_job_leaves_its_state_and_how_each_stage_ended() -> None:
    board = Board()
    early, last = step(99), Step(JOB, "finish", 4, 5, {}, 0.0)
    for body in (step(1), early, last):
        board.post("me", body)
    post_surface(board, 1, 0.0, faces=True)
    done = JobChanged(Job(JOB, "x", JobState.DONE))
    board.post("me", done)
    board.settle(JOB)
    assert [p.body for p in everything(Listener(b"a", "me"), board)] == [early, last, done]
    assert board.nbytes == 0
    board.clear(JOB)  # it runs again
    assert [p.body for p in everything(Listener(b"a", "me"), board)] == [done]


def test_who_hears_of_a_job_learns_which_request_it_does() -> None:
    board = Board()
    board.post("me", step(1), parent="request")
    (posted,) = everything(Listener(b"a", "me"), board)
    assert posted.parent == "request"


def test_a_board_of_many_jobs_is_read_in_a_time_that_grows_with_its_size_only() -> None:
    """Each of 20,000 events is looked for a few times, not once for each that stands behind it."""
    board = Board()
    jobs = [f"{number:032x}" for number in range(10_000)]
    for owner in ("you", "me"):
        for job in jobs:
            board.post(owner, step(1, f"{owner}{job}"))
    looked = Counting(board._living)
    board._living = looked
    assert len(everything(Listener(b"a", "me"), board)) == len(jobs)
    assert looked.gets <= 3 * 2 * len(jobs)


def test_what_is_replaced_leaves_nothing_behind() -> None:
    board = Board()
    for number in range(10_000):
        board.post("me", step(number))
    assert len(board._living) == 1
    assert len(board._order) <= 2 + SWEPT_BEYOND


def test_removed_jobs_are_told_and_then_forgotten() -> None:
    board = Board()
    for _ in range(3 * REMOVED_KEPT):
        job = new_token()
        board.post("me", JobChanged(Job(job, "x", JobState.DONE)))
        board.post("me", JobRemoved(job, "request"))
    told = everything(Listener(b"a", "me"), board)
    assert len(told) == REMOVED_KEPT
    assert all(isinstance(posted.body, JobRemoved) for posted in told)


@pytest.mark.skipif(not can_compress(), reason="zstandard is not installed")
def test_a_compressed_event_says_the_same_in_fewer_bytes() -> None:
    board = Board()
    post_surface(board, 1, 1.5, faces=True, size=10_000)
    (posted,) = everything(Listener(b"a", "me"), board)
    packed = compressed(posted)
    assert sum(len(frame) for frame in packed.frames) < posted.nbytes // 50
    sent = encode(Envelope(id=new_token(), body=packed.body), packed.frames)
    arrived = decode(sent, EVENTS)
    assert isinstance(arrived.body, Surface)
    assert arrived.body.vertices.zstd
    np.testing.assert_array_equal(arrived.array(arrived.body.vertices), 1.5)
    assert arrived.body.faces is not None
    np.testing.assert_array_equal(arrived.array(arrived.body.faces), 0)


ACTIONS = st.lists(st.tuples(st.sampled_from(["post", "take", "receive"]), st.integers(0, 5)))


@settings(max_examples=200, deadline=None)
@given(actions=ACTIONS)
def test_whatever_the_pace_the_newest_arrives_in_order(actions: list[tuple[str, int]]) -> None:
    board, listener = Board(), Listener(b"a", "me")
    jobs, newest, got = [f"{n:032x}" for n in range(6)], {}, []
    for number, (action, which) in enumerate(actions):
        if action == "post":
            newest[jobs[which]] = step(number, jobs[which])
            board.post("me", newest[jobs[which]])
        elif action == "take" and (posted := listener.next(board)):
            got.append(posted)
        elif action == "receive" and got:
            listener.received(got[-1].sequence)
    got += everything(listener, board)
    sequences = [posted.sequence for posted in got]
    assert sequences == sorted(set(sequences))
    assert {p.body.job: p.body for p in got if isinstance(p.body, Step)} == newest
