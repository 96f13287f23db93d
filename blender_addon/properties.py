# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences, what a scene remembers, and what only this window shows.

The form for the backend's settings is made in `recipe_form.py`, when the backend has described it.
"""

from typing import Any

import bpy

from . import photo, recipe_form, session

DEFAULT_PRESET = "draft"
_FALLBACK = (DEFAULT_PRESET,)
_MOST_STAGES = 16
"""More than any chain has: the ticks for live view are counted before the stages are known."""


def preferences() -> Any:
    """Give the add-on's preferences."""
    return bpy.context.preferences.addons[__package__].preferences


def of_scene(scene: Any) -> Any:
    """Give what a scene remembers."""
    return scene.geneman


def of_window() -> Any:
    """Give what is shown, and neither saved nor undone."""
    return bpy.context.window_manager.geneman


# ---- scene ------------------------------------------------------------------------------------


def _presets(_self: Any, _context: Any) -> list[tuple[str, str, str]]:
    _presets.kept = _preset_items()  # type: ignore[attr-defined]  # Blender keeps no reference
    return _presets.kept  # type: ignore[attr-defined,no-any-return]


def _preset_items() -> list[tuple[str, str, str]]:
    here = session.known()
    welcome = here.model.welcome if here is not None else None
    names = tuple(welcome.presets) if welcome is not None and welcome.presets else _FALLBACK
    texts = welcome.preset_texts if welcome is not None else {}
    return [(name, name.title(), texts.get(name, "").removesuffix(".")) for name in names]


def _preset_chosen(self: Any, _context: Any) -> None:
    recipe_form.load(self.id_data, self.preset)


def _photo_chosen(self: Any, _context: Any) -> None:
    self.mask = None
    self.photo_image = photo.shown_photo(self.photo)


class GENEMAN_PG_scene(bpy.types.PropertyGroup):
    """What is wanted in this scene, and the person that came of it."""

    photo: bpy.props.StringProperty(
        name="Photo",
        description="Picture of one person: png, jpeg, webp or heic",
        subtype="FILE_PATH",
        update=_photo_chosen,
    )
    photo_image: bpy.props.PointerProperty(type=bpy.types.Image)
    mask: bpy.props.PointerProperty(
        name="Mask",
        description="White is the person, black is everything else",
        type=bpy.types.Image,
    )
    preset: bpy.props.EnumProperty(
        name="Quality", description="How much time to spend", items=_presets, update=_preset_chosen
    )
    prompt: bpy.props.StringProperty(
        name="Prompt",
        description="What the photo shows, in words; empty lets the backend describe it",
        maxlen=2000,
    )
    seed: bpy.props.IntProperty(
        name="Seed",
        description="The same photo, settings and seed give the same person",
        min=0,
    )
    job: bpy.props.StringProperty()


# ---- window -----------------------------------------------------------------------------------


class GENEMAN_PG_job(bpy.types.PropertyGroup):
    """A line of the job list; all about it is in the session's model."""

    job: bpy.props.StringProperty()


class GENEMAN_PG_window(bpy.types.PropertyGroup):
    """What is shown."""

    hide_live: bpy.props.BoolVectorProperty(
        name="Hide Live View",
        description="Do not show this stage's work while it runs; its result still comes",
        size=_MOST_STAGES,
    )
    jobs: bpy.props.CollectionProperty(type=GENEMAN_PG_job)
    job_index: bpy.props.IntProperty(name="Job", description="The job that the buttons act on")


# ---- preferences ------------------------------------------------------------------------------


def _backend_chosen(_self: Any, _context: Any) -> None:
    session.backend_chosen()


class GENEMAN_AP_preferences(bpy.types.AddonPreferences):
    """Which backend, and how it is run."""

    bl_idname = __package__

    place: bpy.props.EnumProperty(
        name="Backend",
        description="Where people are reconstructed",
        items=(
            ("OWN", "This Machine", "In a private environment that Set Up Backend makes"),
            ("EXISTING", "Existing Environment", "With a Python environment that has GeneMAN"),
            ("REMOTE", "Another Machine", "With a backend that runs elsewhere"),
        ),
        update=_backend_chosen,
    )
    environment: bpy.props.StringProperty(
        name="Environment",
        description="Folder of a Python environment in which GeneMAN is installed",
        subtype="DIR_PATH",
        update=_backend_chosen,
    )
    address: bpy.props.StringProperty(
        name="Address",
        description="Of the other machine, as in render7:5600",
        update=_backend_chosen,
    )
    server_key: bpy.props.StringProperty(
        name="Server Key",
        description="The 40 characters that geneman serve prints over there",
        update=_backend_chosen,
    )
    device: bpy.props.EnumProperty(
        name="Device",
        description="What computes",
        items=(
            ("auto", "Automatic", "The graphics card if it can, else the processor"),
            ("cuda", "Graphics Card", "An NVIDIA graphics card"),
            ("cpu", "Processor", "The processor"),
        ),
        update=_backend_chosen,
    )
    auto_start: bpy.props.BoolProperty(
        name="Start with the Panel",
        description="Start the backend as soon as its panel is seen, so that it is ready",
        default=True,
    )
    keep_running: bpy.props.BoolProperty(
        name="Keep Running after Blender",
        description="Let jobs go on when Blender is closed; the next Blender finds them again",
        update=_backend_chosen,
    )

    def draw(self, context: Any) -> None:
        """Show them."""
        from .panels_backend import draw_preferences

        draw_preferences(self, self.layout, context)


CLASSES = (GENEMAN_PG_scene, GENEMAN_PG_job, GENEMAN_PG_window, GENEMAN_AP_preferences)


def register() -> None:
    """Add them to Blender."""
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.Scene.geneman = bpy.props.PointerProperty(type=GENEMAN_PG_scene)
    bpy.types.WindowManager.geneman = bpy.props.PointerProperty(type=GENEMAN_PG_window)


def unregister() -> None:
    """Take them away."""
    recipe_form.clear()
    del bpy.types.WindowManager.geneman
    del bpy.types.Scene.geneman
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
