"""A worker's program for benchmarks: computes without pause and shows what it is asked to.

The job's prompt says what: `mesh`, `texture` or `previews`, the number, and seconds in between.
Each event carries the moment of its making, so that a reader can tell how old it is.
"""

import time

import numpy as np

from backend.orders import Do, Ended
from backend.worker import Stopper, Tell
from blender_addon.frames import Packer
from blender_addon.protocol import Device, Picture, Step, Surface, Welcome

VERTICES, FACES, TEXELS = 200_000, 400_000, 2048


class Heavy:
    def describe(self) -> Welcome:
        device = Device("cpu", "any", 0, 0)
        return Welcome(
            "0", (), ready=True, stages=("sculpt",), presets={"draft": {}}, devices=(device,)
        )

    def compute(self, order: Do, tell: Tell, stopper: Stopper) -> Ended:
        what, count, pause = order.spec.prompt.split()
        chance = np.random.default_rng(0)
        matrix = chance.random((256, 256))
        points = chance.random((VERTICES, 3), dtype=np.float32)
        faces = chance.integers(0, VERTICES, (FACES, 3), dtype=np.int32)
        image = chance.integers(0, 256, (TEXELS, TEXELS, 3), dtype=np.uint8)
        for number in range(int(count)):
            packer, until = Packer(), time.monotonic() + float(pause)
            while time.monotonic() < until:
                matrix = matrix @ matrix / np.abs(matrix).max()
            if what == "mesh":
                headers = packer.add(points), packer.add(faces)
                tell(Surface(order.job, "sculpt", number, number, *headers), packer.frames)
            elif what == "texture":
                tell(Picture(order.job, "sculpt", number, packer.add(image)), packer.frames)
            moment = {"made": time.monotonic()}
            tell(Step(order.job, "sculpt", number, int(count), moment, 0.0), ())
            if stopper.asked(order.job):
                return Ended(order.job, "stopped")
        return Ended(order.job, "done")


def program(_: str) -> Heavy:
    return Heavy()
