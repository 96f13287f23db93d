"""How close estimated normals are to somebody else's, on photos that nobody trained on.

A folder holds for each photo `NAME_fg.png`, `NAME_mask.npy` (bool) and `NAME_normal.png` (camera
frame, n = 2c - 1): the layout in which the paper's release shows its own preprocessing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from geneman.errors import OptionError
from geneman.evaluation.metrics import normal_angle
from geneman.preprocess import prepare
from geneman.preprocess.given_maps import GivenMaps
from geneman.preprocess.prepare import PrepareConfig
from geneman.priors.bundle import Priors, ShapePrior

SIDE = 512
"""Pixels along the side of the square in which normals are compared."""

PHOTO, MASK, NORMAL = "_fg.png", "_mask.npy", "_normal.png"
"""Endings of the files' names."""


@dataclass(frozen=True)
class PhotoWithNormals:
    """A photo, who is the person in it, and the normals to compare with."""

    name: str
    photo: Path
    given: GivenMaps

    def angles(self, priors: Mapping[str, ShapePrior]) -> dict[str, float]:
        """Give each prior's mean angle in degrees, over the person's pixels.

        Both maps go through `prepare`, the one as an estimate, the other as a given map: so they
        lie in the same square.
        """
        bundles = {name: Priors(shape=prior) for name, prior in priors.items()}
        alone = replace(self.given, normal=None)
        wanted, inside = self._prepared(self.given, next(iter(bundles.values())))
        return {
            name: normal_angle(self._prepared(alone, bundle)[0], wanted, where=inside)
            for name, bundle in bundles.items()
        }

    def _prepared(self, given: GivenMaps, priors: Priors) -> tuple[Tensor, Tensor]:
        view = prepare.run(
            self.photo,
            given=given,
            priors=priors,
            config=PrepareConfig(size=SIDE),
            device=torch.device("cpu"),
        ).view
        return view.normal, view.inside


def photos_with_normals(folder: Path) -> Iterator[PhotoWithNormals]:
    """Find the photos of a folder that have a mask and normals.

    Raises:
        OptionError: There is none.
    """
    found = sorted(folder.glob(f"*{NORMAL}"))
    if not found:
        raise OptionError(
            f"--normals must name a folder with NAME{PHOTO}, NAME{MASK} and NAME{NORMAL}",
            value=f"'{folder}' without normals",
            remedy="give the folder of the paper's examples",
        )
    for normal in found:
        name = normal.name.removesuffix(NORMAL)
        mask = normal.with_name(name + MASK)
        given = GivenMaps(mask=mask, normal=normal)
        yield PhotoWithNormals(name, normal.with_name(name + PHOTO), given)
