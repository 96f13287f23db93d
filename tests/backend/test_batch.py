"""`geneman batch`: a folder of photos in, a folder of people and a contact sheet out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from backend.batch import main
from tests.backend.running import PNG, RECIPE, running
from tests.synthetic import figure_view
from tests.tiny_photo import SIZE, TINY

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the server's tests are POSIX")


def batch(folder: Path, output: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "geneman", "batch", str(folder), "-o", str(output), "--json"]
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, timeout=500
    )


@pytest.mark.slow
def test_a_folder_becomes_people_and_a_sheet_and_the_same_command_again_only_fetches(
    tmp_path: Path,
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    view = figure_view(SIZE)
    person = np.concatenate([view.colour.numpy(), view.inside.numpy()[..., None]], axis=-1)
    Image.fromarray((person * 255).astype(np.uint8)).save(photos / "ann.png")
    (photos / "broken.png").write_bytes(PNG)
    (photos / "notes.txt").write_text("no photo")
    recipe = ("--recipe", msgspec.json.encode(TINY).decode(), "--serve", "--device cpu")
    first = batch(photos, tmp_path / "out", *recipe)
    assert first.returncode == 1, first.stderr  # one of the two is no photo
    told = {line["photo"]: line for line in map(json.loads, first.stdout.splitlines())}
    assert told.keys() == {"ann.png", "broken.png"}
    assert told["ann.png"]["state"] == "done"
    assert "photo" in told["broken.png"]["problem"]
    assert (tmp_path / "out/ann/model.glb").read_bytes().startswith(b"glTF")
    with Image.open(tmp_path / "out/contact_sheet.png") as sheet:
        assert sheet.width > sheet.height > 300
    assert not (tmp_path / "out/broken").exists()

    (photos / "broken.png").unlink()
    model = (tmp_path / "out/ann/model.glb").read_bytes()
    (tmp_path / "out/ann/model.glb").unlink()
    again = batch(photos, tmp_path / "out", *recipe, "--no-sheet")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["seconds"] == told["ann.png"]["seconds"]  # nothing ran
    assert (tmp_path / "out/ann/model.glb").read_bytes() == model


def test_it_uses_a_running_backend_and_leaves_it_running(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        (photos / name).write_bytes(PNG + name.encode())
    with running(tmp_path / "store") as server:
        connection = str(server.store / "connection.json")
        options = ("--connection-file", connection, "--recipe", json.dumps(RECIPE))
        done = batch(photos, tmp_path / "out", *options)
        assert done.returncode == 0, done.stderr
        assert {json.loads(line)["state"] for line in done.stdout.splitlines()} == {"done"}
        assert (tmp_path / "out/c/finish.safetensors").is_file()
        assert server.process is not None
        assert server.process.poll() is None


def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "out")
    assert main([str(tmp_path), "-o", output]) == 2
    assert "The folder must hold photos" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), "-o", output]) == 2
    assert "The photos must lie in a folder" in capsys.readouterr().err
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).write_bytes(PNG)
    assert main([str(tmp_path), "-o", output]) == 2
    assert "'a' is there twice" in capsys.readouterr().err
