# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a backend listens, and with which keys: a connection file here, or a server elsewhere.

A public key is 40 characters of Z85. Loading this opens no socket.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from .protocol_addresses import endpoint, parted, reachable
from .troubles import Remedy, Trouble, TroubleError

Z85 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

PRIVATE = 0o600
THIS_MACHINE = "this machine"
"""The place of a backend that runs here."""


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair."""

    public: Z85
    secret: Z85

    def __repr__(self) -> str:
        """Keep the secret out of logs."""
        return f"KeyPair({self.public!r})"


class Connection(msgspec.Struct, frozen=True):
    """All that a client needs; the same fields as the backend's `connection.json`."""

    host: str
    requests: Port
    control: Port
    events: Port
    server_key: Z85
    client: KeyPair
    pid: int = 0
    """Of the server, on its own machine; 0 is unknown."""
    session: str = ""

    def endpoint(self, port: int) -> Any:
        """Give what zmq connects to, as bytes.

        pyzmq 26.4.0, which Blender's Pythons need, frees the bytes of a str before zmq reads
        them: connecting then fails now and then.
        """
        return endpoint(self.host, port).encode()


class Source(Protocol):
    """Says where the backend is, anew at each attempt: a restarted one has other ports."""

    @property
    def place(self) -> str:
        """Name it for people, as in 'this machine' or 'render7:5600'."""

    def connection(self) -> Connection:
        """Read or make the connection; quick.

        Raises:
            TroubleError: There is none, or it cannot be used.
        """


@dataclass(frozen=True)
class ConnectionFile:
    """A `Source`: the file that a server on this machine (or a shared disk) writes."""

    path: Path
    host: str = ""
    """Instead of the file's host: for a file that was brought here from another machine."""

    @property
    def place(self) -> str:
        """Name it for people."""
        return self.host or THIS_MACHINE

    def connection(self) -> Connection:
        """Read the file.

        Raises:
            TroubleError: It is missing or damaged.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Connection)
        except FileNotFoundError as error:
            raise _unusable(
                "A running backend must have written its connection file, but there is no "
                "'{path}': start the backend.",
                Remedy.START,
                path=self.path,
            ) from error
        except (OSError, msgspec.DecodeError) as error:
            raise _unusable(
                "A connection file must be readable and whole, but '{path}' is not ({cause}): "
                "start the backend anew, or fetch the file again.",
                Remedy.RESTART,
                path=self.path,
                cause=error,
            ) from error
        return msgspec.structs.replace(found, host=self.host or reachable(found.host))


@dataclass(frozen=True)
class RemoteServer:
    """A `Source`: a server on another machine, which must have authorised our public key."""

    address: str
    """As in 'render7:5600' or '[2001:db8::7]:5600': host and first of three ports."""
    server_key: str
    """The server's public key."""
    keys: Path
    """File of our own pair; made at the first use (see `own_keys`)."""

    @property
    def place(self) -> str:
        """Name it for people."""
        return self.address

    def connection(self) -> Connection:
        """Give the connection.

        Raises:
            TroubleError: The address or key is none, or our key file cannot be read or written.
        """
        try:
            host, first = parted(self.address.strip())
        except ValueError as error:
            raise _unusable(
                "A backend's address must be a host and its first port, but got '{address}': as in "
                "render7:5600.",
                Remedy.CONNECT,
                address=self.address[:80],
            ) from error
        try:
            key = msgspec.convert(self.server_key.strip(), Z85)
        except msgspec.ValidationError as error:
            raise _unusable(
                "A server's key must be 40 characters of Z85, but got '{key}': copy 'server_key' "
                "from connection.json over there.",
                Remedy.CONNECT,
                key=self.server_key[:60],
            ) from error
        own = own_keys(self.keys)
        return Connection(host, first, first + 1, first + 2, server_key=key, client=own)


def own_keys(path: Path) -> KeyPair:
    """Read our key pair, or make one at the first use; only its owner can read the file.

    The public half is what somebody gives to `geneman serve --authorize KEY` over there.

    Raises:
        TroubleError: The file is damaged or cannot be read or written.
    """
    import zmq

    try:
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=KeyPair)
        public, secret = zmq.curve_keypair()
        pair = KeyPair(public.decode(), secret.decode())
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            file.write(msgspec.json.encode(pair))
        os.replace(partial, path)
    except (OSError, msgspec.DecodeError) as error:
        raise _unusable(
            "This machine's keys must lie in a file of ours, but '{path}' cannot be used "
            "({cause}): mend or delete it, and have the new key authorised over there.",
            Remedy.CONNECT,
            path=path,
            cause=error,
        ) from error
    return pair


def _unusable(text: str, remedy: Remedy, **values: object) -> TroubleError:
    return TroubleError(Trouble(text, remedy, values=values))
