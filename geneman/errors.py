"""Everything that can go wrong on purpose.

    GenemanError                 exit code 1
    ├── InputError               2: the user's photo, file or option; nothing was lost
    │   ├── PhotoError           not a photo, or not one of a person
    │   ├── MapError             a mask, normal, depth or landmark file that does not fit the photo
    │   ├── OptionError          a preset, stage or setting that does not exist or is out of range
    │   ├── MeshFileError        a mesh file that cannot be read, or holds no usable surface
    │   ├── RunFolderError       a run folder that cannot be read, written or continued
    │   ├── EditedError          something made by hand would be lost
    │   └── MissingComponentError  weights or an optional package that the request needs
    ├── DivergedError            1: an optimisation left the finite numbers
    ├── EmptySurfaceError        1: a field holds no surface to extract
    └── DeviceMemoryError        4: the device has not enough memory for the recipe

A cancelled reconstruction is no error: see `Cancelled` (exit code 3).
"""

from typing import ClassVar


class GenemanError(Exception):
    """Base of every error that the library raises on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(GenemanError):
    """Something the user gave breaks a rule: one sentence with rule, value and remedy."""

    exit_code: ClassVar[int] = 2

    def __init__(self, rule: str, *, value: object, remedy: str) -> None:
        """Keep the three parts; `str(error)` joins them into one sentence.

        Args:
            rule: What must hold, as a clause without full stop.
            value: What was given instead.
            remedy: What to do about it, as a clause without full stop.
        """
        self.rule, self.value, self.remedy = rule, value, remedy
        super().__init__(f"{rule}, but got {value}: {remedy}.")


class PhotoError(InputError):
    """The photo cannot be read, or shows nobody."""


class MapError(InputError):
    """A given mask, normal map, depth map or landmark file does not fit the photo."""


class OptionError(InputError):
    """A preset, stage, skeleton or setting that does not exist or is out of range."""


class MeshFileError(InputError):
    """A mesh file cannot be read, or holds no usable surface."""


class RunFolderError(InputError):
    """A run folder cannot be read, written or continued."""


class EditedError(InputError):
    """Something made by hand would be lost, and nobody said that it may be."""

    def __init__(self, stage: str, start: str) -> None:
        """Say which stage's result was made by hand, and where the run was to start."""
        self.stage = stage
        super().__init__(
            f"a run must not overwrite what was made by hand for {stage}",
            value=f"new work from {start} on",
            remedy=f"start after {stage}, or give it up with --discard {stage}",
        )


class MissingComponentError(InputError):
    """The request needs weights or an optional package that are not installed."""


class DivergedError(GenemanError):
    """A loss stopped being a finite number."""


class EmptySurfaceError(GenemanError):
    """A field holds no surface inside its box."""


class DeviceMemoryError(GenemanError):
    """The device ran out of memory at every size that was tried."""

    exit_code: ClassVar[int] = 4


class Cancelled(Exception):  # noqa: N818 (a request, not a fault)
    """Raised by a caller's `Report` to end the reconstruction."""
