"""Where the view priors' trainings get its people from: rendered now, or found in a folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from geneman.curation.rings import Rings
from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.people import split
from geneman.errors import OptionError
from geneman.training.view_batches import stream

SAY_EVERY = 100
"""Rings between two lines about the rendering."""


def sources(people: Path | None, wardrobe: Path | None, like: Rings) -> tuple[Rings, Rings]:
    """Give the rings to learn from, and those of identities that are never learnt from.

    Args:
        people: Folder of avatars, or nothing where all rings are rendered.
        wardrobe: Folder of clothes to dress bodies with.
        like: Rings of nobody. Validation has the next seed, and no limit.

    Raises:
        OptionError: Neither people nor rendered rings are named.
        MeshFileError: The folder of avatars holds none.
    """
    if people is None and like.folder is None:
        raise OptionError(
            "A view prior learns from people, rendered before or now",
            value="neither --people nor --rings",
            remedy="name a folder of avatars with --people",
        )
    training, held_out = split(people) if people is not None else ((), ())
    clothes = None if wardrobe is None else Wardrobe(wardrobe)
    return (
        replace(like, files=training, wardrobe=clothes),
        replace(like, files=held_out, seed=like.seed + 1, limit=0),
    )


@runtime_checkable
class Rendering(Protocol):
    """What of a training's settings rendering follows."""

    @property
    def workers(self) -> int:
        """Processes that render."""

    @property
    def validation(self) -> int:
        """Rings that validation looks at."""


def render(
    found: tuple[Rings, Rings], count: int, config: Rendering, say: Callable[[str], None]
) -> None:
    """Render rings into their folder, those that are there already excepted.

    Args:
        found: What `sources` gave.
        count: Rings to learn from; of the others as many as validation looks at.
        config: Gives the processes that render.
        say: Is told how far it is.

    Raises:
        OptionError: There is no folder to keep them.
    """
    if found[0].folder is None:
        raise OptionError(
            "--render needs a folder to keep what it renders",
            value="no --rings",
            remedy="name one with --rings",
        )
    for rings, number in zip(found, (count, config.validation), strict=True):
        source = stream(rings, 0, config.workers)
        for done in range(1, number + 1):
            next(source)
            if done % SAY_EVERY == 0 or done == number:
                say(f"{done} of {number} rings")
