"""Weights from a hub: its real client against a server here that speaks the hub's language."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub.constants
import pytest

from geneman.__main__ import main
from geneman.errors import MissingComponentError, OptionError
from geneman.priors import catalogue, weights
from geneman.priors.catalogue import Commercial, Hub, Weights

FILES = {
    "models/tiny/config.json": b'{"a": 1}',
    "models/tiny/net.safetensors": b"weights" * 300_000,
    "models/tiny/net.bin": b"pickled",
    "README.md": b"hello",
}
COMMIT = "a" * 40


class Speaking(BaseHTTPRequestHandler):
    """A hub with one repository; it may hang up in the middle of a file."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        hub = self.server
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/some/people/tree/main"):
            part = path.removeprefix("/api/models/some/people/tree/main").strip("/")
            listed = [
                entry(name, data) for name, data in hub.files.items() if name.startswith(part)
            ]
            self.send(200, json.dumps(listed).encode(), {"Content-Type": "application/json"}, body)
            return
        name = path.removeprefix("/some/people/resolve/main/")
        if name not in hub.files:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return
        data = hub.files[name]
        told = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range")
        if wanted and body:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            told["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send(206, data[start:], told, body)
        else:
            self.send(200, data, told, body)

    def send(self, code: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


def entry(name: str, data: bytes) -> dict[str, object]:
    told: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
    if name.endswith(".safetensors"):
        digest = hashlib.sha256(data).hexdigest()
        told["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
    return told


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Speaking)
        self.files, self.asked = dict(FILES), list[tuple[str, str, str | None]]()


TINY = Weights(
    "tiny",
    "Tiny networks",
    "CC BY-NC 4.0",
    Commercial.NO,
    hub=Hub("some/people", ("*.safetensors", "*.json", "*.bin"), folder="models/tiny"),
    expects=("config.json", "net.safetensors"),
    gigabytes=0.001,
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    monkeypatch.setattr(weights, "TABLE", (TINY,))
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    yield server
    server.shutdown()
    server.server_close()


def test_a_licence_must_be_accepted_before_anything_is_sent(hub: Server) -> None:
    with pytest.raises(OptionError, match=r"CC BY-NC 4\.0; commercial use: no.*--accept-licences"):
        weights.get("tiny")
    assert hub.asked == []


def test_the_part_that_is_wanted_is_fetched_without_its_pickles(
    hub: Server, tmp_path: Path
) -> None:
    said: list[str] = []
    paths = weights.get("tiny", said.append, accept=True)
    place = tmp_path / "weights" / "tiny"
    assert sorted(path.name for path in paths) == ["config.json", "net.safetensors"]
    assert (place / "net.safetensors").read_bytes() == FILES["models/tiny/net.safetensors"]
    assert weights.present("tiny")
    assert weights.verify("tiny") == []
    assert not (place / ".partial").exists()
    assert any("net.safetensors (2 MB)" in line for line in said)
    asked = len(hub.asked)
    assert weights.get("tiny", accept=True) == paths
    assert len(hub.asked) == asked  # nothing more to ask


def test_a_damaged_file_is_found_and_fetched_again(hub: Server, tmp_path: Path) -> None:
    weights.get("tiny", accept=True)
    path = tmp_path / "weights/tiny/net.safetensors"
    path.write_bytes(b"WEIGHTS" * 300_000)
    assert weights.verify("tiny") == ["net.safetensors"]
    weights.get("tiny", accept=True)
    assert weights.verify("tiny") == []


def test_a_download_that_was_cut_off_goes_on(hub: Server, tmp_path: Path) -> None:
    data = FILES["models/tiny/net.safetensors"]
    held = tmp_path / "weights/tiny/.partial/models/tiny/net.safetensors"
    held.parent.mkdir(parents=True)
    held.write_bytes(data[:1_000_000])
    weights.get("tiny", accept=True)
    assert weights.verify("tiny") == []
    ranges = [wanted for _, path, wanted in hub.asked if "net.safetensors" in path and wanted]
    assert "bytes=1000000-" in ranges


def test_a_file_that_is_not_what_the_hub_says_is_not_kept(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = entry

    def lying(name: str, data: bytes) -> dict[str, object]:
        told = honest(name, data)
        if "lfs" in told:
            told["lfs"] = {"oid": "f" * 64, "size": len(data), "pointerSize": 130}
        return told

    monkeypatch.setitem(globals(), "entry", lying)
    with pytest.raises(MissingComponentError, match=r"must have sha256 ffff"):
        weights.get("tiny", accept=True)
    assert not (tmp_path / "weights/tiny/net.safetensors").exists()


def test_a_hub_that_cannot_be_reached_or_lacks_the_files_is_told(hub: Server) -> None:
    hub.files = {}
    with pytest.raises(MissingComponentError, match=r"must have files as \*\.safetensors"):
        weights.get("tiny", accept=True)
    hub.files = {"models/tiny/config.json": b"{}"}
    with pytest.raises(MissingComponentError, match=r"without net\.safetensors"):
        weights.get("tiny", accept=True)


# ---- folders that people have -------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalogue, "TABLE", (TINY,))
    monkeypatch.setattr(weights, "TABLE", (TINY,))
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "config.json").write_text("{}")
    (shelf / "net.bin").write_bytes(b"pickled")
    return shelf


def test_a_folder_is_taken_without_its_pickles(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shelf / "net.safetensors").write_bytes(b"safe")
    arguments = ["weights", "get", "tiny", "--from", str(shelf), "--accept-licences"]
    assert main(arguments) == 0
    place = tmp_path / "weights" / "tiny"
    assert {path.name for path in place.iterdir()} == {
        *("config.json", "net.safetensors", "sha256.json")
    }
    assert main(["weights", "verify", "tiny"]) == 0
    assert main(["weights", "path", "tiny"]) == 0
    assert str(place) in capsys.readouterr().out
    (place / "net.safetensors").unlink()  # the user's own file stays
    assert (shelf / "net.safetensors").is_file()
    assert main(["weights", "verify", "tiny"]) == 2
    assert "net.safetensors missing or changed" in capsys.readouterr().err


def test_a_folder_of_pickles_is_refused(shelf: Path) -> None:
    with pytest.raises(MissingComponentError, match="pickled files run code when read"):
        weights.get("tiny", accept=True, source=shelf)


def test_a_folder_serves_one_role(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "get", "--from", str(shelf)]) == 2
    assert "--from gives the files of one role, but got 0 roles" in capsys.readouterr().err


# ---- the catalogue ------------------------------------------------------------------------------


def test_every_model_names_source_licence_and_files() -> None:
    roles = [known.role for known in catalogue.TABLE]
    assert len(set(roles)) == len(roles)
    for known in catalogue.TABLE:
        assert known.title, known.role
        assert known.licence, known.role
        assert known.files or known.expects, known.role
        assert (known.wheel is None) == (not known.files), known.role
        assert (known.hub is None) == (not known.expects), known.role
    pickled = {known.role for known in catalogue.TABLE if known.hub and known.hub.pickled}
    assert pickled == {"geneman-3d"}  # published in no other form
    commercial = {known.role: known.commercial for known in catalogue.TABLE}
    assert {role for role, use in commercial.items() if use is Commercial.NO} == {
        *("normals", "depth", "caption")
    }
    assert set(catalogue.REQUIRED) | catalogue.OPTIONAL | {"person"} == set(roles)
