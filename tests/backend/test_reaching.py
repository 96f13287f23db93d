"""How a program without a window finds its server."""

import argparse
from pathlib import Path

import pytest

from backend.exits import Exit, StartError
from backend.keys import Connection, KeyPair, key_pair, write_connection
from backend.reaching import add_options, is_named, named_connection, remote
from blender_addon.protocol_addresses import endpoint

KEY = "k" * 40


def named(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize(
    ("address", "host"),
    [("render7:5600", "render7"), ("10.0.0.7:5600", "10.0.0.7"), ("[::7]:5600", "[::7]")],
)
def test_a_server_elsewhere_is_reached_with_a_pair_of_ones_own(
    tmp_path: Path, address: str, host: str
) -> None:
    found = remote(address, KEY, tmp_path / "client.key")
    assert endpoint(found.host, found.requests) == f"tcp://{host}:5600"
    assert (found.control, found.events, found.server_key) == (5601, 5602, KEY)
    assert found.client == key_pair(tmp_path / "client.key")
    assert remote(address, KEY, tmp_path / "client.key") == found


@pytest.mark.parametrize("address", ["", "render7", "render7:", ":5600", "a:0", "a:65534", "a:x"])
def test_what_is_no_address_is_one_sentence(tmp_path: Path, address: str) -> None:
    with pytest.raises(StartError, match="a host and its first port") as caught:
        remote(address, KEY, tmp_path / "client.key")
    assert caught.value.code is Exit.OPTIONS
    assert not (tmp_path / "client.key").exists()


def test_what_is_no_key_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="40 characters of Z85"):
        remote("a:1", "short", tmp_path / "client.key")


@pytest.mark.parametrize(
    ("host", "seen"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.1", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")],
)
def test_a_server_that_listens_everywhere_is_reached_from_here(
    tmp_path: Path, host: str, seen: str
) -> None:
    file = tmp_path / "connection.json"
    write_connection(file, Connection(host, 1, 2, 3, KEY, KeyPair(KEY, KEY)))
    assert named_connection(named("--connection-file", str(file))).host == seen


@pytest.mark.parametrize(
    "options",
    [
        ("--server", "a:1"),
        ("--server-key", KEY),
        ("--server", "a:1", "--server-key", KEY, "--connection-file", "f"),
    ],
)
def test_a_server_is_named_in_one_way(options: tuple[str, ...]) -> None:
    assert is_named(named(*options))
    with pytest.raises(StartError, match="leave out one or add the other"):
        named_connection(named(*options))
    assert not is_named(named())
