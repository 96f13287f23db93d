"""A worker's program for benchmarks: computes without pause and shows what it is asked to.

The job's prompt says what (`mesh`, `texture`, `pictures`, or `previews` without any), the number,
and seconds in between.
A mesh or texture carries the microsecond of its making as its step, so that a reader can tell how
old it is.
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
            now = int(1e6 * time.monotonic())
            if what == "mesh":
                headers = packer.add(points), packer.add(faces)
                tell(Surface(order.job, "sculpt", now, number, *headers), packer.frames)
            elif what == "pictures":
                small = image[:256, :256]
                tell(Picture(order.job, "sculpt", number, packer.add(small)), packer.frames)
            elif what == "texture":
                tell(Picture(order.job, "sculpt", now, packer.add(image)), packer.frames)
            moment = {"made": time.monotonic()}
            tell(Step(order.job, "sculpt", number, int(count), moment, 0.0), ())
            if stopper.asked(order.job):
                return Ended(order.job, "stopped")
        return Ended(order.job, "done")


def program(_: str) -> Heavy:
    return Heavy()
