"""The protocol: what is sent arrives, and what is not of the protocol is one sentence."""

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec import inspect

from blender_addon import protocol
from blender_addon.frames import (
    DTYPES,
    MAJOR,
    MAX_ARRAY_BYTES,
    MAX_ARRAYS,
    MAX_BODY_BYTES,
    MINOR,
    PREAMBLE,
    Array,
    Envelope,
    Message,
    Packer,
    ProtocolError,
    VersionError,
    can_compress,
    decode,
    encode,
    new_token,
)
from blender_addon.protocol import (
    CONTROLS,
    EVENTS,
    FEEDS,
    REPLIES,
    REQUESTS,
    Cancel,
    Hello,
    JobState,
    Kind,
    ListJobs,
    Submit,
    Surface,
)

DECODERS: tuple[Any, ...] = (REQUESTS, CONTROLS, REPLIES, FEEDS, EVENTS)
UNIONS = (
    (protocol.Request, REQUESTS),
    (protocol.Control, CONTROLS),
    (protocol.Reply, REPLIES),
    (protocol.Feed, FEEDS),
    (protocol.Event, EVENTS),
)
KINDS = [(kind, decoder) for union, decoder in UNIONS for kind in union.__args__]
LEVELS = [0, *([3] if can_compress() else [])]

TOKENS = st.text("0123456789abcdef", min_size=32, max_size=32)
ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: arrays.arrays(
        DTYPES[name], arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)
    )
)


def _text(info: Any) -> st.SearchStrategy[str]:
    if info.pattern and "a-f" in info.pattern:
        return TOKENS
    if info.pattern:
        return st.text("abcz_09", min_size=1, max_size=40)
    return st.text(max_size=min(info.max_length or 50, 50))


def _struct(info: Any) -> st.SearchStrategy[Any]:
    return st.builds(info.cls, **{field.name: fitting(field.type) for field in info.fields})


STRATEGIES: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    inspect.Metadata: lambda info: fitting(info.type),
    inspect.StrType: _text,
    inspect.IntType: lambda info: st.integers(info.ge or 0, info.le or 2**62),
    inspect.FloatType: lambda _: st.floats(allow_nan=False),
    inspect.BoolType: lambda _: st.booleans(),
    inspect.NoneType: lambda _: st.none(),
    inspect.AnyType: lambda _: st.recursive(st.integers(-9, 9), st.lists, max_leaves=4),
    inspect.EnumType: lambda info: st.sampled_from(list(info.cls)),
    inspect.LiteralType: lambda info: st.sampled_from(info.values),
    inspect.UnionType: lambda info: st.one_of([fitting(part) for part in info.types]),
    inspect.DictType: lambda info: st.dictionaries(
        fitting(info.key_type), fitting(info.value_type), max_size=3
    ),
    inspect.VarTupleType: lambda info: st.lists(fitting(info.item_type), max_size=3).map(tuple),
    inspect.TupleType: lambda info: st.tuples(*map(fitting, info.item_types)),
    inspect.StructType: _struct,
}


def fitting(info: Any) -> st.SearchStrategy[Any]:
    """Give anything that fits a field, limits included."""
    return STRATEGIES[type(info)](info)


@pytest.mark.parametrize(("kind", "decoder"), KINDS, ids=lambda v: getattr(v, "__name__", ""))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_message_survives_the_wire(kind: type, decoder: Any, data: Any) -> None:
    body = data.draw(fitting(inspect.type_info(kind)))
    envelope = Envelope(
        id=data.draw(TOKENS), parent=data.draw(TOKENS), session="s", sequence=7, body=body
    )
    assert decode(encode(envelope), decoder).envelope == envelope


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=50, deadline=None)
@given(sent=st.lists(ARRAYS, max_size=5))
def test_every_array_survives_the_wire(level: int, sent: list[np.ndarray[Any, Any]]) -> None:
    packer = Packer(level)
    headers = [packer.add(array) for array in sent]
    frames = [bytes(f) for f in encode(Envelope(id=new_token(), body=ListJobs()), packer.frames)]
    message = decode(frames, REQUESTS)
    for header, array in zip(headers, sent, strict=True):
        arrived = message.array(header)
        np.testing.assert_array_equal(arrived, array)
        assert arrived.dtype == array.dtype
        assert not arrived.flags.writeable


def test_arrays_in_other_orders_arrive_in_ours() -> None:
    packer = Packer()
    values = np.arange(12, dtype=">i4").reshape(3, 4)
    header = packer.add(values[::-1, ::2])
    np.testing.assert_array_equal(message_of(packer).array(header), values[::-1, ::2])


def test_contiguous_arrays_are_sent_and_read_without_a_copy() -> None:
    values, packer = np.zeros((100, 3), np.float32), Packer()
    header = packer.add(values)
    arrived = message_of(packer).array(header)
    assert np.shares_memory(arrived, values)


def test_numbers_without_a_place_in_the_protocol_are_refused_before_sending() -> None:
    with pytest.raises(TypeError, match="only b1"):
        Packer().add(np.zeros(2, np.complex64))
    with pytest.raises(TypeError, match="but got object"):
        Packer().add(np.array([object()]))


def test_a_file_arrives_as_its_bytes() -> None:
    packer = Packer()
    header = packer.add_file(b"\x89PNG")
    assert bytes(message_of(packer).file(header)) == b"\x89PNG"
    square = packer.add(np.zeros((2, 2), np.uint8))
    with pytest.raises(ProtocolError, match="bytes in a row"):
        message_of(packer).file(square)


def message_of(packer: Packer) -> Message[Any]:
    frames = encode(Envelope(id=new_token(), body=ListJobs()), packer.frames)
    return decode(frames, REQUESTS)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (Array(0, "c8", (1,)), "must be one of b1"),
        (Array(0, "O", (1,)), "must be one of b1"),
        (Array(0, "f4", (-1,)), "sizes of 0 or more"),
        (Array(0, "f4", (1,) * 5), "at most 4 sizes"),
        (Array(0, "f4", (2**40, 2**40)), f"at most {MAX_ARRAY_BYTES} bytes"),
        (Array(0, "f4", (3,)), "12 bytes, but its frame holds 8"),
        (Array(1, "f4", (2,)), "but got frame 1"),
        (Array(-1, "f4", (2,)), "but got frame -1"),
    ],
)
def test_an_array_header_that_lies_is_one_sentence(header: Array, sentence: str) -> None:
    packer = Packer()
    packer.add(np.zeros(2, np.float32))
    with pytest.raises(ProtocolError, match=sentence):
        message_of(packer).array(header)


@pytest.mark.skipif(not can_compress(), reason="zstandard is not installed")
def test_a_compressed_bomb_never_unfolds() -> None:
    packer = Packer(3)
    header = packer.add(np.zeros(2**26, np.uint8))
    assert len(packer.frames[0]) < 2**14
    message = message_of(packer)
    with pytest.raises(ProtocolError, match="must unfold to 16 bytes"):
        message.array(msgspec.structs.replace(header, shape=(16,)))
    packer.frames[0] = b"not zstd"
    with pytest.raises(ProtocolError, match="compressed array must"):
        message_of(packer).array(header)


def test_another_major_version_says_which_side_to_update() -> None:
    good = encode(Envelope(id=new_token(), body=ListJobs()))
    newer = [PREAMBLE + bytes((MAJOR + 1, 0)), *good[1:]]
    older = [PREAMBLE + bytes((MAJOR - 1, 9)), *good[1:]]
    with pytest.raises(VersionError, match=f"but got {MAJOR + 1}.0: update this side"):
        decode(newer, REQUESTS)
    with pytest.raises(VersionError, match="update the sender"):
        decode(older, REQUESTS)


def test_a_newer_minor_version_may_say_more() -> None:
    more = {"id": new_token(), "hue": 1, "body": {"type": "list_jobs", "filter": "new"}}
    frames = [PREAMBLE + bytes((MAJOR, MINOR + 1)), msgspec.msgpack.encode(more)]
    assert decode(frames, REQUESTS).body == ListJobs()


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"GM"],
        [b"XX\x01\x00", b""],
        [b"GM\x01\x00"],
        [b"GM\x01\x00", b""],
        [b"GM\x01\x00", b"\xc1"],
        [b"GM\x01\x00", b"\x80"],
        [b"GM\x01\x00", bytes(MAX_BODY_BYTES + 1)],
        [b"GM\x01\x00", b"\x80", *[b""] * (MAX_ARRAYS + 1)],
        [b"GM\x01\x00", b"\x91" * 100_000],
    ],
)
def test_malformed_messages_are_one_sentence(frames: list[bytes]) -> None:
    for decoder in DECODERS:
        with pytest.raises(ProtocolError, match=r"\.$") as caught:
            decode(frames, decoder)
        assert "\n" not in str(caught.value)


def test_a_message_is_refused_where_it_does_not_belong() -> None:
    cancel = encode(Envelope(id=new_token(), body=Cancel(new_token())))
    with pytest.raises(ProtocolError, match="known here"):
        decode(cancel, REQUESTS)


@pytest.mark.parametrize("job", ["", "x" * 32, "0" * 31, "../" + "0" * 29, "0" * 32 + "\n"])
def test_a_job_is_named_by_a_token_only(job: str) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(Envelope(id=new_token(), body=Cancel(job))), CONTROLS)


def seeds() -> list[tuple[list[bytes], Any]]:
    """Give one good message of each direction to damage."""
    packer = Packer()
    photo = packer.add_file(bytes(100))
    surface = Surface(new_token(), "sculpt", 1, 1, photo, None)
    submit = Submit(job=new_token(), label="x", photo=photo, recipe={"sculpt": {"steps": 5}})
    bodies = [(submit, REQUESTS), (Hello("a", "b"), REQUESTS), (Cancel(new_token()), CONTROLS)]
    bodies += [(protocol.Follow("s", 3), FEEDS), (surface, EVENTS)]
    bodies.append((protocol.Refused(protocol.Problem(Kind.FAULT, "No.")), REPLIES))
    return [
        ([bytes(f) for f in encode(Envelope(id=new_token(), body=body), packer.frames)], decoder)
        for body, decoder in bodies
    ]


def damage(frames: list[bytes], chance: random.Random) -> list[bytes]:
    """Flip, cut, repeat, drop or swap something."""
    frames = list(frames)
    for _ in range(chance.randint(1, 3)):
        index = chance.randrange(len(frames)) if frames else 0
        data = bytearray(frames[index]) if frames else bytearray()
        match chance.randrange(6):
            case 0 if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1 if data:
                del data[chance.randrange(len(data)) :]
            case 2:
                data += chance.randbytes(chance.randrange(9))
            case 3 if data:
                at = chance.randrange(len(data))
                data[at:at] = data[: chance.randrange(len(data))]
            case 4 if frames:
                del frames[index]
                continue
            case 5:
                chance.shuffle(frames)
                continue
        if frames:
            frames[index] = bytes(data)
    return frames


def arrays_in(body: Any) -> list[Array]:
    return [v for f in body.__struct_fields__ if isinstance(v := getattr(body, f), Array)]


def test_a_hundred_thousand_damaged_messages_raise_nothing_but_protocol_errors() -> None:
    chance, good, survived = random.Random(0), seeds(), 0
    for _ in range(100_000):
        frames, decoder = chance.choice(good)
        try:
            message = decode(damage(frames, chance), decoder)
            for header in arrays_in(message.body):
                message.array(header)
            survived += 1
        except ProtocolError:
            pass
    assert 1000 < survived < 90_000  # the damage is neither always fatal nor never


@settings(max_examples=300, deadline=None)
@given(frames=st.lists(st.binary(max_size=60), max_size=4), decoder=st.sampled_from(DECODERS))
def test_random_bytes_raise_nothing_but_protocol_errors(frames: list[bytes], decoder: Any) -> None:
    with pytest.raises(ProtocolError):
        decode([PREAMBLE + bytes((MAJOR, MINOR)), *frames], decoder)


def test_importing_the_protocol_loads_neither_blender_nor_the_library() -> None:
    code = (
        "import sys; import blender_addon.protocol\n"
        "strangers = {'bpy', 'zmq', 'torch', 'geneman', 'backend', 'zstandard'}\n"
        "sys.exit(' '.join(strangers & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr


def test_job_states_are_words() -> None:
    assert [state.value for state in JobState] == [
        "queued",
        "running",
        "cancelling",
        "done",
        "failed",
        "cancelled",
    ]
