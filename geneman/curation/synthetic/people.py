"""People by number: each index gives one rendered sample, the same on every machine and run."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geneman.curation.synthetic.avatars import avatar_files, identity, read_avatar
from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.sample import Person, Sample, draw_sample

HELD_OUT = 9
"""Every so many identities, one is never trained on."""
UNWORN = "Medi"
"""The outfit that nobody wears in training."""

FITTING = 256
"""Samples for which the same few bodies stay dressed: dressing one costs ten pictures' time."""
DRESSED = 12
"""Bodies among which those samples choose."""


@dataclass(frozen=True)
class People:
    """Rendered samples of avatars and dressed bodies; what one shows is read when it is drawn."""

    files: tuple[Path, ...]
    """Avatars."""
    size: int
    """Pixels along a side."""
    seed: int
    wardrobe: Wardrobe | None = None
    """Dresses bodies, if there is one."""
    bodies: float = 0.4
    """Share of samples that show a dressed body."""
    washed: float = 0.0
    """Share of samples whose clothes show nothing but their own folds."""
    _avatars: dict[Path, Person] = field(default_factory=dict, compare=False, repr=False)
    _bodies: dict[int, Person] = field(default_factory=dict, compare=False, repr=False)

    def sample(self, index: int) -> Sample:
        """Draw the sample with a number."""
        random = np.random.default_rng((self.seed, index))
        if self.wardrobe is not None and random.random() < self.bodies:
            number = index // FITTING * DRESSED + int(random.integers(DRESSED))
            person = self._body(self.wardrobe, number)
        else:
            person = self._avatar(self.files[int(random.integers(len(self.files)))])
        return draw_sample(person, random, self.size, washed=self.washed)

    def _avatar(self, file: Path) -> Person:
        if file not in self._avatars:
            self._avatars[file] = Person.of(read_avatar(file))
        return self._avatars[file]

    def _body(self, wardrobe: Wardrobe, number: int) -> Person:
        if number not in self._bodies:
            while len(self._bodies) >= 2 * DRESSED:
                del self._bodies[next(iter(self._bodies))]
            random = np.random.default_rng((self.seed, 1, number))
            self._bodies[number] = Person.of(wardrobe.dressed(random))
        return self._bodies[number]


def split(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Give the avatars to train on, and those of identities that are never trained on.

    One of the outfits is not trained on either, whoever wears it.

    Raises:
        MeshFileError: The folder holds no avatar.
    """
    files = avatar_files(folder)
    names = sorted({identity(file) for file in files})
    kept = set(names[HELD_OUT // 2 :: HELD_OUT])
    return (
        tuple(
            file
            for file in files
            if identity(file) not in kept and not file.stem.endswith(f"_{UNWORN}")
        ),
        tuple(file for file in files if identity(file) in kept),
    )
