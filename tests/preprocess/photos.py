"""Photographs for tests, and the person models where they have been fetched."""

import os
from pathlib import Path

import pytest

from geneman.priors import weights

DATA = Path(os.environ.get("GENEMAN_DATA", Path(__file__).parents[3] / "shared/data"))
PAPER, PHOTOS = DATA / "paper_examples", DATA / "photos"

needs_person_models = pytest.mark.skipif(
    not weights.present("person"),
    reason="the person models are absent; run: geneman weights get person",
)
needs_paper_examples = pytest.mark.skipif(
    not PAPER.is_dir(), reason="the folder paper_examples is absent (see GENEMAN_DATA)"
)
needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="the folder photos is absent (see GENEMAN_DATA)"
)
