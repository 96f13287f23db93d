"""The backend's life as the add-on sees it: cancelled, killed, back again; with tiny stages."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251
import driving
import pytest
from driving import here, model, row, stages, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = ("nerf_init", "steps"), ("sculpt", "steps"), ("latent_texture", "steps")


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    """A real server and worker; the stages fit four numbers each, a step in a twentieth second."""
    session = driving.session()
    session.driven_by_hand = True
    bpy.ops.wm.read_homefile(use_empty=True)
    driving.choose_existing()
    service = here().service
    service.choose(session.chosen())
    real = service._launch

    def tiny(found: Any) -> Any:
        return dataclasses.replace(
            real(found),
            options=("--program", "tests.backend.tiny_program"),
            environment={"TINY_PAUSE": "0.05", "PYTHONPATH": str(driving.ROOT)},
        )

    service._launch = tiny
    assert bpy.ops.geneman.start() == {"FINISHED"}
    until(lambda: model().welcome is not None and model().welcome.ready, driving.STARTING)
    yield
    pid = service.launcher.status.pid
    session.unregister()
    session.driven_by_hand = False
    assert not driving.alive(pid)


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    """A scene of its own, with a photo and few steps."""
    for window in bpy.context.window_manager.windows:
        window.scene = bpy.data.scenes.new("Scene")
    path = tmp_path / "somebody.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"somebody")  # the tiny stages only hash it
    form = driving.of("recipe_form")
    bpy.context.scene.geneman.photo = str(path)
    form.load(bpy.context.scene, "draft", {stage: {name: 30} for stage, name in STEPS})
    here().notice = None
    return bpy.context.scene


def test_a_job_is_cancelled_and_goes_on_from_there(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(lambda: stages().get("sculpt") == "running", what="the stage")
    bpy.ops.geneman.cancel()
    assert until(driving.ended, what="the end").job.state == "cancelled"
    assert stages()["nerf_init"] == "done"
    assert here().notice is None
    bpy.ops.geneman.rerun_stage(stage="sculpt")
    until(lambda: not driving.ended(), what="its start")
    driving.done()
    assert set(stages().values()) == {"done"}


def test_the_mesh_arrives_while_somebody_edits_another(scene: Any) -> None:
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.geneman.reconstruct()
    until(lambda: list(here().arrivals.holding()), what="that a result waits")
    assert driving.person() is None
    bpy.ops.object.mode_set(mode="OBJECT")
    until(driving.person, 5, what="the person")
    driving.done()


def test_a_deleted_person_is_missed_and_called_back(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(driving.person, what="the person")
    bpy.data.objects.remove(driving.person())
    driving.done()
    assert driving.person() is None
    assert here().arrivals.linked(scene.geneman.job).lost


def test_a_photo_is_read_when_it_is_sent_so_it_may_go_afterwards(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(row, what="that the backend has it")
    Path(scene.geneman.photo).unlink()
    driving.done()


def test_a_photo_that_goes_before_it_is_sent_is_told_and_loses_nothing(scene: Any) -> None:
    wish = driving.of("operators").wish_of(bpy.context)
    Path(scene.geneman.photo).unlink()
    here().reconstruct(wish, scene)
    until(lambda: here().notice is not None, what="the sentence", calm=False)
    assert "somebody.png" in here().notice.sentence
    assert str(here().notice.remedy) == "choose_photo"


def test_a_job_goes_on_in_the_scene_it_was_started_from(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(row, what="that the backend has it")
    job = scene.geneman.job
    away = bpy.data.scenes.new("Away")
    bpy.context.window.scene = away
    until(lambda: model().job(job).job.state == "done", what="the end")
    (found,) = (o for o in scene.objects if o.get("geneman_job") == job)
    assert found.name not in away.objects


def test_another_file_is_loaded_and_the_job_can_be_shown_there(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(row, what="that the backend has it")
    job = scene.geneman.job
    bpy.ops.wm.read_homefile(use_empty=True)
    until(lambda: model().job(job).job.state == "done", what="the end")
    assert not [o for o in bpy.data.objects if "geneman_job" in o]
    window = bpy.context.window_manager.geneman
    until(lambda: job in [line.job for line in window.jobs], 10, what="its line")
    window.job_index = [line.job for line in window.jobs].index(job)
    assert bpy.ops.geneman.show_job() == {"FINISHED"}
    assert bpy.context.scene.geneman.job == job
    assert set(stages().values()) == {"done"}


def test_an_ended_job_is_removed_from_the_list(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    driving.done()
    job = scene.geneman.job
    window = bpy.context.window_manager.geneman
    until(lambda: job in [line.job for line in window.jobs], 10, what="its line")
    window.job_index = [line.job for line in window.jobs].index(job)
    bpy.ops.geneman.remove_job()
    until(lambda: job not in [line.job for line in window.jobs], 30, what="that it is gone")
    assert here().history.get(job) is None


def test_memory_is_freed_when_nothing_runs(scene: Any) -> None:
    until(lambda: not model().queue, what="that nothing runs")
    assert bpy.ops.geneman.free_memory() == {"FINISHED"}
    bpy.ops.geneman.reconstruct()
    driving.done()


def test_a_killed_backend_comes_back_and_the_job_goes_on(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(lambda: stages().get("sculpt") == "running", what="the stage")
    os.kill(here().service.launcher.status.pid, signal.SIGKILL)
    until(lambda: not model().backend.ready, 60, what="that the end is noticed", calm=False)
    until(lambda: model().backend.ready, driving.STARTING, what="its return", calm=False)
    driving.done()
    assert set(stages().values()) == {"done"}


def test_stop_and_start_again_lose_nothing(scene: Any) -> None:
    bpy.ops.geneman.reconstruct()
    until(lambda: stages().get("nerf_init") == "running", what="the stage")
    assert bpy.ops.geneman.stop() == {"FINISHED"}
    assert here().client is None
    launcher = here().service.launcher
    until(lambda: launcher.status.phase == "stopped", 60, what="its end", calm=False)
    assert bpy.ops.geneman.start() == {"FINISHED"}
    until(lambda: model().backend.ready, driving.STARTING, what="its return", calm=False)
    driving.done()
