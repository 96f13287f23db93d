"""A worker's program for the add-on's benchmark: shows a person, and computes nothing.

The job's prompt says what, how often, and with how many seconds in between: `moving` moves the
vertices of one mesh and shows a picture each time, `fresh` gives other faces each time, `textured`
a texture each time, `whole` is a small reconstruction with a few of each.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.orders import Do, Ended
from backend.worker import Stopper, Tell
from blender_addon.frames import Packer
from blender_addon.protocol import (
    Device,
    Picture,
    StageBegan,
    StageEnded,
    Step,
    Surface,
    Texture,
    Welcome,
)

ROWS, COLUMNS = 400, 500
"""200,000 vertices, 400,000 triangles."""
FEW = (40, 50)
TEXELS, FEW_TEXELS, PICTURE = 2048, 256, 512
SCULPT, PAINT = "sculpt", "pixel_texture"

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


def body(rows: int, columns: int) -> tuple[Floats, Integers, Floats]:
    """Give an egg of a person's height: vertices (V, 3), faces (F, 3), uv (V, 2)."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.arange(columns) / columns, indexing="ij")
    ring, turn = np.sin(np.pi * (0.02 + 0.96 * v)), 2 * np.pi * u
    points = np.stack([0.3 * ring * np.cos(turn), 0.2 * ring * np.sin(turn), v - 0.5], axis=-1)
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    corners = [index[:-1], right[:-1], right[1:], index[1:]]
    a, b, c, d = (one.reshape(-1) for one in corners)
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    return points.reshape(-1, 3).astype("f4"), faces.astype("i4"), uv.astype("f4")


class Show:
    """One job's events."""

    def __init__(self, job: str, tell: Tell, size: tuple[int, int], texels: int) -> None:
        self.job, self.tell, self.texels = job, tell, texels
        self.points, self.faces, self.uv = body(*size)
        self.chance = np.random.default_rng(0)
        self.topology = 0

    def surface(self, step: int) -> None:
        """Show the mesh a little thicker each time."""
        packer = Packer()
        points = self.points * np.float32(1 + 0.1 * np.sin(step))
        headers = packer.add(points), packer.add(self.faces)
        self.tell(Surface(self.job, SCULPT, step, self.topology, *headers), packer.frames)

    def moving(self, step: int) -> None:
        """Show the same mesh moved, and a picture of it."""
        self.surface(step)
        packer = Packer()
        image = self.chance.integers(0, 256, (PICTURE, PICTURE, 3), dtype=np.uint8)
        self.tell(Picture(self.job, SCULPT, step, packer.add(image)), packer.frames)

    def fresh(self, step: int) -> None:
        """Show a mesh with other faces."""
        self.topology = step
        self.faces = np.roll(self.faces, 1, axis=1)
        self.surface(step)

    def textured(self, step: int) -> None:
        """Show the mesh with a texture."""
        packer = Packer()
        image = np.full((self.texels, self.texels, 3), step * 40 % 256, np.uint8)
        add: Callable[[NDArray[Any]], Any] = packer.add
        arrays = [add(a) for a in (self.points, self.faces, self.uv, self.faces, image)]
        self.tell(Texture(self.job, PAINT, *arrays), packer.frames)

    def stage(self, name: str, scenes: list[Callable[[int], None]], pause: float) -> None:
        """Play scenes as the steps of a stage."""
        self.tell(StageBegan(self.job, name, len(scenes)), ())
        for step, scene in enumerate(scenes):
            scene(step)
            self.tell(Step(self.job, name, step, len(scenes), {"loss": 1.0}, 0.0), ())
            time.sleep(pause)
        self.tell(StageEnded(self.job, name, 1.0, False), ())


class Showing:
    """The program."""

    def describe(self) -> Welcome:
        """Offer two stages and one preset."""
        device = Device("cpu", "any", 0, 0)
        stages = (SCULPT, PAINT)
        presets: dict[str, dict[str, dict[str, Any]]] = {"draft": {name: {} for name in stages}}
        return Welcome("0", (), ready=True, stages=stages, presets=presets, devices=(device,))

    def compute(self, order: Do, tell: Tell, stopper: Stopper) -> Ended:
        """Show what the prompt says."""
        what, count, pause = order.spec.prompt.split()
        small = what == "whole"
        size, texels = (FEW, FEW_TEXELS) if small else ((ROWS, COLUMNS), TEXELS)
        show = Show(order.job, tell, size, texels)
        if small:
            show.stage(SCULPT, [show.fresh, show.moving, show.moving], float(pause))
            show.stage(PAINT, [show.textured], float(pause))
        else:
            name = PAINT if what == "textured" else SCULPT
            show.stage(name, [getattr(show, what)] * int(count), float(pause))
        return Ended(order.job, "done")


def program(_: str) -> Showing:
    """Give it, whatever the device."""
    return Showing()
