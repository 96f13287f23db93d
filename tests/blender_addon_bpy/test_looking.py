"""Looking at a person: around it, beside its earlier self, through the photo's camera; export."""

import importlib
from collections.abc import Iterator
from math import cos, pi, radians
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251
import numpy as np
import pytest
from mathutils import Vector

PACKAGE = "bl_ext.user_default.geneman"
JOB = "ab" * 16


def of(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def person() -> Iterator[Any]:
    """Somebody two metres tall and one wide, whom a scene unit makes two metres."""
    bpy.ops.wm.read_homefile(use_empty=True)
    scene_import, arrays = of("scene_import"), of("arrays")
    found = scene_import.new_person(JOB, "Ann", bpy.context.scene)
    corners = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 0, 2], [-0.5, 0, 2]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    scene_import.write_surface(found.data, corners.reshape(-1), arrays.topology_of(faces, 4))
    scene_import.place(found, of("protocol").Placement(2.0, (0.0, 0.0, -0.5)))
    pixels = arrays.png_of(np.full((8, 8, 3), 128, np.uint8))
    scene_import.write_uv(found.data, arrays.corner_uv_of(corners[:, [0, 2]], faces))
    of("dressing").dress(found, JOB, pixels)
    bpy.context.scene.geneman.job = JOB
    bpy.context.view_layer.update()
    yield found
    bpy.ops.wm.read_homefile(use_empty=True)


def mask(width: int, height: int, box: tuple[int, int, int, int]) -> None:
    """Give the job a mask: white from left to right and from top to bottom."""
    left, right, top, bottom = box
    image = of("scene_import").marked(bpy.data.images.new("m", width, height), JOB, "mask")
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[::-1][top:bottom, left:right] = 1
    image.pixels.foreach_set(pixels.reshape(-1))
    image.update()


def test_the_photos_camera_stands_where_the_photo_was_taken_from(person: Any) -> None:
    mask(90, 60, (20, 50, 10, 55))
    person.location.x = 3.0
    assert bpy.ops.geneman.match_camera() == {"FINISHED"}
    scene = bpy.context.scene
    camera = scene.camera
    assert camera.location[:] == pytest.approx((3.0, -6.0, 1.0))
    assert (scene.render.resolution_x, scene.render.resolution_y) == (90, 60)
    frame = of("placement").PhotoFrame(90, 60, 45 / 0.9, 35.0, 32.5)
    assert camera.data.angle == pytest.approx(frame.angle(), rel=1e-3)
    assert (camera.data.shift_x, camera.data.shift_y) == pytest.approx(frame.shift, abs=1e-3)
    count = len(bpy.data.cameras)
    bpy.ops.geneman.match_camera()
    assert len(bpy.data.cameras) == count, "one camera is enough"


def test_a_camera_that_stood_higher_looks_down_at_the_scenes_origin(person: Any) -> None:
    mask(90, 60, (20, 50, 10, 55))
    placement = of("protocol").Placement(2.0, (0.0, 0.0, -0.5), 30.0)
    of("scene_import").place(person, placement)
    assert bpy.ops.geneman.match_camera() == {"FINISHED"}
    camera = bpy.context.scene.camera
    bpy.context.view_layer.update()
    assert camera.location[:] == pytest.approx((0.0, -6.0 * cos(pi / 6), 1.0 + 3.0))
    origin = camera.matrix_world.inverted() @ Vector((0.0, 0.0, 1.0))
    assert origin[:] == pytest.approx((0.0, 0.0, -6.0), abs=1e-5)


def test_an_export_outlives_the_file_whose_tool_settings_were_read(
    person: Any, tmp_path: Path
) -> None:
    def belongs_elsewhere() -> bool:
        owner = bpy.context.window.id_data
        return isinstance(owner, bpy.types.Scene) and owner != bpy.context.scene

    _ = bpy.context.tool_settings
    other = bpy.data.scenes.new("Other")
    bpy.context.window.scene = other
    other.collection.objects.link(person)
    other.geneman.job = JOB
    if bpy.app.version < (4, 3):
        assert belongs_elsewhere(), "what the export must mend"
    assert bpy.ops.geneman.export_gltf(filepath=str(tmp_path / "ann.glb")) == {"FINISHED"}
    assert not belongs_elsewhere(), "4.2 crashes where that scene is gone"


def test_an_empty_mask_is_told(person: Any) -> None:
    mask(8, 8, (0, 0, 0, 0))
    with pytest.raises(RuntimeError, match="a mask must show somebody"):
        bpy.ops.geneman.match_camera()


def test_a_turntable_goes_round_once_evenly_and_sees_all_of_the_person(person: Any) -> None:
    from bpy_extras.object_utils import world_to_camera_view

    scene = bpy.context.scene
    for _ in range(2):
        assert bpy.ops.geneman.add_turntable(frames=40) == {"FINISHED"}
    assert scene.frame_end - scene.frame_start + 1 == 40
    (pivot,) = (o for o in scene.objects if o.get("geneman_role") == "turntable")
    angles = []
    for frame in (scene.frame_start, scene.frame_start + 10, scene.frame_start + 20):
        scene.frame_set(frame)
        angles.append(pivot.rotation_euler.z)
        for vertex in person.data.vertices:
            x, y, depth = world_to_camera_view(scene, scene.camera, person.matrix_world @ vertex.co)
            assert 0 < x < 1
            assert 0 < y < 1
            assert depth > 0
    assert angles == pytest.approx([0, pi / 2, pi], abs=1e-4)
    assert scene.camera.data.angle_y == pytest.approx(radians(30))


def test_a_copy_stands_beside_and_stays_as_it_is(person: Any) -> None:
    for _ in range(2):
        assert bpy.ops.geneman.compare_stages() == {"FINISHED"}
    copies = [o for o in bpy.context.scene.objects if "geneman_stage" in o]
    places = sorted(round(o.location.x, 3) for o in copies)
    assert places == pytest.approx([1.3, 2.6])
    assert of("scene_import").person_of(JOB) == person, "results go to the person, not to copies"
    person.data.vertices[0].co.z = 5
    assert all(o.data.vertices[0].co.z == 0 for o in copies)


def test_a_copy_keeps_its_texture_when_the_person_gets_another(person: Any) -> None:
    scene_import = of("scene_import")
    image = scene_import.albedo_of(JOB)
    image.pixels.foreach_set([0.0, 0.0, 1.0, 1.0] * 64)  # painted, and in no file yet
    image.update()
    assert bpy.ops.geneman.compare_stages() == {"FINISHED"}
    (copy,) = (o for o in bpy.context.scene.objects if "geneman_stage" in o)
    white = of("arrays").png_of(np.full((8, 8, 3), 255, np.uint8))
    of("dressing").dress(person, JOB, white)
    kept = of("dressing").texture_node(copy.data.materials[0]).image
    assert kept.pixels[:3] == pytest.approx((0, 0, 1), abs=0.01)
    assert scene_import.albedo_of(JOB).pixels[:3] == pytest.approx((1, 1, 1), abs=0.01)
    assert of("dressing").texture_node(person.data.materials[0]).image == scene_import.albedo_of(
        JOB
    )


def test_a_copy_keeps_its_normal_map_and_an_export_has_it(person: Any, tmp_path: Path) -> None:
    flat, lean, grey = (
        of("arrays").png_of(np.full((8, 8, 3), level, np.uint8)) for level in (128, 60, 200)
    )
    of("dressing").dress(person, JOB, grey, flat)
    assert bpy.ops.geneman.compare_stages() == {"FINISHED"}
    (copy,) = (o for o in bpy.context.scene.objects if "geneman_stage" in o)
    of("dressing").dress(person, JOB, grey, lean)
    kept, worn = (of("dressing").relief_node(o.data.materials[0]).image for o in (copy, person))
    assert kept.pixels[0] == pytest.approx(128 / 255, abs=1e-6)
    assert worn.pixels[0] == pytest.approx(60 / 255, abs=1e-6)
    assert bpy.ops.geneman.export_gltf(filepath=str(tmp_path / "ann")) == {"FINISHED"}
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "ann.glb"))
    (back,) = (o for o in bpy.data.objects if o.type == "MESH")
    nodes = back.data.materials[0].node_tree.nodes
    (relief,) = (n for n in nodes if n.type == "NORMAL_MAP")
    image = relief.inputs["Color"].links[0].from_node.image
    assert image.colorspace_settings.is_data
    assert image.pixels[0] == pytest.approx(60 / 255, abs=1e-6)


def test_what_a_stage_made_stands_beside_in_the_persons_size(person: Any) -> None:
    arrays, updates, scene_import = of("arrays"), of("updates"), of("scene_import")
    units = np.array([[-0.2, 0, -0.5], [0.2, 0, -0.5], [0, 0, 0.5]], np.float32)
    corners = np.array([[0, 1, 2]], np.int32)
    flat = arrays.SurfaceArrays(units.reshape(-1), arrays.topology_of(corners, 3))
    box = of("arrivals").Arrivals(lambda _: True)
    box.link(JOB, "Ann", bpy.context.scene)
    box.show_beside(updates.SurfaceShown(JOB, "sculpt", 1, flat))
    picture = arrays.TextureArrays(flat, arrays.corner_uv_of(units[:, [0, 2]].copy(), corners),
                                   arrays.png_of(np.full((8, 8, 3), 9, np.uint8)),
                                   arrays.png_of(np.full((8, 8, 3), 77, np.uint8)))  # fmt: skip
    box.show_beside(updates.TextureShown(JOB, "pixel_texture", picture))
    bpy.context.view_layer.update()
    copies = {o["geneman_stage"]: o for o in bpy.context.scene.objects if "geneman_stage" in o}
    assert set(copies) == {"Sculpt", "Pixel Texture"}
    for copy in copies.values():
        assert copy.dimensions.z == pytest.approx(2), "a unit is two metres"
        assert min(v.co.z for v in copy.data.vertices) == pytest.approx(0, abs=1e-6)
    assert copies["Sculpt"].location.x == pytest.approx(1.3)
    assert copies["Pixel Texture"].location.x == pytest.approx(2.6)
    assert not copies["Sculpt"].data.materials
    shown = of("dressing").texture_node(copies["Pixel Texture"].data.materials[0]).image
    assert shown.pixels[0] == pytest.approx(9 / 255, abs=0.01)
    relief = of("dressing").relief_node(copies["Pixel Texture"].data.materials[0]).image
    assert relief.pixels[0] == pytest.approx(77 / 255, abs=1e-6)
    assert scene_import.person_of(JOB) == person
    assert len(person.data.vertices) == 4, "the person itself stays as it is"


def test_the_person_alone_is_exported_and_the_selection_is_as_before(
    person: Any, tmp_path: Path
) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    person.location.x = 3.0
    assert bpy.ops.geneman.export_gltf(filepath=str(tmp_path / "ann")) == {"FINISHED"}
    assert person.location.x == 3.0
    assert bpy.context.view_layer.objects.active == cube
    assert cube.select_get()
    assert not person.select_get()
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "ann.glb"))
    (back,) = (o for o in bpy.data.objects if o.type == "MESH")
    bpy.context.view_layer.update()
    assert back.dimensions[:] == pytest.approx((1, 0, 2), abs=1e-4)
    assert back.matrix_world.translation[:] == pytest.approx((0, 0, 0), abs=1e-6)
    (image,) = (i for i in bpy.data.images if i.size[0] == 8)
    assert image.pixels[0] == pytest.approx(128 / 255, abs=0.01)
