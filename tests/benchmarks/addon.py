"""How long the add-on holds up Blender's main thread, and whether it leaves anything behind.

`python -m tests.benchmarks.addon --json` prints the rows of DESIGN.md section 6. A real server
shows a person of 200,000 vertices to the built zip, installed in Blender as a module; what is timed
is the function that Blender's timer calls.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import psutil
from PIL import Image
from skimage import data

import build_addon
from backend.keys import authorise, key_pair
from blender_addon.processes import NICENESS
from tests.backend.running import running, three_ports
from tests.blender_versions import BLENDERS, ROOT, ZIPS, Blender, ensure_environment

INSIDE = Path(__file__).with_name("addon_inside.py")


def figures(blender: Blender, folder: Path) -> dict[str, Any]:
    """Give what was measured in one version of Blender."""
    ensure_environment(blender)
    here = [build_addon.this_platform()]
    (zip_file,) = build_addon.build(ROOT, here, ZIPS, ROOT / "build" / "wheels")
    photo, user = folder / "photo.png", folder / "user"
    Image.fromarray(data.astronaut()).save(photo)
    own = user / "extensions" / ".user" / "user_default" / "geneman"
    own.mkdir(parents=True)
    pair = key_pair(own / "keys.json")
    store = folder / "store"
    options = ("--program", "tests.benchmarks.addon_program", "--port", str(three_ports()))
    with running(store, *options) as server:
        authorise(store / "authorized_keys", pair.public, "benchmark")
        connection = server.connection()
        assert server.process is not None
        give_way(server.process.pid)
        facts = {
            "address": f"127.0.0.1:{connection.requests}",
            "server_key": connection.server_key,
        }
        done = subprocess.run(
            [blender.interpreter, INSIDE, zip_file, msgspec.json.encode(facts).decode(), photo],
            env=os.environ | {"BLENDER_USER_RESOURCES": str(user)},
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [one for one in done.stdout.splitlines() if one.startswith("FIGURES")]
    assert lines, done.stdout[-3000:] + done.stderr[-3000:] + server.log()[-2000:]
    found: dict[str, Any] = json.loads(lines[0].removeprefix("FIGURES"))
    return found


def give_way(pid: int) -> None:
    """Let a server and its worker be as nice as those that the add-on starts (on Linux)."""
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        for task in Path(f"/proc/{one.pid}/task").glob("*"):
            os.setpriority(os.PRIO_PROCESS, int(task.name), NICENESS)


def row(name: str, value: float, unit: str, goal: float | None) -> dict[str, Any]:
    """Give one row."""
    empty = dict.fromkeys(("peer", "peer_value", "ratio", "limit_share"))
    return {"name": name, "value": value, "unit": unit, "better": "lower", "goal": goal} | empty


def share(values: list[float], percent: float) -> float:
    """Give a percentile."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Make rows of the figures."""
    assert found["vertices"] >= 200_000
    assert len(found["moving"]) > 100, "a percentile needs ticks"
    moving = found["moving"]
    fresh = row("largest tick with a new 200k-vertex mesh", 1e3 * max(found["fresh"]), "ms", 150)
    usual = 1e3 * statistics.median(found["usual"])
    fresh |= {"peer": "Mesh.from_pydata", "peer_value": usual, "ratio": fresh["value"] / usual}
    return [
        row("tick p50, 200k vertices moving", 1e3 * share(moving, 50), "ms", None),
        row("tick p99, 200k vertices moving", 1e3 * share(moving, 99), "ms", 8),
        row("tick p99, nothing happens", 1e3 * share(found["idle"], 99), "ms", 1),
        fresh,
        row("largest tick with a new 2048 px texture", 1e3 * max(found["textured"]), "ms", 150),
        row("datablocks left by 25 re-runs", found["same_again"], "", 0),
        row("datablocks left by 25 new people, each deleted", found["ever_new"], "", 0),
    ]


def main() -> None:
    """Print the rows."""
    known = {one.series: one for one in BLENDERS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--blender", default="4.5", choices=known)
    wanted = parser.parse_args()
    # What is built meanwhile is told on the other stream: this one is for the rows.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        made = rows(figures(known[wanted.blender], Path(folder)))
    if wanted.json:
        sys.stdout.write(json.dumps(made, indent=1) + "\n")
        return
    for one in made:
        goal = "" if one["goal"] is None else f"  (goal {one['goal']:g})"
        sys.stdout.write(f"{one['name']:<52} {one['value']:9.2f} {one['unit']}{goal}\n")


if __name__ == "__main__":
    main()
