"""Drives the add-on without a window: a real backend, a real photo, and `pump` by hand."""

import importlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy  # noqa: TID251

PACKAGE = "bl_ext.user_default.geneman"
PYTHON = Path(os.environ.get("GENEMAN_PYTHON", "python"))
ROOT = Path(__file__).resolve().parent.parent.parent
STARTING, COMPUTING = 400.0, 400.0
"""Seconds: of patience with a shared machine; nothing here measures time."""

FIELD = {
    "field.encoding.levels": 6,
    "field.encoding.log2_table": 12,
    "field.encoding.growth": 1.5,
    "field.width": 16,
}
TINY: dict[str, dict[str, Any]] = {
    "prepare": {"size": 128},
    "nerf_init": FIELD
    | {"steps": 60, "rays_per_step": 512, "occupancy_resolution": 16, "preview_every": 10}
    | {"resolution": 64, "preview_size": 64},
    "sculpt": FIELD
    | {"steps": 30, "resolution": 48, "size": 96, "initial_resolution": 48, "preview_every": 3},
    "latent_texture": FIELD
    | {"steps": 40, "render_size": 96, "points_per_step": 2048, "flank_points": 512},
    "pixel_texture": {
        "target_faces": 2000, "texture_size": 128, "normal_map_size": 128, "fit_steps": 10,
        "reference_size": 128,
    },
    "finish": {"preview_size": 64, "turntable_size": 64, "turntable_frames": 4},
}  # fmt: skip
"""Every stage as in a draft, but small."""


def of(name: str) -> Any:
    """Give one of the add-on's files."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def alive(pid: int) -> bool:
    """Say whether a process is there, and not merely waiting to be buried."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def session() -> Any:
    """Give the add-on's session."""
    return importlib.import_module(f"{PACKAGE}.session")


def here() -> Any:
    """Give what it holds for this Blender."""
    return session().current()


def model() -> Any:
    """Give what the panel would show."""
    return here().model


def row() -> Any:
    """Give the scene's job."""
    return model().job(bpy.context.scene.geneman.job)


def stages() -> dict[str, str]:
    """Say how each stage of the scene's job stands."""
    rows = model().stage_rows(bpy.context.scene.geneman.job)
    return {one.name: str(one.state) for one in rows}


def person() -> Any:
    """Give the scene's person."""
    scene_import = importlib.import_module(f"{PACKAGE}.scene_import")
    return scene_import.person_of(bpy.context.scene.geneman.job)


def until(
    true: Callable[[], Any], seconds: float = COMPUTING, *, what: str = "", calm: bool = True
) -> Any:
    """Pump until something is true, as Blender's timer would, and give it.

    With `calm` whatever the panel would tell as trouble ends it.
    """
    deadline = time.monotonic() + seconds
    while not (found := true()):
        told = f"{what}; backend: {model().backend}; job: {row()}; notice: {here().notice}"
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {told}"
        assert not calm or here().notice is None, told
        time.sleep(min(session().pump(), 0.02))
    return found


def ended() -> Any:
    """Give the scene's job when it has ended."""
    found = row()
    return (
        found if found is not None and found.job.state in ("done", "failed", "cancelled") else None
    )


def done() -> Any:
    """Pump until the scene's job has ended well, and what came of it is here."""
    found = until(ended, what="the end")
    assert found.job.state == "done", found.sentence
    for _ in range(20):
        session().pump()
        time.sleep(0.02)
    return found


def choose_existing() -> None:
    """Let the add-on use the backend of this checkout's environment."""
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.environment = str(PYTHON.parent.parent)
    chosen.device = "cpu"
    chosen.place = "EXISTING"


def photo(folder: Path) -> Path:
    """Write the photo of a person that scikit-image ships."""
    path = folder / "astronaut.png"
    code = (
        "import sys; from PIL import Image; from skimage import data;"
        "Image.fromarray(data.astronaut()).save(sys.argv[1])"
    )
    subprocess.run([PYTHON, "-c", code, path], check=True, timeout=120)
    return path


def fill_form(path: Path, recipe: dict[str, dict[str, Any]] | None = None) -> None:
    """Set photo and settings in the scene, as somebody would in the panel."""
    form = importlib.import_module(f"{PACKAGE}.recipe_form")
    bpy.context.scene.geneman.photo = str(path)
    merged = {stage: TINY[stage] | (recipe or {}).get(stage, {}) for stage in TINY}
    form.load(bpy.context.scene, "draft", merged)
