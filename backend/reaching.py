# SPDX-License-Identifier: Apache-2.0
"""How a program without a window finds its server: by connection file, or by address and key."""

import argparse
from pathlib import Path

import msgspec
import platformdirs

from backend.exits import Exit, StartError
from backend.keys import Z85, Connection, key_pair, read_connection
from blender_addon.protocol_addresses import parted, reachable


def default_store() -> Path:
    """Give the folder that each system keeps a program's state in."""
    return platformdirs.user_state_path("geneman") / "backend"


def own_key_file() -> Path:
    """Give the file of the pair that this machine's user has, whether or not a server runs here."""
    return default_store() / "client.key"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line name the server."""
    parser.add_argument("--connection-file", type=Path, help="what `geneman serve` wrote")
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="on another machine: its first port; needs a key"
    )
    parser.add_argument(
        "--server-key", metavar="KEY", help="that server's public key: 'server_key' of its file"
    )


def is_named(wanted: argparse.Namespace) -> bool:
    """Say whether the command line names a server."""
    return any((wanted.connection_file, wanted.server, wanted.server_key))


def named_connection(wanted: argparse.Namespace) -> Connection:
    """Give the connection that the command line names, or that of this machine's own server.

    Raises:
        StartError: Its options break a rule, or there is no such file.
    """
    if not wanted.server and not wanted.server_key:
        found = read_connection(wanted.connection_file or default_store() / "connection.json")
        return msgspec.structs.replace(found, host=reachable(found.host))
    if wanted.connection_file or not (wanted.server and wanted.server_key):
        raise StartError(
            Exit.OPTIONS,
            "A server must be named by --connection-file, or by --server and --server-key, "
            "but got another choice of these: leave out one or add the other.",
        )
    return remote(wanted.server, wanted.server_key, own_key_file())


def remote(address: str, server_key: str, keys: Path) -> Connection:
    """Give the connection to a server on another machine, which must have authorised our key.

    Args:
        address: As in 'render7:5600' or '[2001:db8::7]:5600'.
        server_key: Its public key.
        keys: File of our own pair, made at the first use.

    Raises:
        StartError: The address or the key is none, or our key file is unsafe.
    """
    try:
        host, first = parted(address)
    except ValueError as error:
        raise StartError(
            Exit.OPTIONS,
            "A server's address must be a host and its first port, but got "
            f"'{address[:80]}': as in render7:5600.",
        ) from error
    try:
        key = msgspec.convert(server_key, Z85)
    except msgspec.ValidationError as error:
        raise StartError(
            Exit.OPTIONS,
            f"A server's key must be 40 characters of Z85, but got '{server_key[:60]}': "
            "copy 'server_key' from connection.json over there.",
        ) from error
    return Connection(host, first, first + 1, first + 2, server_key=key, client=key_pair(keys))
