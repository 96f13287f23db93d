"""A server for all tests of a file, and a client for each."""

from collections.abc import Iterator

import pytest

from backend.client import Client
from tests.backend.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("backend") / "store") as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with server.client() as found:
        yield found
