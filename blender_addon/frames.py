# SPDX-License-Identifier: Apache-2.0
"""Messages as ZeroMQ frames: a preamble, one msgpack map, and raw arrays behind it.

    frame 0    b"GM", major version, minor version: fixed for all versions of the protocol
    frame 1    msgpack of an `Envelope`
    frame 2..  the bytes of arrays, C order, little endian, each raw or one zstd frame

Nothing that arrives is trusted: every limit is checked before memory is taken, and whatever is
wrong becomes a `ProtocolError` with one sentence, never another exception.

Runs in Blender's Python (3.11 to 3.13): imports msgspec, numpy and the standard library;
zstandard only when somebody asks for compression.
"""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

MAJOR = 1
"""Changes when an old reader would misunderstand; both sides must have the same."""
MINOR = 3
"""Changes when something is added that an old reader may ignore."""

PREAMBLE = b"GM"
MAX_BODY_BYTES = 4 * 2**20
"""Of the msgpack frame: 4 MiB hold ten thousand jobs."""
MAX_ARRAY_BYTES = 256 * 2**20
"""Of one array, unpacked: a 4096 px texture of four floats fits exactly."""
MAX_ARRAYS = 32
"""In one message."""
_HEAD = 2
"""Frames before the arrays."""
MAX_DIMENSIONS = 4

Buffer = bytes | bytearray | memoryview
"""What a frame may be; zmq's frames give a memoryview as `.buffer`."""
Body = TypeVar("Body")

DTYPES = {"b1": "|b1", "u1": "|u1", "u2": "<u2", "i4": "<i4", "f2": "<f2", "f4": "<f4", "f8": "<f8"}
"""The numbers that may travel, and what numpy calls them."""
_NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}

Token = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
"""A random name: 32 hexadecimal digits, as `new_token` gives them."""


class ProtocolError(Exception):
    """What arrived is not a message of this protocol; the text is one sentence."""


class VersionError(ProtocolError):
    """The other side speaks another major version; the text says which to update."""


class Array(msgspec.Struct, frozen=True):
    """Where an array of a message lies, and how to read it."""

    frame: int
    """Index among the frames behind the envelope, from 0."""
    dtype: str
    """A key of `DTYPES`."""
    shape: tuple[int, ...]
    """At most `MAX_DIMENSIONS` sizes, none negative. Files travel as `u1` of shape (bytes,)."""
    zstd: bool = False
    """Whether the frame is one zstd frame that holds the bytes."""

    @property
    def nbytes(self) -> int:
        """Bytes of the array itself, unpacked.

        Raises:
            ProtocolError: The header breaks a limit.
        """
        if self.dtype not in DTYPES:
            kinds = ", ".join(DTYPES)
            raise ProtocolError(f"An array must be one of {kinds}, but got '{self.dtype[:20]}'.")
        if len(self.shape) > MAX_DIMENSIONS or any(size < 0 for size in self.shape):
            raise ProtocolError(
                f"An array must have at most {MAX_DIMENSIONS} sizes of 0 or more, "
                f"but got {str(self.shape)[:60]}."
            )
        size = math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize
        if size > MAX_ARRAY_BYTES:
            raise ProtocolError(
                f"An array must have at most {MAX_ARRAY_BYTES} bytes, but got {size}."
            )
        return size


class Envelope(msgspec.Struct, Generic[Body], frozen=True, kw_only=True, omit_defaults=True):
    """What stands around every body."""

    id: Token
    """Names this message. A request that is sent again keeps its id and is done once."""
    parent: str = ""
    """Id of the request that this answers, or that made the job which this event is about."""
    session: str = ""
    """Names the life of the server that sent this: another one means that it was restarted."""
    sequence: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Of events: grows from one to the next within a session. Of others: 0."""
    body: Body


@dataclass(frozen=True)
class Message(Generic[Body]):
    """A message that arrived whole."""

    envelope: Envelope[Body]
    frames: Sequence[Buffer] = ()

    @property
    def body(self) -> Body:
        """What it says."""
        return self.envelope.body

    def array(self, header: Array) -> NDArray[Any]:
        """Give one of the arrays: without a copy if it is not compressed, and never writable.

        Raises:
            ProtocolError: The frame is missing, or holds something other than the header says.
        """
        expected = header.nbytes
        if not 0 <= header.frame < len(self.frames):
            raise ProtocolError(
                f"An array must lie in one of the {len(self.frames)} frames of its message, "
                f"but got frame {header.frame}."
            )
        data = self.frames[header.frame]
        if header.zstd:
            data = _decompressed(data, expected)
        found = memoryview(data).nbytes
        if found != expected:
            raise ProtocolError(
                f"An array of shape {list(header.shape)} and type {header.dtype} has {expected} "
                f"bytes, but its frame holds {found}."
            )
        values: NDArray[Any] = np.frombuffer(data, DTYPES[header.dtype]).reshape(header.shape)
        values.flags.writeable = False
        return values

    def file(self, header: Array) -> Buffer:
        """Give a file's bytes: an array `u1` of one dimension.

        Raises:
            ProtocolError: It is another kind of array, or not whole.
        """
        if header.dtype != "u1" or len(header.shape) != 1:
            raise ProtocolError(
                f"A file must be bytes in a row, but got {header.dtype} of shape "
                f"{str(header.shape)[:60]}."
            )
        return self.array(header).data


@dataclass
class Packer:
    """Collects the arrays of one message while its body is built."""

    zstd_level: int = 0
    """0 sends raw; 1 to 19 compress with zstandard, which must then be installed."""
    frames: list[Buffer] = field(default_factory=list)

    def add(self, values: NDArray[Any]) -> Array:
        """Append an array and give its header; contiguous little-endian ones are not copied.

        Raises:
            TypeError: Its numbers have no place in `DTYPES`.
        """
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(values.shape)
        name = _NAMES.get(little.dtype)
        if name is None:
            raise TypeError(f"only {', '.join(DTYPES)} travel, but got {values.dtype}")
        return self._append(name, values.shape, little.reshape(-1).view(np.uint8).data)

    def add_file(self, data: Buffer) -> Array:
        """Append a file's bytes and give their header."""
        return self.add(np.frombuffer(data, np.uint8))

    def add_again(self, header: Array, data: Buffer) -> Array:
        """Append an array of another message, whose frame is raw, and give its header here."""
        return self._append(header.dtype, header.shape, data)

    def _append(self, dtype: str, shape: tuple[int, ...], data: Buffer) -> Array:
        if self.zstd_level:
            data = _zstandard().ZstdCompressor(level=self.zstd_level).compress(data)
        self.frames.append(data)
        return Array(len(self.frames) - 1, dtype, shape, bool(self.zstd_level))


def new_token() -> str:
    """Give a random name that nobody has: of a message, a job or a session."""
    return uuid.uuid4().hex


def encode(envelope: Envelope[Any], frames: Sequence[Buffer] = ()) -> list[Buffer]:
    """Give the frames of a message, ready for `send_multipart`."""
    body = msgspec.msgpack.encode(envelope)
    return [PREAMBLE + bytes((MAJOR, MINOR)), body, *frames]


def decode(
    frames: Sequence[Buffer], decoder: msgspec.msgpack.Decoder[Envelope[Body]]
) -> Message[Body]:
    """Read a message; `decoder` says which bodies may come from there.

    Raises:
        VersionError: The sender speaks another major version.
        ProtocolError: It is no message, a kind that must not come from there, or too large.
    """
    if not frames or memoryview(frames[0]).nbytes != len(PREAMBLE) + 2:
        raise ProtocolError("A message must begin with GeneMAN's preamble, but got none.")
    preamble = bytes(frames[0])
    if not preamble.startswith(PREAMBLE):
        raise ProtocolError(f"A message must begin with {PREAMBLE!r}, but got {preamble[:2]!r}.")
    major, minor = preamble[2], preamble[3]
    if major != MAJOR:
        older = "this side" if major > MAJOR else "the sender"
        raise VersionError(
            f"Both sides must speak protocol {MAJOR}, but got {major}.{minor}: update {older}."
        )
    if not _HEAD <= len(frames) <= _HEAD + MAX_ARRAYS:
        raise ProtocolError(
            f"A message must have {_HEAD} to {_HEAD + MAX_ARRAYS} frames, but got {len(frames)}."
        )
    size = memoryview(frames[1]).nbytes
    if size > MAX_BODY_BYTES:
        raise ProtocolError(f"A body must have at most {MAX_BODY_BYTES} bytes, but got {size}.")
    try:
        envelope = decoder.decode(frames[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ProtocolError(f"A message must be one that is known here ({error}).") from error
    return Message(envelope, frames[_HEAD:])


def _decompressed(data: Buffer, expected: int) -> bytes:
    """Unpack one zstd frame that must hold exactly `expected` bytes: bombs never unfold."""
    zstandard = _zstandard()
    try:
        claimed = zstandard.frame_content_size(data)
        if claimed != expected:
            raise ProtocolError(
                f"A compressed array must unfold to {expected} bytes, but its frame says {claimed}."
            )
        unpacked: bytes = zstandard.ZstdDecompressor().decompress(data, max_output_size=expected)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"A compressed array must be one zstd frame ({error}).") from error
    return unpacked


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ProtocolError(
            "Compressed arrays need the package zstandard on both sides, but it is not installed: "
            "install it, or connect without compression."
        ) from error
    return zstandard


def can_compress() -> bool:
    """Say whether this side can read and write compressed arrays."""
    try:
        _zstandard()
    except ProtocolError:
        return False
    return True
