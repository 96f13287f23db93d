"""The synthetic person as files that a user would give, and a recipe that takes seconds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.synthetic import figure_view

SIZE = 128
FIELD: dict[str, object] = {
    "field.encoding.levels": 6,
    "field.encoding.log2_table": 12,
    "field.encoding.growth": 1.5,
    "field.width": 16,
}
NERF: dict[str, object] = {
    "steps": 40,
    "learning_rate": 0.02,
    "rays_per_step": 512,
    "ray_step": 0.01,
    "start_from_surfaces": True,
    "reference_every": 2,
    "occupancy_resolution": 16,
}
SCULPT: dict[str, object] = {
    "steps": 20,
    "learning_rate": 5e-3,
    "resolution": 48,
    "size": 96,
    "initial_resolution": 48,
    "distance_weight": 1.0,
}
LATENT: dict[str, object] = {
    "steps": 40,
    "render_size": 96,
    "points_per_step": 2048,
    "flank_points": 512,
}
PIXEL: dict[str, object] = {
    "target_faces": 2000,
    "texture_size": 128,
    "normal_map_size": 64,
    "fit_steps": 10,
    "reference_size": 128,
}
TINY: dict[str, dict[str, object]] = {
    "prepare": {"size": SIZE},
    "nerf_init": NERF | FIELD,
    "sculpt": SCULPT | FIELD,
    "latent_texture": LATENT | FIELD,
    "pixel_texture": PIXEL,
    "finish": {"preview_size": 64, "turntable_size": 64, "turntable_frames": 4},
}
"""Settings by stage."""


def tiny_recipe() -> list[str]:
    """Give the options that make every stage tiny."""
    options: list[str] = []
    for stage, settings in TINY.items():
        for name, value in settings.items():
            options += [f"--recipe.{stage}.{name}", str(value).lower()]
    return options


def write_photo(folder: Path) -> list[str]:
    """Write photo and maps; give the arguments of `geneman reconstruct` that name them."""
    view = figure_view(SIZE)
    inside = view.inside.numpy()
    colour = np.where(inside[..., None], view.colour.numpy(), 1.0)
    names = {name: folder / f"{name}.png" for name in ("photo", "mask", "normal")}
    _picture(colour).save(names["photo"])
    Image.fromarray(inside).save(names["mask"])
    _picture(np.where(inside[..., None], view.normal.numpy() / 2 + 0.5, 0.0)).save(names["normal"])
    names |= {name: folder / f"{name}.npy" for name in ("depth", "landmarks")}
    np.save(names["depth"], np.where(inside, view.depth.numpy(), 0).astype(np.float32))
    np.save(names["landmarks"], view.landmarks.numpy())
    given = [f"--{name}={path}" for name, path in names.items() if name != "photo"]
    return [str(names["photo"]), *given, "--prompt", "a person"]


def _picture(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray((values * 255).round().astype(np.uint8))
