"""Every panel draws in every state, and names only buttons, properties and icons that there are.

Blender draws nothing without a window, so panels are drawn on paper: a layout that notes what it is
given and refuses what Blender would not know. What it looks like is for `make test-gui`.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy  # noqa: TID251
import numpy as np
import pytest

PACKAGE = "bl_ext.user_default.geneman"
JOB = "ab" * 16
ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())
STAGES = ("prepare", "nerf_init", "sculpt", "latent_texture", "pixel_texture", "finish")


def of(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


class Paper:
    """A layout that notes texts and buttons, and knows what Blender knows."""

    def __init__(self, noted: list[str] | None = None) -> None:
        self.noted: list[str] = [] if noted is None else noted

    def _inner(self, *_: Any, **options: Any) -> "Paper":
        assert set(options) <= {"align", "factor", "heading"}, options
        return Paper(self.noted)

    row = column = split = _inner

    def panel(self, _: str, *, default_closed: bool) -> tuple["Paper", "Paper"]:
        return Paper(self.noted), Paper(self.noted)

    def label(self, *, text: str, icon: str = "NONE", translate: bool = True) -> None:
        assert icon in ICONS, icon
        self.noted.append(text)

    def progress(self, *, factor: float, text: str) -> None:
        assert 0 <= factor <= 1
        self.noted.append(text)

    def operator(self, name: str, *, icon: str = "NONE", **_: Any) -> Any:
        group, _, verb = name.partition(".")
        kind = getattr(getattr(bpy.ops, group), verb).get_rna_type()
        assert icon in ICONS, icon
        self.noted.append(name)
        return OnlyKnown(set(kind.properties.keys()))

    def prop(self, data: Any, name: str, *, icon: str = "NONE", **_: Any) -> None:
        assert name in data.bl_rna.properties, name
        assert icon in ICONS, icon
        self.noted.append(name)

    def template_list(self, kind: str, _: str, *where: Any, rows: int) -> None:
        assert hasattr(bpy.types, kind)
        self.noted.append(kind)

    def template_icon(self, *, icon_value: int, scale: float) -> None:
        self.noted.append(f"picture {scale}")

    def separator(self) -> None:
        pass

    def icon(self, image: Any) -> int:
        self.noted.append(image.name)
        return 1


class OnlyKnown:
    """An operator's properties: those that it has can be set."""

    def __init__(self, known: set[str]) -> None:
        object.__setattr__(self, "known", known)

    def __setattr__(self, name: str, _: Any) -> None:
        assert name in self.known, name


@pytest.fixture
def here() -> Iterator[Any]:
    session = of("session")
    session.unregister()
    bpy.ops.wm.read_homefile(use_empty=True)
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.auto_start, chosen.place = False, "OWN"
    session.driven_by_hand = True
    found = session.current()
    session.pump()
    yield found
    found.service.client = None
    session.unregister()
    session.driven_by_hand = False


def drawn(only: str = "") -> list[str]:
    """Give what all panels show, or one of them."""
    shading = SimpleNamespace(type="SOLID", light="STUDIO", color_type="MATERIAL")
    names = "scene", "window_manager", "view_layer", "preferences", "mode"
    given = {name: getattr(bpy.context, name) for name in names}
    context = SimpleNamespace(space_data=SimpleNamespace(shading=shading), **given)
    paper = Paper()
    for name in ("panels", "panels_backend", "panels_result"):
        for kind in of(name).CLASSES:
            if not issubclass(kind, bpy.types.Panel) or only not in kind.__name__:
                continue
            if not hasattr(kind, "poll") or kind.poll(context):
                kind.draw(SimpleNamespace(layout=paper), context)
    return paper.noted


def job(state: str, stage: str = "", **more: Any) -> Any:
    jobs = of("protocol_jobs")
    kept = jobs.StageState.DONE if state == "done" else jobs.StageState.MISSING
    made = tuple(jobs.StageIs(name, kept) for name in STAGES)
    fields = {"id": JOB, "label": "Ann", "state": jobs.JobState(state), "stage": stage}
    return jobs.Job(**fields, stages=made, created=1.0, changed=2.0, **more)


def has_job(here: Any, found: Any) -> None:
    """Let the scene have a job that a backend tells of."""
    protocol = of("protocol")
    device = protocol.Device("cpu", "this machine's processor", 4 * 2**30, 2 * 2**30)
    here.model.welcome = protocol.Welcome(
        "0", (), ready=True, stages=STAGES, presets={"draft": {}}, devices=(device,)
    )
    here.arrivals.link(JOB, "Ann", bpy.context.scene)
    here.take_in(of("protocol").JobChanged(found))


def with_person() -> Any:
    scene_import, arrays = of("scene_import"), of("arrays")
    found = scene_import.new_person(JOB, "Ann", bpy.context.scene)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 2]], np.float32).reshape(-1)
    faces = arrays.topology_of(np.array([[0, 1, 2]], np.int32), 3)
    scene_import.write_surface(found.data, corners, faces)
    return found


def choose_photo(folder: Path) -> Path:
    path = folder / "ann.png"
    image = bpy.data.images.new("ann", 4, 4)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    bpy.context.scene.geneman.photo = str(path)
    return path


def test_at_first_there_is_little_to_see_and_it_says_what_to_do(here: Any) -> None:
    seen = drawn()
    assert "Choose a photo of one person," in " ".join(seen)
    assert "geneman.reconstruct" in seen
    for later in ("geneman.rerun_stage", "geneman.match_camera", "geneman.export_gltf",
                  "geneman.paint_mask", "geneman.cancel"):  # fmt: skip
        assert later not in seen, "nothing is shown that cannot be used yet"


def test_what_cannot_be_fetched_yet_offers_the_way_to_allow_it(here: Any) -> None:
    assert not bpy.app.online_access
    seen = drawn("reconstruct")
    assert "geneman.allow_online" in seen
    assert "geneman.set_up" not in seen


def test_a_photo_is_shown_and_missed_when_it_is_gone(here: Any, tmp_path: Path) -> None:
    path = choose_photo(tmp_path)
    seen = drawn("reconstruct")
    assert "ann.png" in seen
    assert "geneman.choose_photo" not in seen
    assert "geneman.paint_mask" in drawn("mask")
    path.unlink()
    seen = drawn("reconstruct")
    assert "The photo is not there any more" in " ".join(seen)
    assert "geneman.choose_photo" in seen


def test_a_running_job_has_a_bar_and_shows_its_own_work_alone(here: Any, tmp_path: Path) -> None:
    choose_photo(tmp_path)
    has_job(here, job("running", "nerf_init"))
    seen = drawn()
    assert "geneman.cancel" in seen
    assert "geneman.reconstruct" not in seen
    assert "geneman.rerun_stage" not in seen
    assert seen.count("hide_live") == 4, "stages that show nothing have no tick"
    assert "ann.png" in seen, "nothing of its work has come yet"
    pixels = of("arrays").pixels_of(np.zeros((8, 8, 3), np.uint8))
    here.take_in(of("updates").PictureShown(JOB, "nerf_init", 1, pixels))
    assert "GeneMAN Live" in drawn("reconstruct")
    here.take_in(of("protocol").JobChanged(job("running", "sculpt")))
    assert "GeneMAN Live" not in drawn("reconstruct"), "that was another stage's"


def test_a_finished_person_can_be_looked_at_edited_exported_and_run_again(here: Any) -> None:
    with_person()
    here.arrivals.link(JOB, "Ann", bpy.context.scene)
    here.arrivals.forget_scenes()
    has_job(here, job("done"))
    here.arrivals.linked(JOB).made = True
    seen = drawn()
    for button in ("match_camera", "add_turntable", "stages_beside", "compare_stages",
                   "show_texture", "rerun_from_mesh", "keep_texture", "export_gltf"):  # fmt: skip
        assert f"geneman.{button}" in seen
    assert seen.count("geneman.rerun_stage") == len(STAGES)
    assert seen.count("geneman.inspect") == len(STAGES)


def test_a_failure_has_its_sentence_its_button_and_its_report(here: Any) -> None:
    jobs = of("protocol_jobs")
    problem = jobs.Problem(jobs.Kind.MEMORY, "the device's memory is full", traceback="Trace")
    has_job(here, job("failed", failure=jobs.Failure(problem, "sculpt")))
    seen = drawn("reconstruct")
    assert "The device's memory is full" in " ".join(seen)
    assert "geneman.use_quickest" in seen
    assert "geneman.copy_report" in seen


def test_a_mistake_of_ours_can_be_reported_and_put_away(here: Any) -> None:
    here.at_fault(ZeroDivisionError("a mistake"))
    seen = drawn("reconstruct")
    assert "geneman.copy_report" in seen
    assert "geneman.dismiss" in seen


def test_a_deleted_person_can_be_called_back(here: Any) -> None:
    has_job(here, job("done"))
    here.arrivals.linked(JOB).lost = True
    seen = drawn("reconstruct")
    assert "The person was deleted from the scene" in " ".join(seen)
    assert "geneman.show_person" in seen


def test_preferences_draw_for_every_place(here: Any) -> None:
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    fields = {"OWN": "device", "EXISTING": "environment", "REMOTE": "server_key"}
    for place, field in fields.items():
        chosen.place = place
        paper = Paper()
        of("panels_backend").draw_preferences(chosen, paper, bpy.context)
        assert field in paper.noted
    chosen.place = "OWN"
