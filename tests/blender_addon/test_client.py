"""The add-on's client against a real backend process, over real sockets."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.keys import authorise
from blender_addon.connection import ConnectionFile, RemoteServer, own_keys
from blender_addon.frames import MAJOR
from blender_addon.orders import Again, NewJob
from blender_addon.protocol import (
    JobIs,
    Jobs,
    JobState,
    Kind,
    ListJobs,
    Metrics,
    NotReady,
    Refused,
    StageBegan,
    StageEnded,
    Step,
)
from blender_addon.troubles import Remedy
from blender_addon.updates import (
    MAX_BYTES,
    AllJobs,
    BackendStopping,
    Fetched,
    Link,
    LinkChanged,
    PictureShown,
    SurfaceShown,
)
from geneman.run_folder import STAGES
from tests.backend.running import STEPS, Running, running, three_ports
from tests.blender_addon.listening import QUICK, Listener, listening

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill and permissions are POSIX")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("backend") / "store") as found:
        yield found


@pytest.fixture
def listener(server: Running) -> Iterator[Listener]:
    with listening(server.store / "connection.json") as found:
        found.ready()
        yield found


# ---- the usual day ----------------------------------------------------------------------------


def test_a_photo_streams_and_becomes_artefacts(listener: Listener, tmp_path: Path) -> None:
    job = listener.submit(tmp_path)
    assert listener.ended(job).state is JobState.DONE
    outcome = listener.outcome(job)
    assert outcome.trouble is None
    assert isinstance(outcome.reply, JobIs)
    mine = [e for e in listener.all(StageEnded) if e.job == job]
    assert [e.stage for e in mine] == list(STAGES)
    assert {e.stage for e in listener.all(Step) if e.job == job and e.step == STEPS - 1} == set(
        STAGES
    )
    picture = next(p for p in listener.all(PictureShown) if p.job == job)
    assert (picture.pixels.width, picture.pixels.height) == (8, 8)
    assert picture.pixels.flat.shape == (8 * 8 * 4,)
    assert (picture.pixels.flat[3::4] == 1).all()
    surface = next(s for s in listener.all(SurfaceShown) if s.job == job).surface
    assert surface.positions.shape == (3 * surface.topology.vertices,)
    assert surface.topology.faces == 1


def test_surfaces_of_one_topology_share_it(listener: Listener, tmp_path: Path) -> None:
    job = listener.submit(tmp_path)
    listener.ended(job)
    shown = [s for s in listener.all(SurfaceShown) if s.job == job and s.stage == "sculpt"]
    assert len(shown) > 2
    assert len({s.surface.topology.number for s in shown}) == 1
    assert len({s.surface.positions.tobytes() for s in shown}) == len(shown)


def test_a_re_run_begins_where_it_should(listener: Listener, tmp_path: Path) -> None:
    job = listener.submit(tmp_path)
    listener.ended(job)
    listener.forget()
    assert listener.outcome(listener.client.rerun(job, Again(start="finish"))).trouble is None
    assert listener.ended(job).state is JobState.DONE
    assert [e.stage for e in listener.all(StageEnded) if not e.kept] == ["finish"]


def test_a_job_is_recalled_with_its_settings(listener: Listener, tmp_path: Path) -> None:
    job = listener.submit(tmp_path, seed=7, label="me")
    listener.ended(job)
    reply = listener.outcome(listener.client.recall(job)).reply
    assert isinstance(reply, JobIs)
    assert reply.job.label == "me"


def _settled(listener: Listener, folder: Path, prompt: str) -> str:
    job = listener.submit(folder, prompt)
    listener.outcome(job)
    return job


def test_cancel_move_and_remove(listener: Listener, tmp_path: Path) -> None:
    blocker, a, b = (_settled(listener, tmp_path, prompt) for prompt in ("hang:sculpt", "", ""))
    listener.until(lambda u: isinstance(u, StageBegan) and u.job == blocker)
    assert listener.outcome(listener.client.move(b, 1)).trouble is None
    refusal = listener.outcome(listener.client.remove(a))
    assert isinstance(refusal.reply, Refused)
    assert refusal.reply.problem.kind is Kind.STATE
    for job in (a, b, blocker):
        assert listener.outcome(listener.client.cancel(job)).trouble is None
    assert listener.ended(blocker).state is JobState.CANCELLED
    assert listener.outcome(listener.client.remove(a)).trouble is None
    assert listener.outcome(listener.client.free_memory()).trouble is None
    assert isinstance(listener.outcome(listener.client.metrics()).reply, Metrics)


def test_an_artefact_comes_whole_and_only_once(listener: Listener, tmp_path: Path) -> None:
    job = listener.submit(tmp_path)
    artefact = next(a for a in listener.ended(job).artefacts if a.name.startswith("sculpt/"))
    target = tmp_path / "new folder" / "mesh"
    for _ in range(2):
        ticket = listener.client.fetch(job, artefact.name, target)
        assert listener.outcome(ticket).trouble is None
        assert target.stat().st_size == artefact.size
        assert target.stat().st_mtime_ns > 0
    assert [f.path for f in listener.all(Fetched)] == [target, target]
    assert [path.name for path in target.parent.iterdir()] == ["mesh"]


def test_without_live_view_only_results_come(listener: Listener, tmp_path: Path) -> None:
    listener.client.live = False
    job = listener.submit(tmp_path)
    listener.ended(job)
    assert not listener.all(PictureShown)
    shown = [s.stage for s in listener.all(SurfaceShown)]
    assert len(shown) == len(set(shown)) > 0  # the last of each stage


# ---- bad days ---------------------------------------------------------------------------------


def test_a_photo_that_is_gone_is_said(listener: Listener, tmp_path: Path) -> None:
    gone = tmp_path / "holiday.png"
    trouble = listener.outcome(listener.client.reconstruct(NewJob(gone))).trouble
    assert trouble is not None
    assert "holiday.png' is not there any more" in trouble.sentence
    assert trouble.remedy is Remedy.CHOOSE_PHOTO


def test_a_photo_must_be_one_and_not_too_large(listener: Listener, tmp_path: Path) -> None:
    text, large = tmp_path / "a.txt", tmp_path / "b.png"
    text.write_text("hello")
    with large.open("wb") as file:
        file.truncate(65 * 2**20)
    for path, word in ((text, "something else"), (large, "at most 64 MB"), (tmp_path, "read")):
        trouble = listener.outcome(listener.client.reconstruct(NewJob(path))).trouble
        assert trouble is not None
        assert word in trouble.sentence
        assert trouble.remedy is Remedy.CHOOSE_PHOTO


def test_wishes_outside_the_limits_are_refused(listener: Listener, tmp_path: Path) -> None:
    for wish, word in (({"seed": -1}, "seed"), ({"preset": "grand"}, "'grand'")):
        trouble = listener.outcome(listener.submit(tmp_path, **wish)).trouble
        assert trouble is not None
        assert word in trouble.sentence
        assert trouble.sentence[0].isupper()


def test_a_download_that_cannot_be_written_leaves_nothing(
    listener: Listener, tmp_path: Path
) -> None:
    job = listener.submit(tmp_path)
    artefact = listener.ended(job).artefacts[0].name
    (tmp_path / "file").write_text("not a folder")
    ticket = listener.client.fetch(job, artefact, tmp_path / "file" / "mesh")
    trouble = listener.outcome(ticket).trouble
    assert trouble is not None
    assert trouble.remedy is Remedy.FREE_DISK
    trouble = listener.outcome(listener.client.fetch(job, "sculpt/no.obj", tmp_path / "x")).trouble
    assert trouble is not None
    assert not (tmp_path / "x").exists()
    trouble = listener.outcome(listener.client.show(job, "prepare", tmp_path / "shown")).trouble
    assert trouble is not None


def test_a_stopped_backend_is_missed_and_found_again(tmp_path: Path) -> None:
    """A server that hangs for a while: the same session goes on, and nothing is heard twice."""
    with (
        running(tmp_path / "store", pause=0.02) as server,
        listening(server.store / "connection.json") as listener,
    ):
        job = listener.submit(tmp_path)
        listener.until(lambda u: isinstance(u, StageEnded) and u.stage == "nerf_init")
        os.kill(server.pid, signal.SIGSTOP)
        lost = listener.link(Link.LOST)
        assert lost.trouble is not None
        assert "must answer within" in lost.trouble.sentence
        assert lost.trouble.remedy is Remedy.RESTART
        os.kill(server.pid, signal.SIGCONT)
        assert listener.ended(job).state is JobState.DONE
        ended = [e.stage for e in listener.all(StageEnded)]
        assert ended == list(STAGES)
        steps = [(STAGES.index(s.stage), s.step) for s in listener.all(Step)]
        assert steps == sorted(set(steps))


def test_a_killed_backend_comes_back_and_orders_wait_for_it(tmp_path: Path) -> None:
    with (
        running(tmp_path / "store", pause=0.02) as server,
        listening(server.store / "connection.json") as listener,
    ):
        job = listener.submit(tmp_path)
        listener.until(lambda u: isinstance(u, StageEnded) and u.stage == "nerf_init")
        server.kill()
        lost = listener.link(Link.LOST)
        assert lost.trouble is not None
        assert lost.trouble.remedy is Remedy.START
        waiting = listener.submit(tmp_path, label="given meanwhile")
        listener.forget()
        server.start()
        listener.link(Link.CONNECTED)
        listener.until(lambda u: _knows(u, job))
        assert listener.ended(job).state is JobState.DONE
        assert listener.ended(waiting).label == "given meanwhile"
        server.stop()
        listener.until(lambda u: isinstance(u, BackendStopping))


def _knows(update: object, job: str) -> bool:
    return isinstance(update, AllJobs) and job in {one.id for one in update.jobs}


def test_an_order_does_not_wait_for_ever(tmp_path: Path) -> None:
    patience = type(QUICK)(offline=0.5)
    with listening(tmp_path / "connection.json", patience=patience) as listener:
        trouble = listener.outcome(listener.client.metrics()).trouble
        assert trouble is not None
        assert trouble.remedy is Remedy.START


def test_without_a_backend_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "connection.json"
    with listening(file) as listener:
        found = listener.until(lambda u: isinstance(u, LinkChanged) and u.trouble is not None)
        assert isinstance(found, LinkChanged)
        assert found.trouble is not None
        assert found.trouble.remedy is Remedy.START
        assert str(file) in found.trouble.sentence
        assert found.link is Link.CONNECTING


def test_nobody_at_the_address(tmp_path: Path, server: Running) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    key = server.connection().server_key
    with listening(RemoteServer(f"127.0.0.1:{port}", key, tmp_path / "keys")) as listener:
        found = listener.until(lambda u: isinstance(u, LinkChanged) and u.trouble is not None)
        assert isinstance(found, LinkChanged)
        assert found.trouble is not None
        assert "nobody listens there" in found.trouble.sentence


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    port = three_ports()
    store = tmp_path_factory.mktemp("remote") / "store"
    with running(store, "--port", str(port)) as found:
        yield found, found.connection().requests


def test_a_key_that_is_not_authorised_is_named(tmp_path: Path, remote: tuple[Running, int]) -> None:
    server, port = remote
    source = RemoteServer(f"127.0.0.1:{port}", server.connection().server_key, tmp_path / "keys")
    with listening(source) as listener:
        refused = listener.link(Link.REFUSED)
        assert refused.trouble is not None
        public = own_keys(tmp_path / "keys").public
        assert f"geneman serve --authorize '{public}'" in refused.trouble.sentence
        authorise(server.store / "authorized_keys", public, "me")
        listener.client.try_now()
        listener.link(Link.CONNECTED)


def test_a_server_with_another_key_is_not_trusted(
    tmp_path: Path, remote: tuple[Running, int]
) -> None:
    _, port = remote
    stranger = own_keys(tmp_path / "stranger").public
    with listening(RemoteServer(f"127.0.0.1:{port}", stranger, tmp_path / "keys")) as listener:
        refused = listener.link(Link.REFUSED)
        assert refused.trouble is not None
        assert "must have the key that we know" in refused.trouble.sentence


@pytest.mark.parametrize(
    ("major", "remedy", "word"),
    [
        (MAJOR + 1, Remedy.UPDATE_ADDON, "update the add-on"),
        (MAJOR - 1, Remedy.SET_UP, "update the backend"),
    ],
)
def test_another_protocol_says_whom_to_update(
    tmp_path: Path, major: int, remedy: Remedy, word: str
) -> None:
    program = (
        f"import sys, blender_addon.frames as frames; frames.MAJOR = {major}; "
        "from backend.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "--store", str(tmp_path / "store")]
    command += ["--device", "cpu", "--program", "tests.backend.tiny_program"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            with listening(tmp_path / "store" / "connection.json") as listener:
                refused = listener.link(Link.REFUSED)
                assert refused.trouble is not None
                assert word in refused.trouble.sentence
                assert refused.trouble.remedy is remedy
        finally:
            process.terminate()


@pytest.mark.slow
def test_a_main_thread_that_stalls_costs_bounded_memory(tmp_path: Path) -> None:
    """Blender renders for an hour meanwhile: nothing grows, and afterwards nothing is missed."""
    options = ("--program", "tests.backend.heavy_program")
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + b"somebody")
    with (
        running(tmp_path / "store", *options) as server,
        listening(server.store / "connection.json") as listener,
    ):
        client = listener.client
        jobs = [client.reconstruct(NewJob(photo, prompt="texture 4 0.25")) for _ in range(8)]
        largest = 0

        def all_done() -> bool:
            nonlocal largest
            largest = max(largest, client.waiting_bytes)
            with server.client() as other:
                states = {j.id: j.state for j in other.ask(ListJobs(), Jobs).jobs}
            return all(states.get(job) is JobState.DONE for job in jobs)

        server.until(all_done, seconds=120)
        time.sleep(1.0)
        assert MAX_BYTES <= largest < MAX_BYTES + 2**27  # without the bound: twice that
        for job in jobs:
            assert listener.ended(job).state is JobState.DONE
        assert client.waiting_bytes == 0
        assert len([p for p in listener.all(PictureShown) if p.job == jobs[0]]) == 1


# ---- where it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "render7", "render7:", "render7:x", "render7:0", "render7:65535", ":5600"]
)
def test_addresses_that_are_none(tmp_path: Path, address: str) -> None:
    key = own_keys(tmp_path / "server").public
    with listening(RemoteServer(address, key, tmp_path / "keys")) as listener:
        found = listener.until(lambda u: isinstance(u, LinkChanged) and u.trouble is not None)
        assert isinstance(found, LinkChanged)
        assert found.trouble is not None
        assert "as in render7:5600" in found.trouble.sentence
        assert found.trouble.remedy is Remedy.CONNECT


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    made = own_keys(path)
    assert own_keys(path) == made
    assert path.stat().st_mode & 0o077 == 0
    assert made.secret not in repr(made)


def test_a_file_from_another_machine_gets_its_host(server: Running) -> None:
    path = server.store / "connection.json"
    assert ConnectionFile(path).connection().host == "127.0.0.1"
    assert ConnectionFile(path, host="render7").connection().host == "render7"
    found = ConnectionFile(path, host="2001:db8::7").connection()
    assert found.endpoint(5600) == b"tcp://[2001:db8::7]:5600"


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_said(tmp_path: Path) -> None:
    with (
        running(tmp_path / "store", "--program", "tests.backend.nowhere") as server,
        listening(server.store / "connection.json") as listener,
    ):
        listener.link(Link.CONNECTED)
        found = listener.until(lambda u: isinstance(u, NotReady), seconds=120)
        assert isinstance(found, NotReady)
        assert "cannot start" in found.problem.sentence
