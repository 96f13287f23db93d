"""The part of the add-on's benchmark that runs in Blender: `addon_inside.py ZIP FACTS PHOTO`.

Prints one JSON object of lists and figures; `addon.py` makes rows of them.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import bpy  # noqa: TID251
import numpy as np

PACKAGE = "bl_ext.user_default.geneman"
ROUNDS = 25
"""Of each kind of reconstruction: new ones, and the same again."""
WHOLE = "whole 1 0.05"
"""A small reconstruction whose stages last long enough that no result is left out on the way."""
PATIENCE = 120.0

Pump = Callable[[], float]


def connected(zip_file: str, facts: dict[str, Any]) -> Any:
    """Install the add-on, connect it, and give its session module."""
    bpy.ops.extensions.package_install_files(
        filepath=zip_file, repo="user_default", enable_on_install=True, overwrite=True
    )
    session = importlib.import_module(f"{PACKAGE}.session")
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.address, chosen.server_key, chosen.place = (
        facts["address"],
        facts["server_key"],
        "REMOTE",
    )
    session.driven_by_hand = True
    session.current().service.start()
    until(session.pump, lambda: session.current().model.backend.ready)
    return session


def until(pump: Pump, true: Callable[[], bool]) -> list[float]:
    """Call the pump as Blender's timer would, until something is true; give each call's seconds."""
    spent: list[float] = []
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "the benchmark's job did not end"
        began = time.perf_counter()
        pause = pump()
        spent.append(time.perf_counter() - began)
        time.sleep(pause)
    return spent


def show(session: Any, prompt: str) -> list[float]:
    """Reconstruct with a prompt, and give the seconds of each tick until the end."""
    wanted = bpy.context.scene.geneman
    wanted.prompt, before = prompt, wanted.job
    bpy.ops.geneman.reconstruct()
    return until(session.pump, lambda: wanted.job != before and ended(session))


def job_here(session: Any) -> Any | None:
    """Give what is known of the scene's job."""
    row = session.current().model.job(bpy.context.scene.geneman.job)
    return None if row is None else row.job


def ended(session: Any) -> bool:
    """Say whether the scene's job has ended, and all that it gave is in the scene."""
    job = job_here(session)
    if job is None or job.state != "done":
        return False
    link = session.current().arrivals.linked(job.id)
    return not link.work and link.held is None and not link.due


def moved(session: Any) -> list[float]:
    """Give the seconds of each tick while a mesh moves: not of its arrival, nor of the end.

    Those make a mesh and undo steps, and have rows of their own.
    """
    wanted = bpy.context.scene.geneman
    wanted.prompt, before = "moving 240 0.05", wanted.job
    bpy.ops.geneman.reconstruct()
    arrivals = session.current().arrivals

    def there() -> bool:
        return arrivals.person_made(wanted.job) and not arrivals.linked(wanted.job).work

    until(session.pump, lambda: wanted.job != before and there())
    steady = until(session.pump, lambda: not runs(session))[:-1]  # in the last one it ends
    until(session.pump, lambda: ended(session))
    return steady


def runs(session: Any) -> bool:
    """Say whether a stage of the scene's job runs."""
    rows = session.current().model.stage_rows(bpy.context.scene.geneman.job)
    return any(row.state == "running" for row in rows)


def people() -> list[Any]:
    """Give the reconstructed objects."""
    return [found for found in bpy.data.objects if "geneman_job" in found]


def datablocks() -> int:
    """Count everything in the file that has users."""
    kinds = (getattr(bpy.data, name) for name in dir(bpy.data))
    lists = [kind for kind in kinds if isinstance(kind, bpy.types.bpy_prop_collection)]
    return sum(1 for kind in lists for one in kind if getattr(one, "users", 0))


def from_pydata(vertices: int, faces: int) -> float:
    """Give the seconds that the usual way takes for a mesh of that size."""
    points = np.random.default_rng(0).random((vertices, 3)).tolist()
    corners = np.random.default_rng(0).integers(0, vertices, (faces, 3)).tolist()
    mesh = bpy.data.meshes.new("peer")
    began = time.perf_counter()
    mesh.from_pydata(points, [], corners)
    mesh.update()
    spent = time.perf_counter() - began
    bpy.data.meshes.remove(mesh)
    return spent


def same_again(session: Any) -> int:
    """Run one job again and again, and give by how many datablocks the file has grown."""
    show(session, WHOLE)
    before = datablocks()
    for _ in range(ROUNDS):
        last = job_here(session).changed
        bpy.ops.geneman.rerun_stage(stage="sculpt")
        until(session.pump, lambda last=last: ended(session) and job_here(session).changed > last)
    return datablocks() - before


def ever_new(session: Any) -> int:
    """Reconstruct, delete the person, and so on; give by how many datablocks the file has grown."""
    before = 0
    for number in range(ROUNDS + 1):
        for person in people():
            bpy.data.objects.remove(person)
        bpy.data.orphans_purge(do_recursive=True)
        show(session, WHOLE)
        if number == 0:
            before = datablocks()
    return datablocks() - before


def main() -> None:
    """Measure all."""
    zip_file, facts, photo = sys.argv[1:]
    session = connected(zip_file, json.loads(facts))
    bpy.context.scene.geneman.photo = photo
    show(session, WHOLE)
    moving = moved(session)
    fresh, usual = [], []
    for _ in range(5):
        fresh.append(max(show(session, "fresh 3 0.3")))
        usual.append(from_pydata(200_000, 400_000))
    figures = {
        "moving": moving,
        "vertices": max(len(person.data.vertices) for person in people()),
        "fresh": fresh,
        "usual": usual,
        "textured": [max(show(session, "textured 3 0.5")) for _ in range(5)],
        "idle": until(session.pump, counted(20)),
        "same_again": same_again(session),
        "ever_new": ever_new(session),
    }
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    sys.stdout.write("FIGURES" + json.dumps(figures) + "\n")
    sys.stdout.flush()
    os._exit(0)  # nothing of Blender's own end is of interest here


def counted(calls: int) -> Callable[[], bool]:
    """Give a test that is true after so many calls."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


if __name__ == "__main__":
    main()
