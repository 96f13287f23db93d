"""People by number: each index gives one rendered sample, the same on every machine and run."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geneman.curation.synthetic.avatars import avatar_files, identity
from geneman.curation.synthetic.sample import Person, Sample, draw_sample

HELD_OUT = 9
"""Every so many identities, one is never trained on."""


@dataclass(frozen=True)
class People:
    """Rendered samples of the avatars in one list; reading one loads only what it shows."""

    files: tuple[Path, ...]
    size: int
    """Pixels along a side."""
    seed: int
    _read: dict[Path, Person] = field(default_factory=dict, compare=False, repr=False)

    def sample(self, index: int) -> Sample:
        """Draw the sample with a number."""
        random = np.random.default_rng((self.seed, index))
        file = self.files[int(random.integers(len(self.files)))]
        person = self._read.get(file)
        if person is None:
            person = self._read.setdefault(file, Person.read(file))
        return draw_sample(person, random, self.size)


def split(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Give the avatars to train on, and those of identities that are never trained on.

    Raises:
        MeshFileError: The folder holds no avatar.
    """
    files = avatar_files(folder)
    names = sorted({identity(file) for file in files})
    kept = set(names[HELD_OUT // 2 :: HELD_OUT])
    return (
        tuple(file for file in files if identity(file) not in kept),
        tuple(file for file in files if identity(file) in kept),
    )
