"""A client and all that it has told, for tests against a real backend."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from blender_addon.client import Client
from blender_addon.connection import ConnectionFile, Source
from blender_addon.courier import Patience
from blender_addon.orders import NewJob
from blender_addon.protocol import ENDED, Job, JobChanged
from blender_addon.updates import Link, LinkChanged, Outcome, Update
from tests.backend.running import PNG, RECIPE

U = TypeVar("U")
PATIENCE = 120.0
"""Seconds; a worker loads torch first, and other tests may take the processors."""
QUICK = Patience(silence=1.5, ping=0.3, retry=0.1, slowest_retry=0.5)


class Listener:
    """Takes a client's updates, as Blender's main thread would."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.seen: list[Update] = []

    def until(self, true: Callable[[Update], bool], seconds: float = PATIENCE) -> Update:
        """Take updates until one fits, and give it; it may be one that has come already."""
        deadline = time.monotonic() + seconds
        for update in self.seen:
            if true(update):
                return update
        while time.monotonic() < deadline:
            update_ = self.client.take()
            if update_ is None:
                time.sleep(0.01)
                continue
            self.seen.append(update_)
            if true(update_):
                return update_
        raise AssertionError(f"not heard: {[str(one)[:300] for one in self.seen[-20:]]}")

    def forget(self) -> None:
        self.seen.clear()

    def all(self, kind: type[U]) -> list[U]:
        return [one for one in self.seen if isinstance(one, kind)]

    def outcome(self, ticket: str, seconds: float = PATIENCE) -> Outcome:
        found = self.until(lambda u: isinstance(u, Outcome) and u.ticket == ticket, seconds)
        assert isinstance(found, Outcome)
        return found

    def link(self, link: Link, seconds: float = PATIENCE) -> LinkChanged:
        found = self.until(lambda u: isinstance(u, LinkChanged) and u.link is link, seconds)
        assert isinstance(found, LinkChanged)
        return found

    def ready(self) -> LinkChanged:
        def told(update: Update) -> bool:
            welcome = update.welcome if isinstance(update, LinkChanged) else None
            return welcome is not None and welcome.ready

        found = self.until(told)
        assert isinstance(found, LinkChanged)
        return found

    def ended(self, job: str, seconds: float = PATIENCE) -> Job:
        def last(update: Update) -> bool:
            changed = isinstance(update, JobChanged) and update.job.id == job
            return changed and update.job.state in ENDED  # type: ignore[union-attr]

        found = self.until(last, seconds)
        assert isinstance(found, JobChanged)
        return found.job

    def submit(self, folder: Path, prompt: str = "", **wish: Any) -> str:
        """Send the tiny photo and give the job's id."""
        photo = folder / "photo.png"
        photo.write_bytes(PNG)
        wish = {"recipe": RECIPE, "prompt": prompt} | wish
        return self.client.reconstruct(NewJob(photo, **wish))


@contextmanager
def listening(source: Source | Path, **options: Any) -> Iterator[Listener]:
    """Connect a client for a while; afterwards its thread is gone."""
    if isinstance(source, Path):
        source = ConnectionFile(source)
    client = Client(source, version="test", **({"patience": QUICK} | options))
    client.start()
    try:
        yield Listener(client)
    finally:
        client.stop()
        assert client.join(PATIENCE)
