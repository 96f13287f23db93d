# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras for a person: the photo's own with the photo behind it, and one that circles."""

from collections.abc import Iterator
from math import pi, radians
from typing import Any

import bpy
from mathutils import Vector

from .placement import GUESS, PhotoFrame, camera_position
from .protocol import Camera
from .scene_import import marked, of_job, placement_of

CAMERA, PIVOT, ORBITER = "camera", "turntable", "turntable_camera"
"""Roles."""
_FITTING_DISTANCE = 2.2
"""Body heights from which a lens of 30 degrees holds a standing person with some air."""


def match_camera(
    job: str, person: Any, scene: Any, frame: PhotoFrame, lens: Camera, photo: Any | None
) -> Any:
    """Let the scene's camera see the person as the photo does, with the photo behind.

    The scene renders in the photo's size then, or the frames would not fit each other.
    """
    found = next((c for c in of_job(scene.objects, job, CAMERA) if c.type == "CAMERA"), None)
    if found is None:
        data = marked(bpy.data.cameras.new("Photo Camera"), job, CAMERA)
        found = marked(bpy.data.objects.new("Photo Camera", data), job, CAMERA)
        scene.collection.objects.link(found)
    placement = placement_of(person) or GUESS
    found.location = Vector(camera_position(placement, lens)) + person.location
    # A quarter turn looks along +y, where the person's back is; from above, less is down.
    found.rotation_euler = (pi / 2 - radians(placement.camera_elevation_deg), 0.0, 0.0)
    camera = found.data
    camera.type, camera.sensor_fit = "PERSP", "AUTO"
    camera.angle = frame.angle(lens)
    camera.shift_x, camera.shift_y = frame.shift
    render = scene.render
    render.resolution_x, render.resolution_y = frame.width, frame.height
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    scene.camera = found
    if photo is not None:
        _photo_behind(camera, photo)
    return found


def _photo_behind(camera: Any, photo: Any) -> None:
    camera.show_background_images = True
    backgrounds = camera.background_images
    behind = backgrounds[0] if len(backgrounds) else backgrounds.new()
    behind.image, behind.alpha = photo, 1.0
    behind.display_depth, behind.frame_method = "BACK", "FIT"


def add_turntable(job: str, scene: Any, found: Any, frames: int) -> Any:
    """Let a camera circle a person once in so many frames; give its pivot."""
    pivot = next(of_job(scene.objects, job, PIVOT), None)
    camera = next(of_job(scene.objects, job, ORBITER), None)
    if pivot is None:
        pivot = marked(bpy.data.objects.new("Turntable", None), job, PIVOT)
        scene.collection.objects.link(pivot)
    if camera is None:
        data = marked(bpy.data.cameras.new("Turntable Camera"), job, ORBITER)
        camera = marked(bpy.data.objects.new("Turntable Camera", data), job, ORBITER)
        scene.collection.objects.link(camera)
    camera.parent = pivot
    height = float(found.dimensions.z)
    pivot.location = found.matrix_world.translation
    pivot.location.z += height / 2
    camera.data.sensor_fit = "VERTICAL"  # people are tall, and pictures wide
    camera.data.angle_y = radians(30.0)
    camera.location = (0.0, -height * _FITTING_DISTANCE, 0.0)
    camera.rotation_euler = (pi / 2, 0.0, 0.0)
    pivot.animation_data_clear()
    first = scene.frame_start
    for frame, angle in ((first, 0.0), (first + frames, 2 * pi)):
        pivot.rotation_euler = (0.0, 0.0, angle)
        pivot.keyframe_insert("rotation_euler", index=2, frame=frame)
    for curve in _curves(pivot):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    scene.camera, scene.frame_end = camera, first + frames - 1
    return pivot


def _curves(found: Any) -> Iterator[Any]:
    """Give an object's animation curves, before and after Blender 5's layered actions."""
    action = found.animation_data.action
    if hasattr(action, "fcurves"):
        yield from action.fcurves
        return
    for layer in action.layers:
        for strip in layer.strips:
            for bag in strip.channelbags:
                yield from bag.fcurves
