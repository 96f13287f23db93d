# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the server: CURVE key pairs, the list of authorised keys, the connection file.

All lie in one folder, readable by their owner only:

    server.key        the server's pair; clients must know its public half
    client.key        the pair of the person who runs the server: always authorised
    authorized_keys   further public keys, one a line with a name behind it, as ssh has it
    connection.json   where the running server listens, with what a local client needs

A public key is 40 characters of Z85.
"""

import logging
import os
import stat
from pathlib import Path
from typing import Annotated

import msgspec
import zmq

from backend.durable import keep_names, write_durably
from backend.exits import Exit, StartError

log = logging.getLogger("backend")

OTHERS = 0o077
OTHERS_MAY_WRITE = 0o022
Z85_LENGTH = 40
Z85 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")]


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair."""

    public: Z85
    secret: Z85

    def __repr__(self) -> str:
        return f"KeyPair({self.public!r})"


class Connection(msgspec.Struct, frozen=True):
    """All that a client needs; as `connection.json`: who can read it is authorised."""

    host: str
    requests: int
    """Port."""
    control: int
    events: int
    server_key: Z85
    client: KeyPair
    pid: int = 0
    """Of the server, on its own machine; 0 is unknown."""
    session: str = ""


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read: whole or not at all, and on the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(path, data)
    keep_names(path.parent)


def key_pair(path: Path) -> KeyPair:
    """Read a pair, or make one at the first start.

    Raises:
        StartError: Others can read the file, or it holds no pair.
    """
    if not path.exists():
        public, secret = zmq.curve_keypair()
        pair = KeyPair(public.decode(), secret.decode())
        write_private(path, msgspec.json.encode(pair))
        return pair
    _must_be_private(path)
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeyPair)
    except msgspec.DecodeError as error:
        raise StartError(
            Exit.KEYS_UNSAFE,
            f"A key file must hold a key pair, but '{path}' does not: restore it, or delete it and "
            "give the new public key to all clients.",
        ) from error


def _must_be_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name != "nt" and mode & OTHERS:
        raise StartError(
            Exit.KEYS_UNSAFE,
            f"A key file must be readable by its owner only, but '{path}' has mode {mode:o}: "
            f"run chmod 600 '{path}', and make new keys if others may have read it.",
        )


class AuthorisedKeys:
    """The list of public keys that may connect; read again whenever the file changes."""

    def __init__(self, path: Path, own: str) -> None:
        """Authorise `own` and what the file lists; the file need not exist.

        Raises:
            StartError: Others can write the file.
        """
        self._path, self._own = path, own
        self._stamp: tuple[int, int, int] | None = None
        self._listed: frozenset[str] = frozenset()
        if path.exists() and _may_others_write(path.stat().st_mode):
            raise StartError(
                Exit.KEYS_UNSAFE,
                f"The list of authorised keys must be writable by its owner only, but '{path}' has "
                f"mode {stat.S_IMODE(path.stat().st_mode):o}: run chmod 600 '{path}', and look "
                "whose keys are in it.",
            )

    def allows(self, key: str) -> bool:
        """Say whether somebody with this public key may connect."""
        return key == self._own or key in self._current()

    def others(self) -> bool:
        """Say whether anybody but the owner is authorised."""
        return bool(self._current())

    def _current(self) -> frozenset[str]:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_mode)
            if stamp != self._stamp:
                self._listed, self._stamp = self._read(found.st_mode), stamp
        except OSError:  # there is none, or nobody may read it
            self._listed, self._stamp = frozenset(), None
        return self._listed

    def _read(self, mode: int) -> frozenset[str]:
        if _may_others_write(mode):
            log.warning("authorised keys ignored: others can write their file")
            return frozenset()
        lines = self._path.read_text(errors="replace").splitlines()
        words = (line.split() for line in lines)
        return frozenset(w[0] for w in words if w and len(w[0]) == Z85_LENGTH)


def _may_others_write(mode: int) -> bool:
    return os.name != "nt" and bool(mode & OTHERS_MAY_WRITE)


def authorise(path: Path, key: str, name: str) -> None:
    """Append a public key to the list; a running server accepts it from its next connection on.

    Raises:
        StartError: It is no public key.
    """
    try:
        msgspec.convert(key, Z85)
    except msgspec.ValidationError as error:
        raise StartError(
            Exit.OPTIONS,
            f"A public key must be 40 characters of Z85, but got '{key[:60]}': "
            "`geneman jobs key` shows the one of that machine.",
        ) from error
    known = path.read_text() if path.exists() else ""
    if key not in {line.split()[0] for line in known.splitlines() if line.split()}:
        line = f"{key} {' '.join(name.split())}".rstrip()
        write_private(path, f"{known.rstrip()}\n{line}\n".lstrip("\n").encode())


def write_connection(path: Path, connection: Connection) -> None:
    """Tell local clients where the server is."""
    write_private(path, msgspec.json.encode(connection))


def read_connection(path: Path) -> Connection:
    """Learn where the server is.

    Raises:
        StartError: There is no such file, or it is no connection file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Connection)
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(
            Exit.OPTIONS,
            f"A running backend must have written its connection file, but '{path}' cannot be read "
            f"({type(error).__name__}): start one with `geneman serve`.",
        ) from error
