"""A training that ends by the clock, and writes what it has made every few minutes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geneman.errors import Cancelled
from geneman.progress import Event, Report, StepDone
from geneman.training.learning_curves import read

ENDLESS = 10_000_000
"""Steps that no run reaches: minutes end it."""


@dataclass
class Timed:
    """How long a training runs, and when it writes."""

    minutes: float
    write_every: float
    """Minutes."""
    before: float = 0.0
    """Seconds that earlier runs in the same folder took."""
    began: float = field(default_factory=time.monotonic)
    written: float = field(default_factory=time.monotonic)

    @staticmethod
    def of(out: Path, minutes: float, write_every: float) -> "Timed":
        """Go on after the seconds that a folder's `learning.csv` has noted."""
        rows = read(out / "learning.csv")
        return Timed(minutes, write_every, rows[-1]["seconds"] if rows else 0.0)

    def seconds(self) -> float:
        """Give the seconds of all runs."""
        return self.before + time.monotonic() - self.began

    def due(self) -> bool:
        """Say whether it is time to write."""
        return time.monotonic() - self.written > 60 * self.write_every

    def share(self) -> float:
        """Give the share of the minutes that is over."""
        return (time.monotonic() - self.began) / (60 * self.minutes)

    def cooled(self, share: float) -> float:
        """Give what is left of the learning rate: it falls over the last share of the minutes.

        A hundredth is left, so that the last steps still do something; with no share it stays.
        """
        return min(1.0, max(0.01, (1 - self.share()) / share)) if share else 1.0

    def over(self) -> bool:
        """Say whether the time is up."""
        return self.share() >= 1

    def watched(
        self, report: Report, write: Callable[[StepDone], None], keep: Callable[[int], None]
    ) -> Report:
        """Give a report that writes when it is due, and ends the training when it is over.

        Args:
            report: Is told everything, and may raise `Cancelled`.
            write: Measures and writes what the steps so far have made.
            keep: Keeps the state from which a step is to be taken; after each writing, and
                when the training ends.
        """

        def watch(event: Event) -> None:
            try:
                report(event)
                if isinstance(event, StepDone) and (self.due() or self.over()):
                    write(event)
                    self.written = time.monotonic()
                    if self.over():
                        raise Cancelled
                    keep(event.step + 1)
            except Cancelled:
                if isinstance(event, StepDone):
                    keep(event.step + 1)
                raise

        return watch


def device_name(device: torch.device) -> str:
    """Say in a model card what weights were made on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads"
