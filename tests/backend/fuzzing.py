"""A long fuzz of the backend: `python -m tests.backend.fuzzing --messages 100000` (make fuzz).

Three ways: hypothesis makes bytes and damaged messages for the decoders; damaged messages go to
every socket of a live server, which afterwards must still do a job; and atheris, where its wheel
exists, searches the decoders for new paths. Whatever is wrong must be a `ProtocolError`.
"""

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.client import Client
from blender_addon.frames import Message, ProtocolError, decode
from blender_addon.protocol import CONTROLS, EVENTS, FEEDS, REPLIES, REQUESTS, Done, JobState, Ping
from tests.backend.running import Running, ended, running, submit
from tests.backend.test_protocol import damage, seeds

DECODERS: tuple[Any, ...] = (REQUESTS, CONTROLS, REPLIES, FEEDS, EVENTS)
SOCKETS = ("requests", "control", "events")
PINGED_EVERY = 250


def read_all(frames: list[bytes]) -> int:
    """Decode frames every way that there is; give how many ways took them for a message."""
    taken = 0
    for decoder in DECODERS:
        try:
            message = decode(frames, decoder)
        except ProtocolError:
            continue
        taken += 1
        read_arrays(message)
    return taken


def read_arrays(message: Message[Any]) -> None:
    """Read what the body says are arrays."""
    for name in ("photo", "image", "vertices", "faces", "data"):
        header = getattr(message.body, name, None)
        if header is not None:
            for read in (message.array, message.file):
                try:
                    read(header)
                except ProtocolError:
                    continue


def fuzz_decoders(count: int) -> int:
    """Let hypothesis make messages: raw bytes, and good ones damaged as it likes."""
    good, read = [frames for frames, _ in seeds()], []
    damaged = st.tuples(st.sampled_from(good), st.integers(0, 2**62)).map(
        lambda pair: damage(pair[0], random.Random(pair[1]))
    )

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(frames=st.one_of(damaged, st.lists(st.binary(max_size=200), max_size=5)))
    def check(frames: list[bytes]) -> None:
        read_all(frames)
        read.append(1)

    check()
    return len(read)


def fuzz_server(server: Running, client: Client, count: int, seed: int = 0) -> int:
    """Send damaged messages to all sockets in turn; the server answers pings all the while."""
    chance, good = random.Random(seed), [frames for frames, _ in seeds()]
    other = Client(server.connection())
    try:
        sockets = [other._connected(getattr(server.connection(), name)) for name in SOCKETS]
        for number in range(count):
            socket = sockets[number % len(sockets)]
            socket.send_multipart(damage(chance.choice(good), chance) or [b""])
            while socket.poll(0):
                socket.recv_multipart()
            if number % PINGED_EVERY == 0:
                client.command(Ping(), Done)
    finally:
        other.close()
    client.command(Ping(), Done)
    assert ended(client, submit(client)).state is JobState.DONE
    assert "request failed" not in server.log()
    return count


FRAME_HEAD = 2
"""Bytes of a frame's length, before each frame of a message in the corpus of `fuzz_by_coverage`."""
MAX_FRAMES = 40


def joined(frames: list[bytes]) -> bytes:
    """Give a message as one piece of bytes, which a fuzzer can cut and graft."""
    return b"".join(len(frame).to_bytes(FRAME_HEAD, "little") + frame for frame in frames)


def parted(data: bytes) -> list[bytes]:
    """Give the frames of any bytes at all; undoes `joined`."""
    frames: list[bytes] = []
    while data and len(frames) < MAX_FRAMES:
        size, data = int.from_bytes(data[:FRAME_HEAD], "little"), data[FRAME_HEAD:]
        frames.append(data[:size])
        data = data[size:]
    return frames


ATHERIS = """
import sys, atheris
with atheris.instrument_imports(include=["blender_addon"]):
    from blender_addon import frames, protocol
from tests.backend.fuzzing import parted, read_all
atheris.Setup(sys.argv, lambda data: read_all(parted(data)) and None)
atheris.Fuzz()
"""


def fuzz_by_coverage(count: int, folder: Path) -> int | None:
    """Let atheris search for so many runs; give how many it made, nothing if it is not there."""
    if importlib.util.find_spec("atheris") is None:
        return None
    for number, (frames, _) in enumerate(seeds()):
        (folder / str(number)).write_bytes(joined(frames))
    options = [f"-runs={count}", "-seed=1", "-print_final_stats=1", "-max_len=2000"]
    command = [sys.executable, "-c", ATHERIS, *options, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    made = re.search(r"number_of_executed_units: (\d+)", found.stderr)
    assert made is not None, found.stderr[-3000:]
    return int(made[1])


def main() -> None:
    """Fuzz, and say how much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="in each of the three ways")
    count = parser.parse_args().messages
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"decoders, by hypothesis: {fuzz_decoders(count)} messages\n")
        (Path(folder) / "corpus").mkdir()
        covered = fuzz_by_coverage(count, Path(folder) / "corpus")
        sys.stdout.write(f"decoders, by coverage: {covered or 'atheris is not installed'}\n")
        with running(Path(folder) / "store") as server, server.client() as client:
            sys.stdout.write(f"live server: {fuzz_server(server, client, count)} messages\n")


if __name__ == "__main__":
    main()
