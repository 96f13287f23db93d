# SPDX-License-Identifier: Apache-2.0
"""`python -m backend` (= `geneman serve`): start the server and serve until told to stop."""

import argparse
import ipaddress
import logging
import math
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import filelock
import psutil

from backend.cluster import Share, ray_posts
from backend.desk import Desk, Later
from backend.durable import keep_names
from backend.exits import Exit, StartError
from backend.jobs import JobTable
from backend.keys import AuthorisedKeys, Connection, authorise, key_pair, write_connection
from backend.reaching import default_store
from backend.records import log_to_stderr
from backend.server import Server
from backend.sockets import Address, Waker
from backend.store import Store
from backend.streaming import Board
from backend.supervisor import Patience, Supervisor
from backend.workers import Post, local_posts
from blender_addon.protocol import ENDED

log = logging.getLogger("backend")

DAY_SECONDS = 86_400
PARENT_SECONDS = 1.0
"""How often the parent is looked for."""


def options() -> argparse.ArgumentParser:
    """Give the command line."""
    parser = argparse.ArgumentParser(prog="geneman serve", description=__doc__)
    patience, share = Patience(), Share()
    add = parser.add_argument
    add("--store", type=Path, default=default_store(), help="folder of jobs and keys")
    add("--connection-file", type=Path, help="where to say how to connect (STORE/connection.json)")
    add("--bind", default="127.0.0.1", help="address to listen on; others need authorised keys")
    add("--port", type=int, default=0, help="first of three ports; 0: the system chooses")
    add(
        "--device",
        action="append",
        help="auto, cpu, cuda or cuda:1; given several times, one worker each",
    )
    add("--executor", default="local", choices=("local", "ray"), help="where jobs run")
    add("--ray-address", help="of the cluster to join; without it one is started on this machine")
    add("--ray-gpus", type=float, default=share.gpus, help="of a job on the cluster; 0: on CPUs")
    add("--ray-cpus", type=float, default=share.cpus, help="of a job on the cluster")
    add("--workers", type=int, help="on the cluster at a time; default: as many as it has room for")
    add("--authorize", metavar="KEY", help="let the holder of this public key in, and end")
    add("--name", default="", help="whose key it is")
    add("--parent-pid", type=int, help="stop when this process is gone")
    add("--keep-days", type=float, help="remove jobs that ended so long ago; default: keep all")
    add("--keep-gb", type=float, help="remove the oldest ended jobs beyond so much; default: none")
    add("--idle-seconds", type=float, default=patience.idle, help="then free the device")
    add("--hang-seconds", type=float, default=patience.hang, help="without a step: start again")
    add("--silence-seconds", type=float, default=patience.silence, help="without a sign of life")
    add("--restarts", type=int, default=patience.restarts, help="of a job whose worker died")
    add("--program", default="backend.reconstruction", help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, and give the process's exit code (see `Exit`)."""
    wanted = options().parse_args(arguments)
    log_to_stderr()
    try:
        if wanted.authorize:
            authorise(wanted.store / "authorized_keys", wanted.authorize, wanted.name)
            return Exit.STOPPED
        with ExitStack() as stack:
            return _serve(wanted, stack)
    except StartError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.code


def _serve(wanted: argparse.Namespace, stack: ExitStack) -> int:
    store = _locked_store(wanted.store, stack)
    keys = key_pair(wanted.store / "server.key")
    own = key_pair(wanted.store / "client.key")
    authorised = AuthorisedKeys(wanted.store / "authorized_keys", own.public)
    _check_address(wanted.bind, authorised)
    table = _table(wanted.store / "jobs.sqlite", stack)
    board = Board()
    waker = Waker()
    stack.callback(waker.close)
    supervisor = Supervisor(
        table=table,
        store=store,
        board=board,
        posts=_posts(wanted, waker.wake),
        woken=waker.wake,
        patience=Patience(
            restarts=wanted.restarts,
            idle=wanted.idle_seconds,
            hang=wanted.hang_seconds,
            silence=wanted.silence_seconds,
        ),
        on_end=lambda job: server.in_background(
            lambda: store.size(job), lambda size: table.count_bytes(job, size)
        ),
    )
    desk = Desk(table, store, board, supervisor, version("geneman"))
    address = Address(wanted.bind, wanted.port)
    server = Server(desk, address, waker, keys=keys, authorised=authorised)
    stack.callback(server.close)
    _recover(desk)
    requests, control, events = server.ports
    connection = Connection(
        host=wanted.bind,
        requests=requests,
        control=control,
        events=events,
        server_key=keys.public,
        client=own,
        pid=os.getpid(),
        session=server.session,
    )
    file = wanted.connection_file or wanted.store / "connection.json"
    write_connection(file, connection)
    stack.callback(file.unlink, missing_ok=True)
    log.info("serving", extra={"facts": {"ports": server.ports, "session": server.session}})
    stop, parent = _asked_to_stop(waker.wake), _parent_watch(wanted.parent_pid)
    try:
        server.run(stop, parent, _policy(desk, wanted))
    except sqlite3.OperationalError as error:
        # What was not written has not happened: the next start finds the jobs as they stood.
        raise _unusable(wanted.store / "jobs.sqlite", error) from error
    log.info("stopped")
    return Exit.STOPPED


def _posts(wanted: argparse.Namespace, woken: Callable[[], None]) -> list[Post]:
    if wanted.executor == "local":
        return local_posts(wanted.program, wanted.device or ["auto"], woken)
    share = Share(wanted.ray_gpus, wanted.ray_cpus, wanted.workers)
    return ray_posts(wanted.program, share, wanted.ray_address, woken)


def _locked_store(path: Path, stack: ExitStack) -> Store:
    """Take the store for this process alone; the system drops the lock with the process."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep_names(path.parent)
        stack.enter_context(filelock.FileLock(path / ".lock", timeout=0))
    except filelock.Timeout as error:
        raise StartError(
            Exit.STORE_IN_USE,
            f"One server at a time can work on a store, but another has '{path}': "
            "use that one, or choose another folder with --store.",
        ) from error
    except OSError as error:
        raise _unusable(path, error) from error
    return Store(path)


def _table(path: Path, stack: ExitStack) -> JobTable:
    try:
        table = JobTable(path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    stack.callback(table.close)
    return table


def _unusable(path: Path, error: Exception) -> StartError:
    return StartError(
        Exit.STORE_UNUSABLE,
        f"The store must be readable and writable, but '{path}' is not ({error}): "
        "mend it, or choose another folder with --store.",
    )


def _check_address(bind: str, authorised: AuthorisedKeys) -> None:
    """Refuse to listen to other machines before anybody is authorised.

    Raises:
        StartError: Nobody is, or it is no address.
    """
    try:
        loopback = ipaddress.ip_address(bind).is_loopback
    except ValueError as error:
        raise StartError(
            Exit.OPTIONS, f"--bind must be an IP address, but got '{bind}': as in 127.0.0.1."
        ) from error
    if not loopback and not authorised.others():
        raise StartError(
            Exit.OPTIONS,
            f"A server that other machines can reach must know their keys, but got --bind {bind} "
            "and no authorised key: add one with `geneman serve --authorize KEY`.",
        )


def _recover(desk: Desk) -> None:
    """Settle what a server that died left behind, and put every job on the board."""
    for job, state in desk.table.recover():
        entry = desk.table.get(job)
        log.info("job recovered", extra={"facts": {"job": job, "state": state.value}})
        if entry is not None:
            desk.supervisor.limit_restarts(entry)
    entries = desk.table.all()
    for name in desk.store.strangers({entry.id for entry in entries}):
        log.info("unfinished upload deleted", extra={"facts": {"job": name}})
        desk.store.delete(name)
    for entry in entries:
        desk.supervisor.announce(entry.id)


def _asked_to_stop(wake: Callable[[], None]) -> threading.Event:
    """Let the usual signals ask the server to stop."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        wake()

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ask)
    return asked


def _parent_watch(pid: int | None) -> Callable[[], bool]:
    """Give a test whether the process that wants us is still there (and no later namesake)."""
    if pid is None:
        return lambda: True
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return lambda: False

    looked, found = 0.0, True

    def there() -> bool:
        nonlocal looked, found
        if time.monotonic() - looked > PARENT_SECONDS:
            looked = time.monotonic()
            found = parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        return found

    return there


def _policy(desk: Desk, wanted: argparse.Namespace) -> Callable[[], list[Later]]:
    """Give the deletions that are due; what they delete is off the table already."""

    def due() -> list[Later]:
        desk.table.take_ballast()
        before = time.time() - (wanted.keep_days or 0) * DAY_SECONDS
        room = math.inf if wanted.keep_gb is None else wanted.keep_gb * 1e9
        gone = []
        newest_first = sorted(desk.table.all(), key=lambda entry: -entry.changed)
        for entry in newest_first:
            room -= entry.bytes
            if entry.state not in ENDED:
                continue
            if wanted.keep_days is not None and entry.changed < before:
                reason = f"it ended more than {wanted.keep_days:g} days ago (--keep-days)"
            elif room < 0:
                reason = f"newer jobs fill the {wanted.keep_gb:g} GB that are kept (--keep-gb)"
            else:
                continue
            gone.append(desk.forget(entry, reason))
        return gone

    return due


if __name__ == "__main__":
    sys.exit(main())
