# SPDX-License-Identifier: GPL-3.0-or-later
"""What things are called in the panel."""

_STAGES = {
    "prepare": "Prepare",
    "nerf_init": "NeRF",
    "sculpt": "Sculpt",
    "latent_texture": "Latent Texture",
    "pixel_texture": "Pixel Texture",
    "finish": "Finish",
}
_MODES = {
    "EDIT": "Edit Mode",
    "SCULPT": "Sculpt Mode",
    "TEXTURE_PAINT": "Texture Paint",
    "VERTEX_PAINT": "Vertex Paint",
    "WEIGHT_PAINT": "Weight Paint",
}


def stage_title(stage: str) -> str:
    """Name a stage for people; stages that are not known here keep their own name."""
    return _STAGES.get(stage) or stage.replace("_", " ").title()


def mode_title(mode: str) -> str:
    """Name an object's mode, as Blender's menu does."""
    return _MODES.get(mode) or f"{mode.replace('_', ' ').title()} Mode"
