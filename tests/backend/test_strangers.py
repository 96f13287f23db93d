"""Who is let in, what is refused, and how little a client that is broken or hostile can do."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import zmq

from backend.client import Client, RequestRefusedError, ServerGoneError
from backend.keys import KeyPair, authorise
from blender_addon.frames import MAJOR, Packer, decode, encode, new_token
from blender_addon.frames import Envelope as Env
from blender_addon.protocol import (
    REPLIES,
    Done,
    GetJob,
    GetMetrics,
    JobIs,
    Jobs,
    Kind,
    ListJobs,
    Metrics,
    Ping,
    Refused,
    Remove,
    Rerun,
    Submit,
)
from tests.backend.running import (
    PATIENCE,
    PNG,
    RECIPE,
    Running,
    ended,
    refused,
    submit,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill and permissions are POSIX")


def stranger(server: Running) -> KeyPair:
    return KeyPair(*(key.decode() for key in zmq.curve_keypair()))


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
