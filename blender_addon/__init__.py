# SPDX-License-Identifier: GPL-3.0-or-later
"""GeneMAN for Blender.

`protocol` and `frames` are also the backend's: they load neither bpy nor anything else of ours.
"""
