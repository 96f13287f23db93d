"""Runs the play in a real Blender: a backend on this machine, Blender in its own Debian."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image
from skimage import data

import build_addon
from backend.keys import authorise, key_pair, read_connection
from tests.backend.running import three_ports

HERE = Path(__file__).resolve().parent
SECONDS = 5400
"""Some minutes where nothing else runs; GENEMAN_GUI_SMALL=1 reconstructs with few steps."""
ENTER = """
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/tmp"
mkdir -p "$ROOT/shared"
mount --bind "$SHARED" "$ROOT/shared"
exec chroot "$ROOT" sh /shared/tests/inside.sh
"""


@dataclass(frozen=True)
class Played:
    """What came of it."""

    report: dict[str, Any]
    """By step: what the play noted, `seconds` among it."""
    pictures: Path
    log: str
    """All that Blender and the extension said."""
    code: int


@contextmanager
def backend(store: Path, key: str) -> Iterator[int]:
    """Serve while the play goes on, to the holder of a public key; give the first port."""
    store.mkdir(mode=0o700)
    authorise(store / "authorized_keys", key, "the test of the window")
    command = [sys.executable, "-m", "backend", "--store", str(store), "--device", "cpu"]
    command += ["--port", str(three_ports())]
    # On one processor: another draws the window, and threads that wait for each other wait long.
    last = max(os.sched_getaffinity(0))
    command = ["taskset", "--cpu-list", str(last), *command]
    with (store.parent / "backend.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (store / "connection.json").exists():
            assert process.poll() is None, (store.parent / "backend.log").read_text()
            assert time.monotonic() < deadline, "the backend did not start"
            time.sleep(0.1)
        yield read_connection(store / "connection.json").requests
    finally:
        process.terminate()
        process.wait(30)


def play(folder: Path) -> Played:
    """Build the zip, serve, and perform in Blender."""
    shared, work = folder / "shared", folder / "work"
    for one in (shared, work):
        shutil.rmtree(one, ignore_errors=True)
    (shared / "pictures").mkdir(parents=True)
    work.mkdir()
    (zip_file,) = build_addon.build(
        build_addon.ROOT, ["linux-x64"], work, build_addon.ROOT / "build" / "wheels"
    )
    shutil.copy(zip_file, shared / "addon.zip")
    shutil.copytree(HERE, shared / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE.parent / "blender_addon_bpy" / "driving.py", shared / "tests")
    Image.fromarray(data.astronaut()).save(shared / "astronaut.png")
    pair = key_pair(shared / "keys.json")
    with backend(work / "store", pair.public) as port:
        server_key = read_connection(work / "store" / "connection.json").server_key
        facts = {
            "address": f"127.0.0.1:{port}",
            "server_key": server_key,
            "small": bool(os.environ.get("GENEMAN_GUI_SMALL")),
        }
        (shared / "facts.json").write_bytes(msgspec.json.encode(facts))
        environment = os.environ | {"ROOT": str(folder / "debian"), "SHARED": str(shared)}
        with (shared / "blender.log").open("wb") as log:
            done = subprocess.run(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=SECONDS,
                check=False,
            )
    report = shared / "report.json"
    return Played(
        report=json.loads(report.read_text()) if report.exists() else {},
        pictures=shared / "pictures",
        log=(shared / "blender.log").read_text(errors="replace"),
        code=done.returncode,
    )
