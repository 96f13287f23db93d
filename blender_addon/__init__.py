# SPDX-License-Identifier: GPL-3.0-or-later
"""GeneMAN for Blender.

`protocol` and `frames` are also the backend's: they load neither bpy nor anything else of ours.
Nothing of ours is loaded before `register`, and what talks to the backend not before its panel
is seen.
"""

_BLENDER_FILES = (
    "properties",
    "operators",
    "operators_backend",
    "operators_jobs",
    "operators_photo",
    "operators_edit",
    "operators_result",
    "panels",
    "panels_backend",
    "panels_result",
)
"""Those with classes that Blender must know, each before what names its classes."""


def register() -> None:
    """Add everything to Blender."""
    import importlib

    import bpy

    from . import handlers, translations

    for name in _BLENDER_FILES:
        module = importlib.import_module(f".{name}", __package__)
        if name == "properties":
            module.register()
            continue
        for one in module.CLASSES:
            bpy.utils.register_class(one)
    translations.register()
    handlers.register()


def unregister() -> None:
    """Take everything out again, and leave no thread, process, timer or handler behind."""
    import importlib

    import bpy

    from . import handlers, session, translations

    handlers.unregister()
    session.unregister()
    translations.unregister()
    for name in reversed(_BLENDER_FILES):
        module = importlib.import_module(f".{name}", __package__)
        if name == "properties":
            module.unregister()
            continue
        for one in reversed(module.CLASSES):
            bpy.utils.unregister_class(one)
