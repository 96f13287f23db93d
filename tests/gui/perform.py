"""The play: what a person does in Blender's window, from the photo to a stage run again.

Runs inside Blender (see `inside.sh`). Notes for each step what it saw in `report.json`; whether
that is good is for `test_gui.py` to say. A step that fails ends the play.
"""

import importlib
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251

SHARED = Path("/shared")
sys.path.insert(0, str(SHARED / "tests"))

from driving import TINY  # noqa: E402
from hands import Hands, Play, until  # noqa: E402

PACKAGE = "bl_ext.user_default.geneman"
JOB_SECONDS = 3000.0
"""A minute where nothing else runs; the window is drawn in software beside it."""


class Stage:
    """What is asked of the add-on behind the scenes: only to know when to look."""

    def __init__(self) -> None:
        self.hands = Hands(SHARED / "pictures")
        self.session = importlib.import_module(f"{PACKAGE}.session")
        self.report: dict[str, Any] = {}

    @property
    def model(self) -> Any:
        return self.session.current().model

    @property
    def scene(self) -> Any:
        return bpy.context.window_manager.windows[0].scene

    @property
    def row(self) -> Any:
        return self.model.job(self.scene.geneman.job)

    @property
    def person(self) -> Any:
        """The object that has come of the scene's job."""
        job = self.scene.geneman.job
        ours = (o for o in self.scene.objects if job and job in o.values())
        return next((o for o in ours if o.type == "MESH" and "geneman_stage" not in o), None)

    def copies(self) -> list[Any]:
        """What stands beside the person to be compared with it."""
        return [one for one in self.scene.objects if "geneman_stage" in one]

    def running(self, stage: str) -> bool:
        row = self.row
        return row is not None and row.job.stage == stage and row.job.state == "running"

    def ended(self) -> bool:
        row = self.row
        return row is not None and row.job.state in ("done", "failed", "cancelled")

    def note(self, **facts: Any) -> None:
        self.report.setdefault(self.step, {}).update(facts)
        (SHARED / "report.json").write_text(json.dumps(self.report, indent=1))

    def facts_of_person(self) -> dict[str, Any]:
        person = self.person
        if person is None:
            return {"person": False}
        low = [min(c[i] for c in person.bound_box) for i in range(3)]
        high = [max(c[i] for c in person.bound_box) for i in range(3)]
        return {
            "person": True,
            "name": person.name,
            "vertices": len(person.data.vertices),
            "size": [top - bottom for top, bottom in zip(high, low, strict=True)],
            "textured": bool(person.data.materials) and bool(person.data.uv_layers),
        }

    step = ""


# ---- scenes -----------------------------------------------------------------------------------


def open_the_panel(stage: Stage) -> Play:
    """Press N over the viewport, and choose the tab."""
    hands = stage.hands
    cube = bpy.data.objects["Cube"]  # where the person will stand
    cube.location, cube.scale = (-1.5, 0, 0.4), (0.4, 0.4, 0.4)
    bpy.ops.ed.undo_push(message="Cube")
    view = hands.scene_view
    yield from hands.press("N", (view.x + view.width // 2, view.y + view.height // 2))
    yield 0.5
    hands.sidebar.active_panel_category = "GeneMAN"
    yield 1.0
    stage.note(tab=hands.sidebar.active_panel_category)
    yield from hands.look("1-panel")


def connect(stage: Stage) -> Play:
    """Name the backend, as in the preferences."""
    facts = json.loads((SHARED / "facts.json").read_text())
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.address, chosen.server_key = facts["address"], facts["server_key"]
    chosen.place = "REMOTE"
    bpy.ops.geneman.start()
    yield from until(lambda: stage.model.backend.ready, 60, "the backend is ready")
    stage.note(sentence=stage.model.backend.sentence)


def paste_the_photo(stage: Stage) -> Play:
    """Copy its path elsewhere, and click Paste."""
    button = yield from stage.hands.find(r"geneman\.paste_photo\(")
    bpy.context.window_manager.clipboard = "/shared/astronaut.png"
    yield from stage.hands.click(button)
    yield from until(lambda: stage.scene.geneman.photo, 5, "the pasted photo is there")
    stage.note(photo=stage.scene.geneman.photo)
    stage.scene.geneman.photo = ""


def drop(stage: Stage, region: Any) -> Play:
    """Drag the photo's file from a file manager onto the middle of a region, and let it go."""
    x, y = region.x + region.width // 2, region.y + region.height // 2
    command = ["python3", SHARED / "tests" / "dragging.py", "/shared/astronaut.png"]
    command += [str(x), str(stage.hands.window.height - y)]
    drag = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield from until(lambda: drag.poll() is not None, 60, "the file has been let go")
    assert drag.returncode == 0, drag.communicate()[1]
    yield 2.0
    return x, y


def drop_the_photo(stage: Stage) -> Play:
    """Drop it onto the panel and onto the scene; Blender asks what it shall be."""
    for place, region in (("panel", stage.hands.sidebar), ("scene", stage.hands.scene_view)):
        at = yield from drop(stage, region)
        if place == "scene":
            yield from stage.hands.look("2-dropped", at)
        yield from stage.hands.press("U", at)  # Use as GeneMAN's Photo
        yield from until(lambda: stage.scene.geneman.photo, 5, f"it is dropped on the {place}")
        stage.note(**{place: stage.scene.geneman.photo})
        stage.scene.geneman.photo = ""


def choose_the_photo(stage: Stage) -> Play:
    """Type its path into the field."""
    hands = stage.hands
    field = yield from hands.find(r"geneman\.photo$")
    yield from hands.write("/shared/astronaut.png", field)
    yield from until(lambda: stage.scene.geneman.photo, 5, "the photo's path is in the field")
    if json.loads((SHARED / "facts.json").read_text())["small"]:
        form = importlib.import_module(f"{PACKAGE}.recipe_form")
        form.load(stage.scene, "draft", TINY)
    yield 1.0
    stage.note(photo=stage.scene.geneman.photo)
    yield from hands.look("3-photo")


def press_the_button(stage: Stage) -> Play:
    """Click Reconstruct from Photo, and see the first pictures."""
    button = yield from stage.hands.find(r"geneman\.reconstruct\(")
    yield from stage.hands.click(button)
    yield from until(lambda: stage.running("nerf_init"), JOB_SECONDS, "the first stage runs")
    yield from until(lambda: "GeneMAN Live" in bpy.data.images, JOB_SECONDS, "a picture has come")
    yield 3.0
    stage.note(images=[image.name for image in bpy.data.images])
    yield from stage.hands.look("4-first-renders")


def watch_the_mesh(stage: Stage) -> Play:
    """See it come and move, and do something else meanwhile."""
    hands = stage.hands
    yield from until(lambda: stage.person is not None, JOB_SECONDS, "a mesh has come")
    first = stage.facts_of_person()
    yield from hands.frame(stage.person)
    positions = [tuple(v.co) for v in stage.person.data.vertices[:50]]

    def moved() -> bool:
        person = stage.person
        return person is not None and [tuple(v.co) for v in person.data.vertices[:50]] != positions

    yield from until(moved, 300, "the mesh moves")
    stage.note(first=first, still_running=stage.row.job.state == "running")
    yield from hands.look("5-mesh")


def work_meanwhile(stage: Stage) -> Play:
    """Move the cube by G X 1 while the mesh is being sculpted; Ctrl-Z must take back only that."""
    hands = stage.hands
    view = hands.scene_view
    at = (view.x + view.width // 2, view.y + view.height // 2)
    cube = bpy.data.objects["Cube"]
    for one in stage.scene.objects:
        one.select_set(one == cube)
    bpy.context.view_layer.objects.active = cube
    for key in ("G", "X", "ONE", "RET"):
        yield from hands.press(key, at)
    moved = bpy.data.objects["Cube"].location.x + 1.5
    yield 1.0
    yield from hands.press("Z", at, ctrl=True)
    yield 1.0
    stage.note(
        moved=moved,
        undone=bpy.data.objects["Cube"].location.x + 1.5,
        job=stage.scene.geneman.job,
        **stage.facts_of_person(),
    )


def see_it_done(stage: Stage) -> Play:
    """Wait for the end."""
    yield from until(stage.ended, JOB_SECONDS, "the job has ended")
    yield from until(
        lambda: stage.facts_of_person().get("textured"), 120, "the texture is on the mesh"
    )
    stage.note(state=stage.row.job.state, sentence=stage.row.sentence, **stage.facts_of_person())
    button = yield from stage.hands.find(r"geneman\.show_texture\((clay=False)?\)")
    yield from stage.hands.click(button)
    yield from stage.hands.frame(stage.person)
    yield 2.0
    yield from stage.hands.look("6-person")


def undo_and_redo(stage: Stage) -> Play:
    """Take the last artefact back with Ctrl-Z, and bring it again."""
    hands = stage.hands
    view = hands.scene_view
    at = (view.x + view.width // 2, view.y + view.height // 2)
    before = stage.facts_of_person()
    yield from hands.press("Z", at, ctrl=True)
    yield 1.5
    stage.note(before=before, undone=stage.facts_of_person(), job=stage.scene.geneman.job)
    yield from hands.look("7-undone")
    yield from hands.press("Z", at, ctrl=True, shift=True)
    yield 1.5
    stage.note(redone=stage.facts_of_person())


def run_a_stage_again(stage: Stage) -> Play:
    """Click Re-run beside the texture."""
    button = yield from stage.hands.find(r"geneman\.rerun_stage\(.*pixel_texture")
    yield from stage.hands.click(button)
    yield from until(lambda: stage.running("pixel_texture"), 300, "the stage runs again")
    yield 1.0
    yield from stage.hands.look("8-again")
    yield from until(stage.ended, JOB_SECONDS, "it has ended")
    yield 1.0
    rows = {row.name: row.state.value for row in stage.model.stage_rows(stage.row.job.id)}
    stage.note(state=stage.row.job.state, rows=rows, **stage.facts_of_person())


def compare_and_match(stage: Stage) -> Play:
    """Put the sculpture beside the person, and look through the photo's camera."""
    hands = stage.hands
    button = yield from hands.find(r"geneman\.stages_beside\(")
    yield from hands.click(button)
    yield from until(lambda: len(stage.copies()) == 1, 120, "the sculpture stands beside")
    (copy,) = stage.copies()
    stage.note(copy=copy.name, copied_vertices=len(copy.data.vertices))
    yield from hands.frame(copy, stage.person, turned=0.5)
    yield from hands.look("9-beside")
    button = yield from hands.find(r"geneman\.match_camera\(")
    yield from hands.click(button)
    yield 1.0
    stage.note(view=hands.viewport.spaces.active.region_3d.view_perspective)
    yield from hands.look("10-photo-camera")


def unfold_everything(stage: Stage) -> Play:
    """Look at all panels open, as somebody has them who uses everything."""
    hands = stage.hands
    for name in ("panels", "panels_backend", "panels_result"):
        for kind in importlib.import_module(f"{PACKAGE}.{name}").CLASSES:
            if "DEFAULT_CLOSED" in getattr(kind, "bl_options", ()):
                bpy.utils.unregister_class(kind)
                kind.bl_options = set()
                bpy.utils.register_class(kind)
    hands.window.workspace = bpy.data.workspaces["Modeling"]  # its sidebar is a new one
    # That workspace opens Edit Mode, which changes nothing: no stage may be stale by it.
    yield 1.0
    hands.viewport.spaces.active.show_region_ui = True
    yield 0.5
    hands.sidebar.active_panel_category = "GeneMAN"
    yield 1.0
    yield from hands.look("11-unfolded")
    scrolled = yield from hands.scroll(60)
    yield from hands.look("12-unfolded-below")
    hands.window.workspace = bpy.data.workspaces["Layout"]
    yield 1.0
    rows = {row.name: row.state.value for row in stage.model.stage_rows(stage.row.job.id)}
    stage.note(scrolled=scrolled, rows=rows)


def look_in_other_lights(stage: Stage) -> Play:
    """Draw the panel large, light, and in another language."""
    preferences = bpy.context.preferences
    preferences.view.ui_scale = 1.6
    yield 1.0
    yield from stage.hands.look("13-large")
    preferences.view.ui_scale = 1.0
    presets = bpy.utils.preset_paths("interface_theme")
    light = next(p for d in presets for p in Path(d).glob("[Bb]lender_[Ll]ight.xml"))
    bpy.ops.script.execute_preset(
        filepath=str(light), menu_idname="USERPREF_MT_interface_theme_presets"
    )
    preferences.view.language = "de_DE"
    preferences.view.use_translate_interface = True
    yield 1.0
    yield from stage.hands.look("14-light-german")
    stage.note(language=preferences.view.language)


PLAY = (
    open_the_panel,
    connect,
    paste_the_photo,
    drop_the_photo,
    choose_the_photo,
    press_the_button,
    watch_the_mesh,
    work_meanwhile,
    see_it_done,
    undo_and_redo,
    run_a_stage_again,
    compare_and_match,
    unfold_everything,
    look_in_other_lights,
)


def perform() -> Play:
    """Play all scenes, noting how long each took, and quit."""
    yield 1.0
    stage = Stage()
    for scene in PLAY:
        stage.step, began = scene.__name__, time.monotonic()
        try:
            yield from scene(stage)
        except Exception:  # whatever it is belongs into the report, and ends the play
            stage.note(trouble=traceback.format_exc())
            yield from stage.hands.look("trouble")
            break
        finally:
            stage.note(seconds=round(time.monotonic() - began, 1))
    bpy.ops.wm.quit_blender()


def main() -> None:
    """Begin as soon as the window is there."""
    bpy.context.preferences.view.show_splash = False
    bpy.context.preferences.view.smooth_view = 0  # no gliding: pictures are taken where it ends
    steps = perform()
    bpy.app.timers.register(lambda: next(steps, None), first_interval=1.0)


main()
