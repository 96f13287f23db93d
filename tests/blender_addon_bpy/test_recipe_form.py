"""The form: what the backend says about a setting is what the artist can set, and no more."""

import importlib
from collections.abc import Iterator
from typing import Any

import bpy  # noqa: TID251
import pytest

PACKAGE = "bl_ext.user_default.geneman"
form = importlib.import_module(f"{PACKAGE}.recipe_form")
protocol = importlib.import_module(f"{PACKAGE}.protocol")

RAMP = {"type": "ramp", "start": 0.5, "stop": 0.1, "begin": 10, "end": 90}
SWITCH = {"type": "switch", "before": 2.0, "after": 8.0, "at": 30}


def setting(path: str, kind: str, draft: Any, paper: Any, **more: Any) -> Any:
    values = {"draft": draft, "paper": paper}
    return protocol.Setting(path=path, type=kind, default=paper, values=values, **more)


SETTINGS = (
    setting(
        "sculpt.steps", "int", 60, 3000, minimum=0, maximum=5000, limits=">= 0, <= 5000",
        text="Gradient steps.",
    ),
    setting("sculpt.rate", "float", 0.0067658234670659265, 0.1, minimum=0.0, above=True),
    setting("sculpt.field.width", "int", 16, 64, minimum=4, maximum=512),
    setting("sculpt.weight", "schedule", RAMP, 3.0, minimum=0.0),
    setting("sculpt.levels", "schedule", SWITCH, RAMP),
    setting("sculpt.elevation", "floats", [-10.0, 45.0], [0.0, 1.0], length=2),
    setting("sculpt.guided", "bool", True, False),
    setting("finish.route", "choice", "uv", "field", choices=("uv", "field")),
    setting("finish.height", "float", None, None, optional=True, minimum=0.2, maximum=3.0),
)  # fmt: skip


@pytest.fixture(autouse=True)
def built() -> Iterator[None]:
    form.build(SETTINGS, "draft")
    yield
    form.clear()


def test_a_new_scene_shows_the_quickest_preset_and_changes_nothing() -> None:
    assert form.changes(bpy.data.scenes.new("fresh"), "draft") == {}


def test_every_preset_goes_in_and_comes_out_as_no_change() -> None:
    scene = bpy.data.scenes.new("preset")
    for preset in ("paper", "draft"):
        form.load(scene, preset)
        assert form.changes(scene, preset) == {}


@pytest.mark.parametrize(
    ("stage", "path", "value"),
    [
        ("sculpt", "steps", 7),
        ("sculpt", "field.width", 48),
        ("sculpt", "weight", SWITCH),
        ("sculpt", "weight", 5.0),
        ("sculpt", "levels", RAMP),
        ("sculpt", "elevation", [-5.0, 5.0]),
        ("sculpt", "guided", False),
        ("finish", "route", "field"),
        ("finish", "height", 1.75),
    ],
)
def test_what_somebody_sets_is_what_is_sent_and_can_be_recalled(
    stage: str, path: str, value: Any
) -> None:
    scene = bpy.data.scenes.new("set")
    form.load(scene, "draft", {stage: {path: value}})
    assert form.changes(scene, "draft") == {stage: {path: value}}


def test_nested_recipes_are_understood_too() -> None:
    scene = bpy.data.scenes.new("nested")
    form.load(scene, "draft", {"sculpt": {"field": {"width": 32}}, "elsewhere": {"x": 1}})
    assert form.changes(scene, "draft") == {"sculpt": {"field.width": 32}}


def test_limits_hold_in_the_form_and_stand_in_the_tooltip() -> None:
    scene = bpy.data.scenes.new("limits")
    group = form.group_of(scene, "sculpt")
    group.steps = 6000
    group.rate = -1.0
    assert group.steps == 5000
    assert group.rate > 0, "a limit that is itself not allowed stays out of reach"
    assert group.bl_rna.properties["steps"].description == "Gradient steps (>= 0, <= 5000)"
    assert group.bl_rna.properties["field__width"].name == "Width"


def test_another_backend_makes_another_form_and_keeps_what_both_know() -> None:
    scene = bpy.data.scenes.new("other")
    form.group_of(scene, "sculpt").steps = 42
    assert form.build(SETTINGS[:1], "draft")
    assert form.group_of(scene, "sculpt").steps == 42
    assert form.group_of(scene, "finish") is None
    assert not form.build(SETTINGS[:1], "draft"), "the same description changes nothing"


def test_the_form_is_saved_with_the_file(tmp_path: Any) -> None:
    bpy.context.scene.geneman.seed = 11
    form.group_of(bpy.context.scene, "sculpt").steps = 33
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    assert bpy.context.scene.geneman.seed == 11
    assert form.changes(bpy.context.scene, "draft")["sculpt"] == {"steps": 33}
