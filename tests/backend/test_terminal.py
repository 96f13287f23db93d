"""`geneman serve` and `geneman jobs`, as a person types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blender_addon.protocol import JobState
from tests.backend.running import PNG, running

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the server's tests are POSIX")


def geneman(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geneman", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_photo_is_submitted_waited_for_fetched_and_removed(tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.write_bytes(PNG)
    with running(tmp_path / "store") as server, server.client():
        jobs = ("jobs", "--connection-file", str(server.store / "connection.json"))
        done = geneman(*jobs, "submit", str(photo), "--wait")
        assert done.returncode == 0, done.stderr
        name, state = done.stdout.split()[:2]
        assert state == JobState.DONE.value
        assert "me.png" in geneman(*jobs, "list").stdout
        figures = json.loads(geneman(*jobs, "--json", "metrics").stdout)
        assert figures["jobs.done"] == 1
        assert f"{'jobs.done':<32} 1\n" in geneman(*jobs, "metrics").stdout
        fetched = geneman(*jobs, "fetch", name, "-o", str(tmp_path / "out"))
        assert fetched.stdout.split() == [str(tmp_path / "out" / "finish.safetensors")]
        assert geneman(*jobs, "remove", name).returncode == 0
        gone = geneman(*jobs, "show", name)
        assert gone.returncode == 2
        assert "fits none" in gone.stderr


def test_without_a_server_one_sentence_says_what_to_start(tmp_path: Path) -> None:
    alone = geneman("jobs", "--connection-file", str(tmp_path / "none.json"), "list")
    assert alone.returncode == 2
    assert "start one with `geneman serve`" in alone.stderr


def test_geneman_serve_is_the_backend(tmp_path: Path) -> None:
    refused = geneman("serve", "--store", str(tmp_path), "--bind", "nowhere")
    assert refused.returncode == 2
    assert "--bind must be an IP address" in refused.stderr
