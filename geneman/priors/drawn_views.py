"""Views that a prior has drawn of a person, once for a whole stage."""

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from geneman.camera import Orbit
from geneman.priors.bundle import Priors, Views, ViewSampler
from geneman.view import ReferenceView

ELEVATIONS = (0.0, 15.0)
"""Degrees, in turn: the crown of the head is seen as well."""


def ring(count: int) -> tuple[Orbit, ...]:
    """Give cameras evenly around the person, without the photo's own side."""
    return tuple(
        Orbit(360.0 * (number + 1) / (count + 1), ELEVATIONS[number % len(ELEVATIONS)])
        for number in range(count)
    )


class DrawnViews:
    """Draws views when they are first asked for, and keeps them with a stage's checkpoint."""

    def __init__(
        self, sampler: ViewSampler | None, orbits: Sequence[Orbit], generator: torch.Generator
    ) -> None:
        self.sampler, self.orbits, self.generator = sampler, tuple(orbits), generator
        self.views: Views | None = None

    @staticmethod
    def around(
        view: ReferenceView, priors: Priors, count: int, generator: torch.Generator
    ) -> "DrawnViews":
        """Let the bundle's prior draw a ring, if it has one and views are wanted."""
        wanted = priors.views is not None and count > 0
        sampler = priors.views.condition(view) if priors.views is not None and wanted else None
        return DrawnViews(sampler, ring(count) if wanted else (), generator)

    def __bool__(self) -> bool:
        """Say whether there is anything to learn from."""
        return self.sampler is not None

    def __call__(self) -> Views:
        """Give the views.

        Raises:
            RuntimeError: Nobody can draw them: ask whether there are any before.
        """
        if self.views is None:
            if self.sampler is None:
                raise RuntimeError("There is no prior that draws views.")
            self.views = self.sampler(self.orbits, generator=self.generator)
        return self.views

    def state_dict(self) -> dict[str, object]:
        """Give what has been drawn."""
        if self.views is None:
            return {}
        names = (item.name for item in fields(Views))
        return {name: getattr(self.views, name) for name in names if name != "orbits"}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on with what had been drawn."""
        maps = {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
        self.views = Views(orbits=self.orbits, **maps) if maps else None
