"""The server from outside: real processes, real sockets, real keys."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import zmq

from backend.client import Client, RequestRefusedError, ServerGoneError
from backend.exits import Exit
from backend.keys import KeyPair, authorise
from blender_addon.frames import MAJOR, Packer, can_compress, decode, encode, new_token
from blender_addon.frames import Envelope as Env
from blender_addon.protocol import (
    REPLIES,
    Cancel,
    Chunk,
    Done,
    Edits,
    Fetch,
    FreeMemory,
    GetJob,
    GetMetrics,
    Hello,
    JobChanged,
    JobIs,
    JobRemoved,
    Jobs,
    JobState,
    Kind,
    ListJobs,
    Metrics,
    Move,
    Picture,
    Ping,
    Refused,
    Remove,
    Rerun,
    Shutdown,
    StageEnded,
    Step,
    Stopping,
    Submit,
    Surface,
    Welcome,
)
from geneman.run_folder import STAGES
from tests.backend.running import (
    PATIENCE,
    PNG,
    RECIPE,
    STEPS,
    Running,
    ended,
    running,
    submit,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill and permissions are POSIX")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("backend") / "store") as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with server.client() as found:
        yield found


def refused(client: Client, body: Any, *frames: Any) -> Kind:
    with pytest.raises(RequestRefusedError) as caught:
        client.ask(body, JobIs, *frames)
    assert str(caught.value).endswith(".")
    return caught.value.problem.kind


def stranger(server: Running) -> KeyPair:
    return KeyPair(*(key.decode() for key in zmq.curve_keypair()))


def test_the_welcome_says_what_can_be_done(client: Client) -> None:
    welcome = client.ask(Hello("test", "1"), Welcome)
    assert welcome.ready
    assert welcome.stages == STAGES
    assert {"draft", "standard", "paper"} <= set(welcome.presets)
    assert "sculpt.steps" in {setting.path for setting in welcome.settings}
    assert welcome.devices[0].memory_bytes > 2**28


def test_a_photo_becomes_artefacts_with_every_stage_told(client: Client, tmp_path: Path) -> None:
    name, seen = submit(client), []

    def last(event: Any) -> bool:
        seen.append(event)
        return getattr(getattr(event, "job", None), "state", None) is JobState.DONE

    done = client.wait(last, PATIENCE)
    mine = [e for e in seen if getattr(e, "job", None) == name]
    assert [e.stage for e in mine if isinstance(e, StageEnded)] == list(STAGES)
    assert {Step, Picture, Surface} <= {type(event) for event in mine}
    assert sum(e.step == STEPS - 1 for e in mine if isinstance(e, Step)) == len(STAGES)
    assert isinstance(done, JobChanged)
    artefacts = done.job.artefacts
    assert [a.name for a in artefacts] == sorted(f"{s}/{s}.safetensors" for s in STAGES)
    client.fetch(name, artefacts[0], tmp_path / "fetched")
    assert (tmp_path / "fetched").stat().st_size == artefacts[0].size


def test_sent_twice_it_is_one_job(client: Client) -> None:
    name = new_token()
    assert submit(client, job=name) == submit(client, job=name) == name
    listed = client.ask(ListJobs(), Jobs).jobs
    assert [one.id for one in listed].count(name) == 1
    ended(client, name)


def test_a_re_run_keeps_what_is_current(client: Client) -> None:
    name = submit(client)
    ended(client, name)
    client.ask(Rerun(name, start="latent_texture", recipe={"sculpt": {"steps": STEPS}}), JobIs)
    kept: dict[str, bool] = {}

    def last(event: Any) -> bool:
        if isinstance(event, StageEnded):
            kept[event.stage] = event.kept
        return getattr(getattr(event, "job", None), "state", None) is JobState.DONE

    client.wait(last, PATIENCE)
    assert kept == {stage: index < 3 for index, stage in enumerate(STAGES)}


def test_a_waiting_job_moves_up_is_cancelled_and_removed(server: Running, client: Client) -> None:
    blocker = submit(client, "hang:sculpt")
    a, b = submit(client), submit(client)
    waiting = [one.id for one in client.ask(Move(b, 1), Jobs).jobs[:2]]
    assert waiting == [b, a]
    assert refused(client, Remove(a)) is Kind.STATE
    for name in (a, b, blocker):
        client.command(Cancel(name), JobIs)
    began = time.monotonic()
    ended(client, blocker)
    assert time.monotonic() - began < 2.0
    assert (server.store / "jobs" / a).is_dir()
    client.ask(Remove(a), Done)
    client.wait(lambda event: isinstance(event, JobRemoved) and event.job == a, PATIENCE)
    assert not (server.store / "jobs" / a).exists()
    assert refused(client, GetJob(a)) is Kind.UNKNOWN_JOB


@pytest.mark.parametrize(
    ("word", "kind", "sentence"),
    [
        ("fault:nerf_init", Kind.FAULT, "ValueError: odd number in input/photo.png"),
        ("hungry:sculpt", Kind.MEMORY, "sculpt needs more memory"),
    ],
)
def test_a_failure_says_what_where_and_no_paths(
    server: Running, client: Client, word: str, kind: Kind, sentence: str
) -> None:
    failed = ended(client, submit(client, word))
    assert failed.state is JobState.FAILED
    assert failed.failure is not None
    assert failed.failure.problem.kind is kind
    assert failed.failure.problem.sentence.startswith(sentence)
    assert failed.failure.stage == word.split(":")[1]
    assert str(server.store) not in repr(failed)


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"preset": "grand"}, Kind.INPUT),
        ({"recipe": {"sculpt": {"stepz": 1}}}, Kind.INPUT),
        ({"recipe": {"sculpt": {"steps": -5}}}, Kind.INPUT),
        ({"start": "sculpt"}, Kind.INPUT),
        ({"until": "end"}, Kind.INPUT),
        ({"seed": -1}, Kind.PROTOCOL),
        ({"prompt": "x" * 3000}, Kind.PROTOCOL),
        ({"job": "../../etc"}, Kind.PROTOCOL),
    ],
)
def test_a_wrong_wish_is_refused_at_once(client: Client, wish: Any, kind: Kind) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        submit(client, **wish)
    assert caught.value.problem.kind is kind


@pytest.mark.parametrize("photo", [b"", b"\x80\x04pickle", b"GIF89a...", b"%PDF-1.4"])
def test_only_pictures_are_taken(client: Client, photo: bytes) -> None:
    with pytest.raises(RequestRefusedError, match="a photo must be png"):
        client.submit(photo)


def test_edited_meshes_must_be_whole(client: Client) -> None:
    name = submit(client)
    ended(client, name)
    packer = Packer()
    vertices = packer.add(np.zeros((3, 3), np.float32))
    faces = packer.add(np.array([[0, 1, 7]], np.int32))
    assert refused(client, Rerun(name, edits=Edits(vertices=vertices)), packer.frames) is Kind.INPUT
    client.ask(Rerun(name, edits=Edits(vertices=vertices, faces=faces)), JobIs, packer.frames)
    failed = ended(client, name)
    assert failed.failure is not None
    assert "every face must name vertices that exist" in failed.failure.problem.sentence


def test_who_returns_hears_only_what_changed(server: Running, client: Client) -> None:
    done = submit(client)
    ended(client, done)
    with server.client() as other:
        list(other.events(0.5))
        place, session = other.sequence, other.session
    ended(client, submit(client))
    with Client(server.connection()) as back:
        back.session, back.sequence = session, place
        back.follow()
        heard = [message.envelope.sequence for message in back.events(0.5)]
        assert heard
        assert min(heard) > place
        back.session, back.sequence = "another life", place
        back.follow()
        again = [message.envelope.sequence for message in back.events(0.5)]
    assert min(again) < place


def test_every_event_about_a_job_names_the_request_that_it_does(client: Client) -> None:
    asked: list[str] = []
    name, packer = new_token(), Packer()
    photo = packer.add_file(PNG)
    for body, frames in (
        (Submit(job=name, label="x", photo=photo, recipe=RECIPE), packer.frames),
        (Rerun(name, start="finish"), []),
    ):
        asked.append(new_token())
        client._requests.send_multipart(encode(Env(id=asked[-1], body=body), frames))
        client._requests.recv_multipart()
        told: set[str] = set()
        for message in client.events(PATIENCE):
            about = getattr(message.body, "job", None)
            if name in (about, getattr(about, "id", None)):
                told.add(message.envelope.parent)
            if getattr(about, "state", None) is JobState.DONE and asked[-1] in told:
                break
        assert told - set(asked[:-1]) == {asked[-1]}


@pytest.mark.skipif(not can_compress(), reason="zstandard is not installed")
def test_over_a_slow_line_arrays_and_files_come_compressed_and_are_the_same(
    server: Running, tmp_path: Path
) -> None:
    with server.client(zstd=True) as client:
        name, packed = submit(client), []
        for message in client.events(PATIENCE):
            if isinstance(message.body, Picture) and message.body.job == name:
                packed.append(message.body.image.zstd)
                assert message.array(message.body.image).shape == (8, 8, 3)
            job = getattr(message.body, "job", None)
            if getattr(job, "id", None) == name and getattr(job, "state", None) is JobState.DONE:
                break
        assert packed
        assert all(packed)
        artefact = client.ask(GetJob(name), JobIs).job.artefacts[0]
        reply = client.ask(Fetch(name, artefact.name, zstd=True), Chunk)
        assert reply.data.zstd
        client.fetch(name, artefact, tmp_path / "fetched")  # holds it to its sha256
        assert (tmp_path / "fetched").stat().st_size == artefact.size


@pytest.mark.skipif(not can_compress(), reason="zstandard is not installed")
def test_a_compressed_photo_is_taken_and_a_bomb_is_not(client: Client) -> None:
    packer = Packer(zstd_level=3)
    done = ended(client, client.submit(PNG, packer, label="small", recipe=RECIPE).job.id)
    assert done.state is JobState.DONE
    packer = Packer(zstd_level=3)
    bomb = msgspec.structs.replace(packer.add_file(bytes(2**20)), shape=(2**28,))
    with pytest.raises(RequestRefusedError, match="536870912 bytes in one message") as caught:
        client.submit(PNG, packer, label="x", maps=dict.fromkeys(("mask", "normal", "depth"), bomb))
    assert caught.value.problem.kind is Kind.LIMIT
    with pytest.raises(RequestRefusedError, match="must unfold to 268435456 bytes") as caught:
        client.submit(PNG, packer, label="x", maps={"mask": bomb})
    assert caught.value.problem.kind is Kind.PROTOCOL


def test_free_memory_ends_the_idle_worker_and_the_next_job_starts_one(
    server: Running, client: Client
) -> None:
    worker = server.worker()
    client.ask(FreeMemory(), Done)
    psutil.wait_procs([worker], 10)
    assert not worker.is_running()
    assert ended(client, submit(client)).state is JobState.DONE


def test_metrics_are_figures(client: Client) -> None:
    values = client.ask(GetMetrics(), Metrics).values
    assert values["server.memory_bytes"] > 2**20
    assert values["jobs.running"] == 0
    assert values["stage.sculpt.seconds"] > 0


def test_the_log_tells_ids_and_never_labels_prompts_or_photos(
    server: Running, client: Client
) -> None:
    ended(client, submit(client, "secret-prompt", label="secret-label"))
    log = server.log()
    assert '"event":"job submitted"' in log
    assert "secret" not in log
    assert "somebody" not in log


def test_an_idle_worker_gives_its_memory_back(tmp_path: Path) -> None:
    with (
        running(tmp_path / "store", "--idle-seconds", "0.5") as server,
        server.client() as client,
    ):
        assert client.ask(GetMetrics(), Metrics).values["workers.memory_bytes"] > 2**26
        worker = server.worker()
        psutil.wait_procs([worker], PATIENCE)
        assert not worker.is_running()
        server.until(lambda: client.ask(GetMetrics(), Metrics).values["workers"] == 0)
        assert client.ask(GetMetrics(), Metrics).values["workers.memory_bytes"] == 0


# ---- strangers ------------------------------------------------------------------------------


def test_only_authorised_keys_get_an_answer(server: Running) -> None:
    key = stranger(server)
    theirs = msgspec.structs.replace(server.connection(), client=key)
    with Client(theirs, patience=1.0) as other, pytest.raises(ServerGoneError):
        other.command(Ping(), Done)
    authorise(server.store / "authorized_keys", key.public, "a friend")
    with server.client() as mine, Client(theirs) as other:
        other.command(Ping(), Done)
        name = submit(mine)
        assert refused(other, GetJob(name)) is Kind.UNKNOWN_JOB  # jobs of others do not exist
        assert other.ask(ListJobs(), Jobs).jobs == ()
        ended(mine, name)


def test_without_curve_or_with_another_servers_key_nothing_is_heard(server: Running) -> None:
    wrong = msgspec.structs.replace(server.connection(), server_key=stranger(server).public)
    with Client(wrong, patience=1.0) as other, pytest.raises(ServerGoneError):
        other.command(Ping(), Done)
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.connect(f"tcp://127.0.0.1:{server.connection().control}")
    plain.send_multipart(encode(Env(id=new_token(), body=Ping())))
    assert plain.poll(700) == 0
    context.destroy(linger=0)


def raw(client: Client, frames: list[bytes]) -> Refused:
    client._requests.send_multipart(frames)
    assert client._requests.poll(10_000)
    reply = decode(client._requests.recv_multipart(), REPLIES).body
    assert isinstance(reply, Refused)
    return reply


def test_broken_and_foreign_messages_are_answered_with_a_sentence(client: Client) -> None:
    good = [bytes(f) for f in encode(Env(id=new_token(), body=ListJobs()))]
    for frames in ([b"x"], [good[0]], [good[0], b"\xc1"], [b"GM\x09\x00", good[1]]):
        assert raw(client, frames).problem.kind is Kind.PROTOCOL
    newer = raw(client, [bytes((71, 77, MAJOR + 1, 0)), good[1]])
    assert "update this side" in newer.problem.sentence
    client.command(Ping(), Done)


def test_messages_that_are_sent_again_change_nothing(client: Client) -> None:
    """As a client does that lost the answer, or somebody who kept an earlier one's messages."""
    name, packer = new_token(), Packer()
    photo = packer.add_file(PNG)
    kept: list[list[Any]] = []

    def sent(body: Any, *frames: Any) -> Any:
        kept.append(encode(Env(id=new_token(), body=body), frames))
        return replayed(client, kept[-1])

    sent(Submit(job=name, label="x", photo=photo, recipe=RECIPE), *packer.frames)
    ended(client, name)
    for _ in range(2):
        sent(Rerun(name, start="finish"))
        client.wait(lambda e: getattr(e, "stage", "") == "finish", PATIENCE)
        ended(client, name)
    before = client.ask(GetJob(name), JobIs).job
    for frames in (*kept, *kept):
        assert replayed(client, frames).job == before
    assert client.ask(GetJob(name), JobIs).job == before


def replayed(client: Client, frames: list[Any]) -> Any:
    client._requests.send_multipart(frames)
    return decode(client._requests.recv_multipart(), REPLIES).body


def test_what_was_recorded_on_the_wire_opens_nothing_when_it_is_played_again(
    server: Running, client: Client
) -> None:
    """CURVE's keys are made anew for each connection: an old one's bytes are noise in the next."""
    port = server.connection().requests
    with recording(port) as (proxy, recorded):
        through = msgspec.structs.replace(server.connection(), requests=proxy)
        with Client(through) as other:
            name = other.submit(PNG + os.urandom(5000), label="x", recipe=RECIPE).job.id
    ended(client, name)
    client.ask(Remove(name), Done)  # so that the recorded submission would show if it were heard
    assert len(recorded) > 5000
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.settimeout(1.0)
            with contextlib.suppress(OSError):
                line.sendall(bytes(recorded))
                while line.recv(4096):
                    pass
    assert refused(client, GetJob(name)) is Kind.UNKNOWN_JOB
    assert not (server.store / "jobs" / name).exists()


@contextlib.contextmanager
def recording(port: int) -> Iterator[tuple[int, bytearray]]:
    """Stand between a client and a port of the server; give our port, and what the client said."""
    recorded = bytearray()

    def pass_on(source: socket.socket, sink: socket.socket, note: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if note is not None:
                    note += data
                sink.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as ours:

        def serve() -> None:
            theirs, _ = ours.accept()
            with theirs, socket.create_connection(("127.0.0.1", port)) as onward:
                back = threading.Thread(target=pass_on, args=(onward, theirs, None), daemon=True)
                back.start()
                pass_on(theirs, onward, recorded)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield ours.getsockname()[1], recorded
        thread.join(10)


def test_an_oversized_frame_ends_that_connection_only(server: Running, client: Client) -> None:
    with Client(server.connection(), patience=1.0) as other, pytest.raises(ServerGoneError):
        other.submit(PNG + bytes(65 * 2**20))
    client.command(Ping(), Done)


def test_a_client_that_vanishes_in_the_middle_of_an_upload_leaves_nothing(
    server: Running, client: Client
) -> None:
    before = set(server.store.glob("jobs/*"))
    code = (
        "import os, sys; from pathlib import Path\n"
        "from backend.client import Client; from backend.keys import read_connection\n"
        "client = Client(read_connection(Path(sys.argv[1])))\n"
        "import threading; threading.Timer(0.02, os._exit, (0,)).start()\n"
        "client.submit(bytes([137]) + b'PNG\\r\\n\\x1a\\n' + bytes(60 * 2**20))\n"
    )
    connection = str(server.store / "connection.json")
    subprocess.run([sys.executable, "-c", code, connection], check=False, timeout=60)
    client.command(Ping(), Done)
    assert set(server.store.glob("jobs/*")) == before


def test_who_asks_too_fast_is_told_so_and_control_still_gets_through(client: Client) -> None:
    def ask_too_often() -> None:
        for _ in range(5000):
            client.ask(GetMetrics(), Metrics)

    with pytest.raises(RequestRefusedError, match="200 times a second") as caught:
        ask_too_often()
    assert caught.value.problem.kind is Kind.LIMIT
    client.command(Ping(), Done)
    time.sleep(1.0)
    client.ask(ListJobs(), Jobs)


# ---- start and stop -------------------------------------------------------------------------


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backend", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_two_servers_never_share_a_store(server: Running) -> None:
    other = serve("--store", str(server.store))
    assert other.returncode == Exit.STORE_IN_USE
    assert "another has" in other.stderr


def test_a_taken_port_and_an_open_address_are_exit_codes(server: Running, tmp_path: Path) -> None:
    taken = serve("--store", str(tmp_path), "--port", str(server.connection().requests))
    assert taken.returncode == Exit.PORT_TAKEN
    assert "choose another" in taken.stderr
    wide = serve("--store", str(tmp_path), "--bind", "0.0.0.0")
    assert wide.returncode == Exit.OPTIONS
    assert "geneman serve --authorize KEY" in wide.stderr
    named = serve("--store", str(tmp_path), "--bind", "localhost.example")
    assert named.returncode == Exit.OPTIONS


def test_the_connection_file_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server:
        file = server.store / "connection.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with Client(server.connection()) as client:
            client.follow()
            client.command(Shutdown(), Done)
            client.wait(lambda event: isinstance(event, Stopping), 10)
        assert server.process is not None
        assert server.process.wait(30) == Exit.STOPPED
        assert not file.exists()


def test_who_asks_a_server_that_stops_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path / "store") as server, server.client() as client:
        name = submit(client, "hang:nerf_init")  # its last checkpoint is waited for
        client.wait(lambda e: isinstance(e, Step) and e.job == name, PATIENCE)
        client.command(Shutdown(), Done)
        client.wait(lambda event: isinstance(event, Stopping), PATIENCE)
        assert refused(client, GetJob(name)) is Kind.STOPPING
        client.command(Ping(), Done)
        server.worker().kill()
        assert server.process is not None
        assert server.process.wait(PATIENCE) == Exit.STOPPED


def test_the_server_leaves_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as parent:
        server = Running(tmp_path / "store", "--parent-pid", str(parent.pid)).start()
        parent.send_signal(signal.SIGKILL)
    assert server.process is not None
    assert server.process.wait(30) == Exit.STOPPED
