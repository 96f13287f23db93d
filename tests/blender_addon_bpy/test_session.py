"""The session and its timer: they cost nothing unasked, survive everything, and leave no trace."""

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy  # noqa: TID251
import numpy as np
import pytest

PACKAGE = "bl_ext.user_default.geneman"
addon = importlib.import_module(PACKAGE)
session = importlib.import_module(f"{PACKAGE}.session")


def of(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    session.unregister()
    session.driven_by_hand = False
    bpy.ops.wm.read_homefile(use_empty=True)
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.auto_start = False
    chosen.place = "OWN"
    yield
    session.unregister()
    session.driven_by_hand = False


@pytest.fixture
def here() -> Any:
    session.driven_by_hand = True
    return session.current()


class Replies:
    """The client's side that the session uses, saying what a test wants it to have heard."""

    def __init__(self, *updates: Any) -> None:
        self.updates, self.orders = list(updates), []
        self.live = True

    def take(self) -> Any:
        return self.updates.pop(0) if self.updates else None

    def __getattr__(self, name: str) -> Any:
        def order(*arguments: Any) -> str:
            self.orders.append((name, arguments))
            return "f" * 32

        return order


# ---- life -------------------------------------------------------------------------------------


def test_nothing_runs_until_the_panel_is_seen() -> None:
    assert session.known() is None
    session.wake()
    assert session.known() is None, "without a window nobody sees the panel"
    assert not bpy.app.timers.is_registered(session._timer)


def test_without_a_window_the_button_says_why_and_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="works in Blender's window, but this Blender runs with"):
        bpy.ops.geneman.reconstruct()
    with pytest.raises(RuntimeError, match="geneman reconstruct"):
        bpy.ops.geneman.start()


def test_registering_twice_leaves_one_of_each_and_unregistering_none(here: Any) -> None:
    def listening() -> dict[str, int]:
        lists = {name: getattr(bpy.app.handlers, name) for name in of("handlers").HANDLERS}
        return {
            name: sum((handler.__module__ or "").startswith(PACKAGE) for handler in one)
            for name, one in lists.items()
        }

    assert set(listening().values()) == {1}
    addon.unregister()
    assert set(listening().values()) == {0}
    assert session.known() is None
    assert not hasattr(bpy.types.Scene, "geneman")
    addon.register()
    assert set(listening().values()) == {1}
    assert bpy.context.scene.geneman.photo == ""


def test_the_add_on_forgets_nothing_of_the_scene_when_it_is_reloaded() -> None:
    bpy.context.scene.geneman.prompt = "a pilot"
    addon.unregister()
    addon.register()
    assert bpy.context.scene.geneman.prompt == "a pilot"


# ---- the tick ---------------------------------------------------------------------------------


def test_a_mistake_of_ours_is_told_and_the_timer_lives_on(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(here.service, "watch", broken)
    assert session.pump() > 0
    assert "ZeroDivisionError: a mistake" in here.notice.sentence
    assert "in broken" in here.notice.detail
    monkeypatch.undo()
    bpy.ops.geneman.dismiss()
    session.pump()
    assert here.notice is None


def test_a_tick_ends_when_its_time_is_over_and_the_rest_comes_in_the_next(here: Any) -> None:
    told = of("updates").BackendStopping()
    here.service.client = Replies(*[told] * 3)
    real = here.take_in

    def slow(update: Any) -> None:
        time.sleep(0.01)
        real(update)

    here.take_in = slow
    session.pump(0.008)
    assert len(here.service.client.updates) == 2
    session.pump(0.008)
    assert len(here.service.client.updates) == 1
    here.service.client = None


def test_what_was_refused_is_told_with_its_button(here: Any) -> None:
    troubles, updates = of("troubles"), of("updates")
    trouble = troubles.Trouble("A client may have 100 open jobs, but got 101.",
                               troubles.Remedy.REMOVE_JOBS)  # fmt: skip
    here.service.client = Replies(updates.Outcome("f" * 32, None, trouble))
    session.pump()
    assert here.notice == trouble
    here.service.client = None


def test_every_remedy_has_a_button_that_exists() -> None:
    remedies = {str(one) for one in of("troubles").Remedy} - {"none"}
    buttons = of("operators_backend").REMEDIES
    assert set(buttons) == remedies
    for name in buttons.values():
        assert name.partition(".")[2] in dir(bpy.ops.geneman)


def test_a_photo_waits_for_the_backend_and_is_sent_when_it_is_ready(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"png")
    client = Replies()
    row = SimpleNamespace(ready=False, fraction=None, sentence="The backend starts")
    monkeypatch.setattr(type(here.model), "backend", row)
    monkeypatch.setattr(here.service, "start", lambda: setattr(here.service, "client", client))
    here.reconstruct(of("orders").NewJob(path, label="a"), bpy.context.scene)
    session.pump()
    assert here.waiting is not None
    assert client.orders == []
    row.ready = True
    session.pump()
    assert here.waiting is None
    ((name, (wish,)),) = client.orders
    assert (name, wish.label) == ("reconstruct", "a")
    assert bpy.context.scene.geneman.job == "f" * 32
    assert here.history.get("f" * 32).photo == str(path)
    here.service.client = None


def test_a_waiting_photo_can_be_cancelled(here: Any, tmp_path: Path) -> None:
    here.waiting = session.Waiting(of("orders").NewJob(tmp_path / "a.png"), 0)
    assert bpy.ops.geneman.cancel() == {"FINISHED"}
    assert here.waiting is None


def test_previews_are_wanted_unless_every_stage_is_hidden(here: Any) -> None:
    stages = ("prepare", "sculpt")
    here.model.welcome = SimpleNamespace(stages=stages)
    here.service.client = client = Replies()
    hidden = bpy.context.window_manager.geneman.hide_live
    session.pump()
    assert client.live
    hidden[0] = True
    session.pump()
    assert client.live
    hidden[1] = True
    session.pump()
    assert not client.live
    hidden[0] = hidden[1] = False
    here.service.client = None


def test_results_keep_the_settings_of_the_run_that_made_them(here: Any, tmp_path: Path) -> None:
    job, orders = "ab" * 16, of("orders")
    here.service.client = Replies()
    here.history.add(of("history").Origin(job, "/photos/ann.png"))
    again = orders.Again(start="sculpt", preset="standard", recipe={"sculpt": {"steps": 3}}, seed=9)
    of("operators").run_again(bpy.context, job, again)
    run = json.loads(here.arrivals.linked(job).run)
    assert run == {
        "photo": "/photos/ann.png",
        "preset": "standard",
        "recipe": {"sculpt": {"steps": 3}},
        "prompt": None,
        "seed": 9,
    }
    of("operators").run_again(bpy.context, job, orders.Again(mask=None))
    assert json.loads(here.arrivals.linked(job).run) == run, "an edit changes no settings"
    here.service.client = None


def test_a_person_shown_from_the_history_keeps_what_the_backend_remembers(here: Any) -> None:
    updates = of("updates")
    here.service.client = client = Replies()
    job = SimpleNamespace(id="ab" * 16, label="Ann", artefacts=())
    of("operators_jobs").show(bpy.context, job)
    assert ("recall", (job.id,)) in client.orders
    wish = of("protocol_jobs").Wish("draft", {"sculpt": {"steps": 5}}, "a pilot", 3)
    reply = SimpleNamespace(job=job, wish=wish)
    here._outcome(updates.Outcome("f" * 32, reply))
    assert json.loads(here.arrivals.linked(job.id).run)["prompt"] == "a pilot"
    here.service.client = None


def test_a_report_says_everything_but_secrets(here: Any) -> None:
    said = of("operators_backend").report_of("It broke.\n\nTraceback ...")
    assert said.startswith("It broke.\n\nTraceback ...\n")
    assert f"Blender: {bpy.app.version_string}" in said
    assert f"GeneMAN: {here.service.site.version}" in said


# ---- bad days ---------------------------------------------------------------------------------


def test_without_a_backend_the_panel_says_so_and_offers_set_up(here: Any, tmp_path: Path) -> None:
    session.pump()
    assert here.model.backend.sentence == "The backend is not installed"
    assert str(here.model.backend.remedy) == "set_up"
    photo = tmp_path / "a.png"
    photo.write_bytes(b"png")
    bpy.context.scene.geneman.photo = str(photo)
    with pytest.raises(RuntimeError, match="The backend is not installed"):
        bpy.ops.geneman.reconstruct()


def test_set_up_asks_for_online_access_first(here: Any) -> None:
    assert not bpy.app.online_access
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.geneman.set_up()


def test_an_environment_that_is_none_is_told(here: Any, tmp_path: Path) -> None:
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.environment = str(tmp_path)
    chosen.place = "EXISTING"
    assert str(tmp_path) in here.service.trouble.sentence
    assert not here.service.installed


def test_another_machine_asks_for_online_access_first_and_this_one_does_not(here: Any) -> None:
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.server_key = "k" * 40
    chosen.address, chosen.place = "render7:5600", "REMOTE"
    assert "does not allow online access" in here.service.trouble.sentence
    assert str(here.service.trouble.remedy) == "allow_online"
    assert not here.service.installed
    for address in ("127.0.0.1:5600", "localhost:5600", "[::1]:5600"):
        chosen.address = address
        assert here.service.trouble is None
        assert here.service.installed


def test_a_photo_that_is_gone_is_told_before_anything_is_sent(here: Any, tmp_path: Path) -> None:
    bpy.context.scene.geneman.photo = str(tmp_path / "gone.png")
    with pytest.raises(RuntimeError, match=r"not there any more: .*gone\.png"):
        bpy.ops.geneman.reconstruct()


def test_the_button_asks_for_a_photo(here: Any) -> None:
    with pytest.raises(RuntimeError, match="Choose a photo first"):
        bpy.ops.geneman.reconstruct()


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("rerun_stage", "not running"),
        ("rerun_from_mesh", "not running"),
        ("match_camera", "no reconstructed person"),
        ("export_gltf", "no reconstructed person"),
        ("paint_mask", "Choose a photo first"),
        ("rerun_from_mask", "Paint the mask first"),
        ("texture_selected", "Select a mesh first"),
        ("show_job", "not running"),
        ("free_memory", "not running"),
        ("stop", "not running"),
        ("open_log", "no log"),
        ("paste_photo", "no picture in the clipboard"),
        ("stages_beside", "no reconstructed person"),
    ],
)
def test_whatever_cannot_be_done_says_why(here: Any, operator: str, reason: str) -> None:
    while here.service.log is not None:  # of a backend that another test started
        here.service.log.unlink()
    with pytest.raises(RuntimeError, match=reason):
        getattr(bpy.ops.geneman, operator)()


# ---- by hand ----------------------------------------------------------------------------------


def test_sculpting_a_person_makes_later_stages_stale(here: Any) -> None:
    scene_import, arrays = of("scene_import"), of("arrays")
    job = "ab" * 16
    found = scene_import.new_person(job, "Ann", bpy.context.scene)
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1]], np.float32).reshape(-1)
    faces = arrays.topology_of(np.array([[0, 1, 2]], np.int32), 3)
    scene_import.write_surface(found.data, corners, faces)
    scene_import.remember_shape(found)
    edited: dict[str, str] = {}
    here.model.edited = edited.__setitem__
    bpy.context.view_layer.objects.active = found
    found.select_set(True)
    bpy.context.view_layer.update()
    assert not any(edited.values()), "what we write ourselves is no edit"
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.view_layer.update()
    assert not any(edited.values()), "who only looks at it in Edit Mode changes nothing"
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 1))
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.view_layer.update()
    assert edited == {job: "sculpt"}
    scene_import.write_surface(found.data, corners, faces)  # as undo would
    found.data.update()
    bpy.context.view_layer.update()
    assert edited == {job: ""}, "it is as it was"


def test_painted_images_are_kept_when_the_file_is_saved(here: Any, tmp_path: Path) -> None:
    scene_import = of("scene_import")
    image = scene_import.marked(bpy.data.images.new("Ann Albedo", 4, 4), "ab" * 16, "albedo")
    image.use_fake_user = True
    image.pixels.foreach_set(np.full(64, 0.5, np.float32))
    image.update()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert bpy.data.images["Ann Albedo"].pixels[0] == pytest.approx(0.5, abs=0.01)
