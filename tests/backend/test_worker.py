"""The worker's threads: what one is told, another does."""

import io
import queue

import msgspec
import pytest

from backend import pipes
from backend.jobs import Spec
from backend.orders import Do, Stop
from backend.worker import Stopper, read_orders

JOB = "ab" * 16


def test_a_job_that_was_stopped_may_run_again_in_the_same_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would stop at its first step, be put into the queue, and so on for ever."""
    spec = Spec(photo="photo.png", preset="draft")
    pipe = io.BytesIO()
    for order in (Do(JOB, "folder", spec), Stop(JOB, checkpoint=False), Do(JOB, "folder", spec)):
        pipes.write(pipe, [msgspec.msgpack.encode(order)])
    pipe.seek(0)
    monkeypatch.setattr("backend.worker.os._exit", lambda code: None)
    jobs: queue.SimpleQueue[Do] = queue.SimpleQueue()
    stopper = Stopper()
    read_orders(pipe, jobs, stopper)
    assert jobs.qsize() == 2
    assert stopper.asked(JOB) is None
