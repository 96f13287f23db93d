# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel in other languages: German is whole, others go beside it.

A test compares the table with what the add-on says, so that nothing is forgotten or left over.
What the backend itself says comes from there, in English.
"""

from collections.abc import Mapping

import bpy

from .german import PANELS
from .german_backend import BACKEND
from .german_troubles import TROUBLES

CONTEXTS = ("*", "Operator")
"""Blender looks an operator's label up in a context of its own."""

GERMAN: Mapping[str, str] = {**PANELS, **BACKEND, **TROUBLES}


def told(text: str, **values: str) -> str:
    """Say a text in the user's language, with values in the places that its braces name."""
    translated = bpy.app.translations.pgettext_iface
    said: str = translated(text)
    return said.format(**{n: translated(v) for n, v in values.items()}) if values else said


def register() -> None:
    """Let Blender know them."""
    table = {(context, text): german for text, german in GERMAN.items() for context in CONTEXTS}
    bpy.app.translations.register(__package__, {"de_DE": table, "de": table})


def unregister() -> None:
    """Let it forget them."""
    bpy.app.translations.unregister(__package__)
