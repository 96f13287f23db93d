# SPDX-License-Identifier: Apache-2.0
"""Messages over the pipes between server and worker.

A worker talks to the server that started it and to nobody else, through pipes that nobody else
can open: no port, no key, and the end of the pipe tells each that the other is gone.

    u32 number of frames, u64 length of each (little endian), then the frames
"""

import struct
from collections.abc import Sequence
from typing import BinaryIO

from blender_addon.frames import Buffer

_COUNT = struct.Struct("<I")


def write(pipe: BinaryIO, frames: Sequence[Buffer]) -> None:
    """Write one message and flush it.

    Raises:
        OSError: The other side is gone.
    """
    lengths = [memoryview(frame).nbytes for frame in frames]
    pipe.write(_COUNT.pack(len(frames)) + struct.pack(f"<{len(frames)}Q", *lengths))
    for frame in frames:
        pipe.write(frame)
    pipe.flush()


def read(pipe: BinaryIO) -> list[Buffer] | None:
    """Read one message; nothing if the other side is gone, be it in the middle of one."""
    head = _exactly(pipe, _COUNT.size)
    if head is None:
        return None
    (count,) = _COUNT.unpack(head)
    lengths = _exactly(pipe, 8 * count)
    if lengths is None:
        return None
    frames: list[Buffer] = []
    for length in struct.unpack(f"<{count}Q", lengths):
        frame = _exactly(pipe, length)
        if frame is None:
            return None
        frames.append(frame)
    return frames


def _exactly(pipe: BinaryIO, size: int) -> Buffer | None:
    """Read so many bytes, or nothing if there are not as many."""
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        read = pipe.readinto(view[got:])  # type: ignore[attr-defined]  # raw and buffered have it
        if not read:
            return None
        got += read
    return data
