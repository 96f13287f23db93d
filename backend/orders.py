# SPDX-License-Identifier: Apache-2.0
"""What server and worker say to each other: orders go down, reports come up."""

from typing import Literal

import msgspec

from backend.specs import Spec
from blender_addon.protocol import Artefact, Failure, OfStage, Problem, StageIs, Warming, Welcome


class Do(msgspec.Struct, frozen=True, tag="do"):
    """Compute a job; answered by `Ended`."""

    job: str
    folder: str
    """Holds `input` and `run`."""
    spec: Spec


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End the job at its next step: write a checkpoint first if there is time for it."""

    job: str
    checkpoint: bool


Order = Do | Stop


class Described(msgspec.Struct, frozen=True, tag="described"):
    """The first report: what this worker can do."""

    welcome: Welcome


class Unable(msgspec.Struct, frozen=True, tag="unable"):
    """The worker cannot do anything here, and leaves."""

    problem: Problem


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The worker lives, whatever its job does."""


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """A stage's result lies on disk, or lay there before."""

    job: str
    stage: str
    seconds: float
    kept: bool
    artefacts: tuple[Artefact, ...]
    stages: tuple[StageIs, ...]
    """All of them, as they stand now."""


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A job has ended, one way or another."""

    job: str
    outcome: Literal["done", "stopped", "failed"]
    failure: Failure | None = None
    stages: tuple[StageIs, ...] = ()


WorkerReport = Warming | Described | Unable | Beat | Saved | Ended | OfStage

ORDERS = msgspec.msgpack.Decoder(Order)
REPORTS = msgspec.msgpack.Decoder(WorkerReport)
