"""What arrives is put into the scene at the right time, undoably, and never where it must not."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251
import numpy as np
import pytest

PACKAGE = "bl_ext.user_default.geneman"
arrays = importlib.import_module(f"{PACKAGE}.arrays")
arrivals = importlib.import_module(f"{PACKAGE}.arrivals")
placement = importlib.import_module(f"{PACKAGE}.placement")
protocol = importlib.import_module(f"{PACKAGE}.protocol")
dressing = importlib.import_module(f"{PACKAGE}.dressing")
scene_import = importlib.import_module(f"{PACKAGE}.scene_import")
updates = importlib.import_module(f"{PACKAGE}.updates")

JOB = "0123456789abcdef" * 2
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], np.float32)
TWO = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
METRES = protocol.Placement(2.0, (0.0, 0.0, -1.0))


class Pushed(list[str]):
    """The undo steps that were made, in the place of Blender's own list, which cannot be read."""


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> Pushed:
    found = Pushed()
    real = bpy.ops.ed.undo_push

    class Spy:
        @staticmethod
        def undo_push(message: str) -> Any:
            found.append(message)
            return real(message=message)

    class Operators:
        ed = Spy
        object = bpy.ops.object

    monkeypatch.setattr(arrivals.bpy, "ops", Operators)
    return found


@pytest.fixture
def seen() -> dict[str, bool]:
    """Which stages are shown live; all that are not named."""
    return {}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where a finished job's texture lies on this machine, once it is there."""
    return tmp_path / "finish_albedo.png"


@pytest.fixture
def box(seen: dict[str, bool], kept: Path) -> Iterator[Any]:
    bpy.ops.wm.read_homefile(use_empty=True)
    made = arrivals.Arrivals(
        lambda stage: seen.get(stage, True),
        texture=lambda job, _: kept if job == JOB and kept.exists() else None,
    )
    made.link(JOB, "Ann", bpy.context.scene, run='{"seed": 7}')
    yield made
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")


def topology(faces: Any = TWO) -> Any:
    return arrays.topology_of(faces, 4)


def surface(topology: Any, lift: float = 0.0, stage: str = "sculpt", step: int = 1) -> Any:
    flat = (SQUARE + np.array([0, 0, lift])).astype(np.float32).reshape(-1)
    return updates.SurfaceShown(JOB, stage, step, arrays.SurfaceArrays(flat, topology))


def texture(
    topology: Any,
    where: Any = None,
    colour: int = 200,
    stage: str = "finish",
    relief: int | None = None,
) -> Any:
    uv = arrays.corner_uv_of(SQUARE[:, [0, 2]].copy(), TWO)
    picture = np.full((8, 8, 3), colour, np.uint8)
    flat = arrays.SurfaceArrays(SQUARE.reshape(-1).copy(), topology)
    normal_map = None if relief is None else png(relief)
    shown = arrays.TextureArrays(flat, uv, arrays.png_of(picture), normal_map)
    return updates.TextureShown(JOB, stage, shown, where)


def ended(stage: str = "sculpt") -> Any:
    return protocol.StageEnded(JOB, stage, 1.0, False)


def person() -> Any:
    return scene_import.person_of(JOB)


def heights() -> list[float]:
    return sorted({round(vertex.co.z, 4) for vertex in person().data.vertices})


# ---- meshes -----------------------------------------------------------------------------------


def test_the_first_surface_stands_on_the_floor_in_metres_and_is_one_undo_step(
    box: Any, pushed: Pushed
) -> None:
    box.apply(surface(topology(), lift=-0.5))
    metres = placement.GUESS.metres_per_unit
    assert heights() == pytest.approx([0.0, metres], abs=1e-4)
    assert not person().data.validate()
    assert person().name == "Ann"
    assert person()["geneman_run"] == '{"seed": 7}'
    assert pushed == ["GeneMAN: Sculpt"]


def test_previews_move_the_mesh_without_undo_steps_and_the_result_is_one(
    box: Any, pushed: Pushed
) -> None:
    faces = topology()
    box.apply(surface(faces))
    before = heights()
    for lift in (0.1, 0.2):
        box.apply(surface(faces, lift))
    assert heights() != before
    assert len(pushed) == 1
    box.apply(ended())
    assert pushed == ["GeneMAN: Sculpt"] * 2
    box.settle()
    assert len(pushed) == 2, "nothing new, no step"


def test_positions_alone_keep_the_mesh_and_all_that_was_put_on_it(box: Any) -> None:
    faces = topology()
    box.apply(surface(faces))
    person().vertex_groups.new(name="mine")
    pinned = person().data.attributes.new("pin", "FLOAT", "POINT")
    pinned.data[2].value = 3.0
    box.apply(surface(faces, 0.3))
    assert person().data.attributes["pin"].data[2].value == 3.0


def test_new_faces_replace_the_mesh_but_not_the_object(box: Any) -> None:
    box.apply(surface(topology()))
    name, data = person().name, person().data.name
    box.apply(surface(topology(TWO[:1])))
    assert len(person().data.polygons) == 1
    assert (person().name, person().data.name) == (name, data)
    assert not person().data.validate()


def test_a_texture_dresses_the_person_and_tells_its_size(box: Any, pushed: Pushed) -> None:
    box.apply(surface(topology()))
    box.apply(texture(topology(), METRES))
    assert heights() == pytest.approx([0.0, 1.0]), "finish speaks in metres already"
    assert scene_import.placement_of(person()) == METRES
    image = scene_import.albedo_of(JOB)
    assert image.size[:] == (8, 8)
    assert image.pixels[0] == pytest.approx(200 / 255, abs=1 / 255)
    (material,) = person().data.materials
    node = next(n for n in material.node_tree.nodes if n.type == "TEX_IMAGE")
    assert node.image == image
    assert [tuple(uv.vector) for uv in person().data.uv_layers[0].uv][2] == (1.0, 1.0)
    assert pushed[-1] == "GeneMAN: Finish"
    box.apply(surface(topology(), lift=1.0))
    assert heights()[0] == pytest.approx(4.0), "later previews use the size that is known now"


def test_a_large_result_is_spread_over_ticks_and_survives_what_happens_between(
    box: Any, pushed: Pushed
) -> None:
    box._hurry = lambda: True
    box.apply(texture(topology(), METRES))
    assert len(person().data.polygons) == 2
    assert not person().data.uv_layers, "the coordinates come with the next tick"
    box.settle()
    assert person().data.uv_layers
    assert not person().data.materials, "the texture comes with the next but one"
    assert pushed == []
    bpy.context.view_layer.objects.active = person()
    bpy.ops.object.mode_set(mode="EDIT")
    box.settle()
    assert "Edit Mode" in box.linked(JOB).waiting
    bpy.ops.object.mode_set(mode="OBJECT")
    box.settle()
    assert person().data.materials
    box.settle()
    assert pushed == ["GeneMAN: Finish"]
    box.apply(texture(topology(), METRES))
    bpy.data.objects.remove(person())
    for _ in range(4):
        box.settle()
    assert person() is None


def test_fifty_results_leave_as_many_datablocks_as_one(box: Any) -> None:
    def count() -> dict[str, int]:
        kinds = ("objects", "meshes", "materials", "images", "textures", "node_groups")
        return {kind: len(getattr(bpy.data, kind)) for kind in kinds}

    def one() -> None:
        box.apply(picture())
        box.apply(surface(topology()))
        box.apply(ended())
        box.apply(texture(topology(), METRES))

    one()
    after_one = count()
    for _ in range(49):
        one()
    assert count() == after_one


def test_the_next_person_stands_beside_the_first(box: Any) -> None:
    box.apply(texture(topology(), METRES))
    first = person()
    box.link("ef" * 16, "Bob", bpy.context.scene)
    bpy.context.view_layer.update()
    other = surface(topology())
    box.apply(updates.SurfaceShown("ef" * 16, "sculpt", 1, other.surface))
    second = scene_import.person_of("ef" * 16)
    assert first.location.x == 0
    assert second.location.x > max(corner[0] for corner in first.bound_box)


@pytest.mark.parametrize(
    ("size", "place", "x"),
    [
        ((2, 2, 2), (0, 0, 0), 1 + scene_import.ELBOW_ROOM),  # Blender's own cube
        ((2, 2, 2), (-3, 0, 0), 0),
        ((2, 2, 2), (0, 4, 0), 0),
        ((1, 1, 0.05), (0, 0, 0), 0),  # a mat on the floor
        ((1, 1, 1), (0, 0, 3), 0),  # overhead
        ((9, 9, 5), (0, 0, 0), 0),  # the room that everything stands in
    ],
)
def test_a_person_stands_clear_of_things_and_on_floors_and_in_rooms(
    box: Any, size: Any, place: Any, x: float
) -> None:
    bpy.ops.mesh.primitive_cube_add(size=1, location=place)
    bpy.context.object.scale = size
    bpy.context.view_layer.update()
    box.apply(surface(topology()))
    assert person().location.x == pytest.approx(x)


def test_between_things_a_person_takes_the_first_gap_that_is_wide_enough(box: Any) -> None:
    for x in (0.0, 1.5, 4.5, 9.0):
        bpy.ops.mesh.primitive_cube_add(size=1, location=(x, 0, 0.5))
    bpy.context.view_layer.update()
    assert scene_import.free_place(bpy.context.scene) == pytest.approx(2.0 + 0.8)


# ---- pictures ---------------------------------------------------------------------------------


def picture(colour: int = 90, side: int = 16, stage: str = "nerf_init") -> Any:
    pixels = arrays.pixels_of(np.full((side, side, 3), colour, np.uint8))
    return updates.PictureShown(JOB, stage, 1, pixels)


def test_pictures_stream_into_one_image_whatever_their_size(box: Any) -> None:
    for side in (16, 32, 8):
        box.apply(picture(side * 4, side))
        image = bpy.data.images["GeneMAN Live"]
        assert image.size[:] == (side, side)
        assert image.pixels[5] == pytest.approx(side * 4 / 255, abs=1 / 255)
    box.settle()
    assert image.preview.image_size[:] == (8, 8), "the panel draws the icon"
    box.apply(picture(90, 600))
    box.settle()
    assert image.preview.image_size[:] == (200, 200), "every third pixel is enough for the panel"


def test_stages_without_a_tick_are_not_shown_until_they_end(
    box: Any, seen: dict[str, bool]
) -> None:
    seen["sculpt"] = seen["nerf_init"] = False
    faces = topology()
    box.apply(surface(faces))
    box.apply(picture())
    assert "GeneMAN Live" not in bpy.data.images
    before = person()
    assert before is not None, "the first surface is always shown, or nobody knew where it went"
    first = heights()
    box.apply(surface(faces, 0.4))
    assert heights() == first
    box.apply(ended())
    assert heights() != first, "a result is shown in any case"


# ---- modes, undo, deletion --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT"])
def test_while_the_person_is_edited_the_newest_result_waits(
    box: Any, pushed: Pushed, mode: str
) -> None:
    faces = topology()
    box.apply(surface(faces))
    bpy.context.view_layer.objects.active = person()
    bpy.ops.object.mode_set(mode=mode)
    first, steps = heights(), len(pushed)
    for lift in (0.5, 0.7):
        box.apply(surface(faces, lift))
    (held,) = box.holding()
    assert f"{mode.title()} Mode" in held.waiting
    assert heights() == first
    bpy.ops.object.mode_set(mode="OBJECT")
    box.settle()
    assert not list(box.holding())
    lowest = 0.7 * placement.GUESS.metres_per_unit
    assert heights()[0] == pytest.approx(lowest, abs=1e-3), "the newest, not the oldest"
    assert len(pushed) == steps


def test_a_result_waits_while_anything_else_is_edited_for_its_undo_step(
    box: Any, pushed: Pushed
) -> None:
    faces = topology()
    box.apply(surface(faces))
    mesh = bpy.data.meshes.new("other")
    scene_import.write_surface(mesh, SQUARE.reshape(-1), topology())
    other = bpy.data.objects.new("other", mesh)
    bpy.context.scene.collection.objects.link(other)
    bpy.context.view_layer.objects.active = other
    bpy.ops.object.mode_set(mode="EDIT")
    box.apply(surface(faces, 0.5))
    assert heights()[0] > 0.1, "a preview disturbs nobody"
    box.apply(ended())
    assert len(pushed) == 1
    bpy.ops.object.mode_set(mode="OBJECT")
    box.settle()
    assert len(pushed) == 2


def test_a_deleted_person_stays_away_until_it_is_called_back(box: Any) -> None:
    faces = topology()
    box.apply(surface(faces))
    bpy.data.objects.remove(person())
    box.apply(surface(faces, 0.1))
    box.apply(texture(topology()))
    assert person() is None
    assert box.linked(JOB).lost
    box.bring_back(JOB)
    box.apply(surface(faces, 0.1))
    assert person() is not None
    assert not box.linked(JOB).lost


def test_undo_does_not_make_the_scene_forget_its_job(box: Any) -> None:
    bpy.context.scene.geneman.job = ""
    box.after_undo()
    assert bpy.context.scene.geneman.job == JOB


def test_results_go_to_the_scene_they_were_started_from(box: Any) -> None:
    home = bpy.context.scene
    away = bpy.data.scenes.new("Away")
    bpy.context.window.scene = away
    box.apply(surface(topology()))
    assert person().name in home.objects
    assert person().name not in away.objects
    bpy.data.scenes.remove(home)
    box.apply(surface(topology()))
    assert person() is None, "without its scene there is no place for it"


def test_another_file_takes_only_the_jobs_that_it_knows(box: Any, tmp_path: Path) -> None:
    box.apply(surface(topology()))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "ann.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    box.forget_scenes()
    box.apply(surface(topology()))
    assert person() is None
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "ann.blend"))
    box.forget_scenes()
    first = heights()
    box.apply(surface(topology(), 0.5))
    assert heights() != first
    assert len(list(scene_import.of_job(bpy.data.objects, JOB, "person"))) == 1


def png(colour: int) -> bytes:
    return bytes(arrays.png_of(np.full((8, 8, 3), colour, np.uint8)))


def shade() -> float:
    """How light the person's texture is, from 0 to 255."""
    return float(scene_import.albedo_of(JOB).pixels[0]) * 255


def paint(colour: int) -> None:
    image = scene_import.albedo_of(JOB)
    image.pixels.foreach_set(np.full(8 * 8 * 4, colour / 255, np.float32))
    image.update()


def saved_and_opened(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))


@pytest.mark.parametrize("stage", ["latent_texture", "pixel_texture", "finish"])
def test_a_texture_that_came_live_is_saved_with_the_file(
    box: Any, tmp_path: Path, stage: str
) -> None:
    box.apply(texture(topology(), stage=stage))
    assert not scene_import.albedo_of(JOB).is_dirty, "Blender would encode it when it saves"
    saved_and_opened(tmp_path / "ann.blend")
    assert scene_import.albedo_of(JOB).size[:] == (8, 8)
    assert shade() == pytest.approx(200, abs=1)
    box.forget_scenes()
    box.apply(texture(topology(), METRES, colour=40))
    assert shade() == pytest.approx(40, abs=1), "a new one replaces it"


def test_a_fetched_texture_takes_the_place_of_the_one_before(
    box: Any, tmp_path: Path, kept: Path
) -> None:
    box.apply(texture(topology(), METRES))
    assert shade() == pytest.approx(200, abs=1)
    kept.write_bytes(png(90))
    box.apply(updates.Fetched("t", JOB, "finish/albedo.png", kept))
    assert shade() == pytest.approx(90, abs=1), "seen at once"
    kept.unlink()
    saved_and_opened(tmp_path / "ann.blend")
    assert shade() == pytest.approx(90, abs=1)


def test_a_painted_texture_stays_when_the_file_comes_again(
    box: Any, tmp_path: Path, kept: Path
) -> None:
    kept.write_bytes(png(200))
    box.apply(texture(topology(), METRES))
    paint(30)
    again = updates.Fetched("t", JOB, "finish/albedo.png", kept)
    box.apply(again)
    assert shade() == pytest.approx(30, abs=1)
    box.after_undo()
    assert shade() == pytest.approx(30, abs=1)
    scene_import.albedo_of(JOB).pack()
    saved_and_opened(tmp_path / "ann.blend")
    box.forget_scenes()
    box.apply(again)
    assert shade() == pytest.approx(30, abs=1), "also the day after"


# ---- normal maps ------------------------------------------------------------------------------


def relief_of() -> Any:
    """The image that the person's Normal input comes from, through a normal map node."""
    nodes = person().data.materials[0].node_tree.nodes
    surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    if not surface.inputs["Normal"].is_linked:
        return None
    node = surface.inputs["Normal"].links[0].from_node
    assert (node.type, node.space, node.uv_map) == ("NORMAL_MAP", "TANGENT", "")
    return node.inputs["Color"].links[0].from_node.image


def test_a_normal_map_is_worn_as_directions_and_saved_with_the_file(
    box: Any, tmp_path: Path
) -> None:
    box.apply(texture(topology(), METRES, relief=128))
    assert relief_of() == scene_import.texture_of(JOB, "normal")
    assert relief_of().colorspace_settings.is_data
    assert relief_of().pixels[0] == pytest.approx(128 / 255, abs=1e-6), "no curve is applied"
    assert not scene_import.albedo_of(JOB).colorspace_settings.is_data
    material = person().data.materials[0]
    assert dressing.texture_node(material).image == scene_import.albedo_of(JOB)
    assert material.node_tree.nodes.active.image == scene_import.albedo_of(JOB), "to paint on"
    saved_and_opened(tmp_path / "ann.blend")
    assert relief_of().size[:] == (8, 8)
    assert relief_of().colorspace_settings.is_data
    box.forget_scenes()
    box.apply(texture(topology(), METRES, relief=90))
    assert relief_of().pixels[0] == pytest.approx(90 / 255, abs=1e-6)
    assert len(person().data.materials[0].node_tree.nodes) == 5, "each is made once"


def test_a_result_without_a_normal_map_takes_the_old_one_off(box: Any) -> None:
    box.apply(texture(topology(), METRES, relief=128))
    box.apply(texture(topology(), METRES))
    assert relief_of() is None
    assert len(person().data.materials[0].node_tree.nodes) == 3
    box.apply(texture(topology(), METRES, relief=128))
    assert relief_of() is not None


def test_whoever_takes_the_normal_map_out_keeps_it_so(box: Any) -> None:
    box.apply(texture(topology(), METRES, relief=128))
    nodes = person().data.materials[0].node_tree.nodes
    nodes.remove(nodes[dressing.RELIEF_NODE])
    box.apply(texture(topology(), METRES, relief=90))
    assert relief_of() is None


def test_a_fetched_normal_map_takes_the_place_of_the_one_before(box: Any, kept: Path) -> None:
    box.apply(texture(topology(), METRES, relief=128))
    kept.write_bytes(png(90))
    box.apply(updates.Fetched("t", JOB, "finish/normal.png", kept))
    assert relief_of().pixels[0] == pytest.approx(90 / 255, abs=1e-6)
    assert shade() == pytest.approx(200, abs=1), "the albedo stays"


def test_undo_shows_the_texture_of_its_step_again(box: Any) -> None:
    box.apply(texture(topology(), METRES))
    image = scene_import.albedo_of(JOB)
    assert shade() == pytest.approx(200, abs=1)
    # What Blender's undo leaves: the packed file of the step before, the pixels of the one after.
    older = png(90)
    image.pack(data=older, data_len=len(older))
    image[scene_import.PACKED] = f"{len(older)} 0"
    box.after_undo()
    assert shade() == pytest.approx(90, abs=1)


def lose_the_pixels() -> None:
    """Leave the texture as undo and files of earlier versions do: made of pixels that are gone."""
    lost = bpy.data.images.new("lost", 8, 8)
    scene_import.marked(lost, JOB, "albedo")
    old = next(i for i in scene_import.of_job(bpy.data.images, JOB, "albedo") if i != lost)
    old.user_remap(lost)
    bpy.data.images.remove(old)


@pytest.mark.parametrize("handler", ["after_undo", "forget_scenes"])
def test_a_texture_that_lost_its_pixels_gets_them_again(box: Any, kept: Path, handler: str) -> None:
    kept.write_bytes(png(200))
    box.apply(texture(topology(), METRES))
    lose_the_pixels()
    assert shade() == 0
    getattr(box, handler)()
    assert shade() == pytest.approx(200, abs=1)


def test_a_finished_texture_is_not_put_on_an_earlier_stages_mesh(box: Any, kept: Path) -> None:
    kept.write_bytes(png(200))
    box.apply(texture(topology(), stage="pixel_texture"))
    lose_the_pixels()
    box.after_undo()
    assert shade() == 0, "its texture coordinates are others"


# ---- back to the backend ----------------------------------------------------------------------


def test_an_edited_person_goes_back_in_the_units_that_it_came_in(box: Any) -> None:
    box.apply(texture(topology(), METRES))
    person().location.x = 5.0
    person().data.vertices[0].co.x -= 0.5
    back = scene_import.edited_mesh(person(), scene_import.placement_of(person()))
    expected = placement.to_units(SQUARE.reshape(-1), METRES)
    expected[0] -= 0.25
    assert back.positions == pytest.approx(expected)
    assert back.frame == "scene"
    assert back.triangles.reshape(-1, 3).tolist() == TWO.tolist()


def test_modifiers_are_part_of_what_was_edited(box: Any) -> None:
    box.apply(surface(topology()))
    person().modifiers.new("more", "SUBSURF").levels = 1
    back = scene_import.edited_mesh(person(), METRES)
    assert len(back.positions) // 3 > 4
    assert len(person().data.vertices) == 4


def test_any_other_mesh_goes_as_it_stands_in_the_world_with_its_coordinates() -> None:
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.mesh.primitive_cube_add(location=(0, 0, 3))
    cube = bpy.context.object
    cube.scale.z = 2.0
    bpy.context.view_layer.update()
    back = scene_import.edited_mesh(cube, None)
    assert back.positions.reshape(-1, 3)[:, 2].max() == pytest.approx(5.0)
    assert back.frame == "anywhere"
    assert len(back.corner_uv) == 2 * len(cube.data.loops)
    assert back.triangle_corners.max() < len(cube.data.loops)


def test_a_mesh_without_faces_is_refused_with_a_sentence() -> None:
    empty = bpy.data.objects.new("Empty Mesh", bpy.data.meshes.new("m"))
    bpy.context.scene.collection.objects.link(empty)
    bpy.context.view_layer.update()
    with pytest.raises(scene_import.SceneError, match="must have faces, but 'Empty Mesh'"):
        scene_import.edited_mesh(empty, None)
