# SPDX-License-Identifier: Apache-2.0
"""What is done for each request: the rules, without sockets.

Everything here answers at once. What must touch large files gives a `Later`: a piece of work for
the file threads and what to do with its outcome, back on the server's own thread.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from backend.jobs import Entry, IllegalMoveError, JobTable
from backend.limits import Allowance, Limits
from backend.refusals import RefusedError
from backend.rules import check_edited, check_start, known_recipe
from backend.specs import Spec
from backend.store import Store
from backend.streaming import ZSTD_LEVEL, Board
from backend.supervisor import Supervisor
from backend.uploads import Files, Upload, add_edits, add_maps, add_photo, unpacked_bytes
from backend.wishes import first_spec, next_spec
from blender_addon.frames import Array, Buffer, Message, Packer, can_compress
from blender_addon.protocol import (
    Cancel,
    Chunk,
    Control,
    Done,
    Fetch,
    FreeMemory,
    GetJob,
    GetMetrics,
    Hello,
    JobIs,
    JobRemoved,
    Jobs,
    JobState,
    Kind,
    ListJobs,
    Metrics,
    Move,
    Ping,
    Remove,
    Reply,
    Request,
    Rerun,
    Shutdown,
    Submit,
    Welcome,
)

log = logging.getLogger("backend")

Answer = tuple[Reply, list[Buffer]]


@dataclass(frozen=True)
class Later:
    """An answer that needs the disk."""

    work: Callable[[], Any]
    """Runs on a file thread; touches nothing but files."""
    then: Callable[[Any], Answer]
    """Turns its outcome into the answer."""
    job: str = ""
    """The job whose files it writes or deletes."""


@dataclass
class Desk:
    """Does what clients ask for, within their limits."""

    table: JobTable
    store: Store
    board: Board
    supervisor: Supervisor
    version: str
    limits: Limits = field(default_factory=Limits)
    shutdown: bool = False
    answered: int = 0
    _allowances: dict[str, Allowance] = field(default_factory=dict)
    _touched: set[str] = field(default_factory=set)
    """The jobs whose files are being written or deleted."""

    def ask(self, message: Message[Request], owner: str) -> Answer | Later:
        """Do what a request wants.

        Raises:
            RefusedError: It cannot be done.
            ProtocolError: One of its arrays is not whole.
        """
        self._allow(owner)
        match message.body:
            case Submit() as wanted:
                return self._submit(message, wanted, owner)
            case Rerun() as wanted:
                return self._rerun(message, wanted, owner)
            case Fetch() as wanted:
                return self._fetch(wanted, owner)
            case Remove(job):
                return self._remove(job, owner)
            case body:
                return self._quick(body, owner)

    def _quick(
        self, body: Hello | ListJobs | GetJob | Move | FreeMemory | GetMetrics, owner: str
    ) -> Answer:
        """Answer what needs no files."""
        match body:
            case Hello():
                return self.welcome(), []
            case ListJobs():
                return self._list(owner), []
            case GetJob(job):
                return self._job_is(self._mine(job, owner).id)
            case Move(job, position):
                self._legally(lambda: self.table.reorder(self._mine(job, owner).id, position))
                self.supervisor.announce_queue()
                return self._list(owner), []
            case FreeMemory():
                return self._free()
            case GetMetrics():
                return Metrics(self.metrics()), []

    def command(self, body: Control, owner: str) -> Answer:
        """Do what a control message wants.

        Raises:
            RefusedError: It cannot be done.
        """
        match body:
            case Ping():
                return Done(), []
            case Shutdown():
                self.shutdown = True
                return Done(), []
            case Cancel(job):
                return self._cancel(self._mine(job, owner))

    def welcome(self) -> Welcome:
        """Say who answers, and what it can do."""
        known = self.supervisor.welcome
        if known is not None:
            return known
        capabilities = ("zstd",) if can_compress() else ()
        return Welcome(self.version, capabilities, ready=False)

    def metrics(self) -> dict[str, float]:
        """Give the server's figures."""
        values: dict[str, float] = {f"jobs.{s}": n for s, n in self.table.counts().items()}
        for stage, (count, total) in self.supervisor.stage_seconds.items():
            values |= {f"stage.{stage}.seconds": total / count, f"stage.{stage}.count": count}
        values["queue.length"] = len(self.table.waiting())
        workers = self.supervisor.workers
        values["workers"] = len(workers)
        values["workers.memory_bytes"] = sum(worker.memory_bytes() for worker in workers)
        values["server.memory_bytes"] = psutil.Process().memory_info().rss
        values["server.answered"] = self.answered
        values["board.bytes"] = self.board.nbytes
        return values

    # ---- one method a request ---------------------------------------------------------------

    def _submit(self, message: Message[Request], wanted: Submit, owner: str) -> Answer | Later:
        if self.table.get(wanted.job) is not None:
            return self._job_is(self._mine(wanted.job, owner).id)
        self._check_room(wanted, owner)
        known = self.supervisor.welcome
        stages = (wanted.start, wanted.until)
        recipe = known_recipe(known, wanted.preset, wanted.recipe, stages)

        def unpack() -> tuple[Spec, Files]:
            upload = Upload()
            add_photo(upload, message, wanted.photo)
            add_maps(upload, message, wanted.maps)
            add_edits(upload, message, wanted.edits, wanted.start)
            check_start(known, wanted.start, upload)
            return first_spec(wanted, upload, recipe), upload.files

        def enter(spec: Spec) -> Answer:
            request = message.envelope.id
            self.table.add(wanted.job, owner=owner, label=wanted.label, spec=spec, request=request)
            size = unpacked_bytes(wanted)
            log.info("job submitted", extra={"facts": {"job": wanted.job, "bytes": size}})
            self.supervisor.announce(wanted.job)
            return self._job_is(wanted.job)

        return self._writing(wanted.job, unpack, enter, anew=True)

    def _rerun(self, message: Message[Request], wanted: Rerun, owner: str) -> Answer | Later:
        entry = self._mine(wanted.job, owner)
        if self.table.knows_request(entry.id, message.envelope.id):
            return self._job_is(entry.id)
        self._must_have_ended(entry)
        self._check_room(wanted, owner)
        known = self.supervisor.welcome
        stages = (wanted.start, wanted.until, *wanted.discard)
        recipe = known_recipe(known, wanted.preset, wanted.recipe, stages)

        def unpack() -> tuple[Spec, Files]:
            upload = Upload()
            add_edits(upload, message, wanted.edits, wanted.start)
            check_edited(known, entry, wanted, upload)
            return next_spec(entry.spec, wanted, upload, recipe), upload.files

        def enter(spec: Spec) -> Answer:
            self._legally(lambda: self.table.again(entry.id, spec, message.envelope.id))
            self.supervisor.announce(entry.id)
            return self._job_is(entry.id)

        return self._writing(entry.id, unpack, enter, anew=False)

    def _writing(
        self,
        job: str,
        unpack: Callable[[], tuple[Spec, Files]],
        then: Callable[[Spec], Answer],
        *,
        anew: bool,
    ) -> Later:
        """Read and keep what came, which takes time, and then do what is to be done."""
        self._touched.add(job)

        def work() -> Spec:
            spec, files = unpack()
            if anew:
                self.store.delete(job)
            self.store.keep(job, files)
            return spec

        return Later(work, then, job)

    def settled(self, job: str) -> None:
        """Note that nobody writes or deletes a job's files any more."""
        self._touched.discard(job)

    def _fetch(self, wanted: Fetch, owner: str) -> Later:
        entry = self._mine(wanted.job, owner)
        found = [a for a in self.table.artefacts(entry.id) if a.name == wanted.name]
        if not found:
            raise RefusedError(
                Kind.INPUT,
                "an artefact must be one that the job lists",
                value=f"'{wanted.name}'",
                remedy="look at the job's artefacts",
            )
        path = self.store.artefact(entry.id, wanted.name)

        packer = Packer(zstd_level=ZSTD_LEVEL if wanted.zstd and can_compress() else 0)

        def read() -> Array:
            with path.open("rb") as file:
                file.seek(min(wanted.offset, found[0].size))
                return packer.add_file(file.read(wanted.length))

        def chunk(data: Array) -> Answer:
            return Chunk(data, wanted.offset, found[0]), packer.frames

        return Later(read, chunk)

    def _remove(self, job: str, owner: str) -> Later:
        entry = self._mine(job, owner)
        self._must_have_ended(entry)
        return self.forget(entry, "request")

    def forget(self, entry: Entry, reason: str) -> Later:
        """Take an ended job off table and board, and give what deletes its files."""
        self._legally(lambda: self.table.remove(entry.id))
        self._touched.add(entry.id)
        log.info("job removed", extra={"facts": {"job": entry.id, "reason": reason}})
        self.board.clear(entry.id)
        self.board.post(entry.owner, JobRemoved(entry.id, reason), parent=entry.request)
        return Later(lambda: self.store.delete(entry.id), lambda _: (Done(), []), entry.id)

    def _cancel(self, entry: Entry) -> Answer:
        if entry.state is JobState.RUNNING:
            self.supervisor.cancel(entry)
        elif entry.state is JobState.QUEUED:
            self.table.move(entry.id, JobState.CANCELLED)
            self.supervisor.announce(entry.id)
            self.supervisor.announce_queue()
        return self._job_is(entry.id)

    def _free(self) -> Answer:
        if not self.supervisor.free():
            raise RefusedError(
                Kind.STATE,
                "memory can be freed while no job runs",
                value="a running job",
                remedy="cancel it or wait",
            )
        return Done(), []

    def _list(self, owner: str) -> Jobs:
        return Jobs(tuple(job for _, job in self.table.describe_all(owner)))

    def _job_is(self, job: str) -> Answer:
        described = self.table.describe(job)
        if described is None:
            raise _unknown(job)
        entry = self.table.get(job)
        return JobIs(described, entry.spec.wish if entry else None), []

    # ---- rules ------------------------------------------------------------------------------

    def _allow(self, owner: str) -> None:
        self.answered += 1
        allowance = self._allowances.setdefault(owner, Allowance(self.limits, self.limits.burst))
        if not allowance.take():
            rate = self.limits.requests_per_second
            raise RefusedError(
                Kind.LIMIT,
                f"a client may ask {rate:.0f} times a second",
                value="more",
                remedy="wait a second",
            )

    def _mine(self, job: str, owner: str) -> Entry:
        """Give a job of this client; those of others do not exist for it."""
        entry = self.table.get(job)
        if entry is None or entry.owner != owner:
            raise _unknown(job)
        return entry

    def _check_room(self, wanted: Submit | Rerun, owner: str) -> None:
        job, incoming = wanted.job, unpacked_bytes(wanted)
        self.store.check_space(incoming)
        open_jobs, jobs, size = self.table.usage(owner)
        known = self.table.get(job) is not None
        for rule, value, limit in (
            ("bytes in one message", incoming, self.limits.message_bytes),
            ("open jobs", open_jobs + 1, self.limits.open_jobs),
            ("jobs", jobs + (not known), self.limits.jobs),
            ("bytes on the server", size + incoming, self.limits.disk_bytes),
        ):
            if value > limit:
                raise RefusedError(
                    Kind.LIMIT,
                    f"a client may have {limit} {rule}",
                    value=value,
                    remedy="remove old jobs, or wait for the open ones",
                )
        if job in self._touched:
            raise RefusedError(
                Kind.STATE,
                "a job is sent when nothing is done with its files",
                value="one whose files are being written or deleted",
                remedy="send it again in a moment",
            )

    def _must_have_ended(self, entry: Entry) -> None:
        if entry.state not in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
            raise RefusedError(
                Kind.STATE,
                "the job must have ended",
                value=f"one that is {entry.state.value}",
                remedy="cancel it or wait",
            )

    def _legally(self, change: Callable[[], object]) -> None:
        try:
            change()
        except IllegalMoveError as error:
            raise RefusedError(
                Kind.STATE,
                "the job must be in a state in which that can be done",
                value=f"one that is {error.state.value if error.state else 'gone'}",
                remedy="look at its state and try again",
            ) from error


def _unknown(job: str) -> RefusedError:
    return RefusedError(
        Kind.UNKNOWN_JOB, "the job must be one of yours", value=f"'{job}'", remedy="list your jobs"
    )
