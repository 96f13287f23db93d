"""Keys: made once, read by their owner only, and listed like ssh's."""

import os
import stat
from pathlib import Path

import pytest
import zmq

from backend.exits import Exit, StartError
from backend.keys import (
    AuthorisedKeys,
    Connection,
    KeyPair,
    authorise,
    key_pair,
    read_connection,
    write_connection,
)

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")


def public() -> str:
    return zmq.curve_keypair()[0].decode()


def test_a_pair_is_made_once_and_fits_together(tmp_path: Path) -> None:
    pair = key_pair(tmp_path / "keys" / "server.key")
    assert zmq.curve_public(pair.secret.encode()).decode() == pair.public
    assert key_pair(tmp_path / "keys" / "server.key") == pair
    assert pair.secret not in repr(pair)


@posix
def test_only_the_owner_can_read_keys_and_connection(tmp_path: Path) -> None:
    os.umask(os.umask(0))  # whatever it is
    pair = key_pair(tmp_path / "server.key")
    connection = Connection("127.0.0.1", 1, 2, 3, pair.public, pair, 4, "s")
    write_connection(tmp_path / "connection.json", connection)
    authorise(tmp_path / "authorized_keys", pair.public, "me")
    for name in ("server.key", "connection.json", "authorized_keys"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert read_connection(tmp_path / "connection.json") == connection


@posix
def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key_pair(tmp_path / "server.key")
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(StartError, match=r"readable by its owner only.*mode 644") as caught:
        key_pair(tmp_path / "server.key")
    assert caught.value.code is Exit.KEYS_UNSAFE


@pytest.mark.parametrize("content", [b"", b"{}", b'{"public": "x", "secret": "y"}', b"\xff"])
def test_a_damaged_key_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.key").write_bytes(content)
    (tmp_path / "server.key").chmod(0o600)
    with pytest.raises(StartError, match="must hold a key pair"):
        key_pair(tmp_path / "server.key")


def test_authorised_keys_are_read_again_when_they_change(tmp_path: Path) -> None:
    path, own, other = tmp_path / "authorized_keys", public(), public()
    keys = AuthorisedKeys(path, own)
    assert keys.allows(own)
    assert not keys.allows(other)
    assert not keys.others()
    authorise(path, other, "a laptop")
    assert keys.allows(other)
    assert keys.others()
    authorise(path, other, "the same again")
    assert path.read_text() == f"{other} a laptop\n"
    path.write_text(f"# nobody but\n\n  {own} me\n")
    assert not keys.allows(other)
    path.unlink()
    assert not keys.others()


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_list_that_others_can_write_lets_nobody_in(tmp_path: Path, mode: int) -> None:
    path, own, other = tmp_path / "authorized_keys", public(), public()
    keys = AuthorisedKeys(path, own)
    authorise(path, other, "a laptop")
    assert keys.allows(other)
    path.chmod(mode)
    assert not keys.allows(other)
    assert keys.allows(own)
    with pytest.raises(StartError, match="writable by its owner only") as caught:
        AuthorisedKeys(path, own)
    assert caught.value.code is Exit.KEYS_UNSAFE
    path.chmod(0o644)  # who may read it learns nothing that is secret
    assert keys.allows(other)


@pytest.mark.parametrize("key", ["", "short", "x" * 41, "\\" * 40])
def test_what_is_no_key_is_not_authorised(tmp_path: Path, key: str) -> None:
    with pytest.raises(StartError, match="40 characters of Z85"):
        authorise(tmp_path / "authorized_keys", key, "")
    assert not (tmp_path / "authorized_keys").exists()


def test_a_missing_connection_file_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="start one with `geneman serve`"):
        read_connection(tmp_path / "connection.json")


def test_the_pair_of_a_connection_never_shows_its_secret() -> None:
    pair = KeyPair(public(), public())
    assert pair.secret not in repr(Connection("h", 1, 2, 3, public(), pair, 4, "s"))
