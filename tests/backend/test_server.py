"""The server from outside: real processes, real sockets, real keys."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from backend.client import Client, RequestRefusedError
from blender_addon.frames import Envelope as Env
from blender_addon.frames import Packer, can_compress, encode, new_token
from blender_addon.protocol import (
    Cancel,
    Chunk,
    Done,
    Edits,
    Fetch,
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
    Remove,
    Rerun,
    StageEnded,
    Step,
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
    refused,
    submit,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill and permissions are POSIX")


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
