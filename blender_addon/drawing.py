# SPDX-License-Identifier: GPL-3.0-or-later
"""How sentences, troubles and pictures are drawn, the same in every panel."""

import textwrap
from typing import Any

import bpy

from . import session
from .operators import row_here
from .operators_backend import REMEDIES
from .translations import told

_LETTER = 6.6
"""Width of an average letter in pixels, at a UI scale of 1."""
_ICON_ROOM = 52
"""Pixels that margins and an icon take."""
_LEAST_LETTERS = 18


def sentence(layout: Any, text: str, *, icon: str = "NONE", alert: bool = False) -> None:
    """Draw a text on as many lines as the panel's width asks for."""
    context = bpy.context
    scale = context.preferences.system.ui_scale or 1.0  # Blender has none without a window
    width = context.region.width if context.region is not None else 300
    letters = max(_LEAST_LETTERS, int((width / scale - _ICON_ROOM) / _LETTER))
    column = layout.column(align=True)
    column.alert = alert
    column.scale_y = 0.85
    translated = bpy.app.translations.pgettext_iface(text)
    rest = "NONE" if icon == "NONE" else "BLANK1"
    for number, line in enumerate(textwrap.wrap(translated, letters)):
        column.label(text=line, icon=icon if number == 0 else rest, translate=False)


def remedy(layout: Any, name: str) -> None:
    """Draw the button of a `Remedy`, if it is one that a button can do."""
    here = session.known()
    if name == "connect" and here is not None and here.service.installed and not here.client:
        layout.operator("geneman.start", text="Connect")
        return
    if name == "retry" and row_here(bpy.context) is None:
        return  # there is nothing to run again: the button above it is the one to press
    if name == "set_up" and not bpy.app.online_access:
        sentence(layout, "Its packages come over the network, which Blender does not allow yet")
        name = "allow_online"
    if name in REMEDIES:
        layout.operator(REMEDIES[name])


def trouble(layout: Any, found: Any, *, dismiss: bool = False) -> None:
    """Draw what went wrong, with its button."""
    row = layout.row()
    sentence(row, found.told(told), icon="ERROR", alert=True)
    if found.detail:
        copy = row.operator("geneman.copy_report", text="", icon="COPYDOWN", emboss=False)
        copy.text = f"{found.sentence}\n\n{found.detail}"
    if dismiss:
        row.operator("geneman.dismiss", text="", icon="X", emboss=False)
    remedy(layout, str(found.remedy))


def picture(layout: Any, image: Any, scale: float) -> None:
    """Draw an image's icon, large."""
    layout.template_icon(icon_value=layout.icon(image), scale=scale)
