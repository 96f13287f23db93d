"""A benchmark from end to end: every candidate on every case, kept as it is measured.

    OUT/CASE/FOLDER/        the run folder of a candidate
    OUT/CASE/NAME.json      what it was measured as, and what it depends on

A run that was stopped goes on: measures whose candidate, case and code are the same are kept.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from geneman.curation.benchmark import CAMERA, PHOTO, TRUTH
from geneman.evaluation.benchmark_cases import read_case
from geneman.evaluation.candidates import Candidate
from geneman.evaluation.comparison import Measures, measured
from geneman.progress import Report
from geneman.storage import digest_of, digest_of_file, write_whole

VERSION = 2
"""Of what is measured; another one measures everything anew."""


class Kept(msgspec.Struct, frozen=True):
    """One file of measures."""

    fingerprint: str
    seconds: float
    measures: Measures


@dataclass(frozen=True)
class Row:
    """One candidate on one case."""

    case: str
    candidate: str
    seconds: float
    measures: Measures
    resumed: bool
    """Whether it had been measured before."""


def evaluate_case(folder: Path, name: str, candidate: Candidate, out: Path, report: Report) -> Row:
    """Measure a candidate on a case, unless it has been.

    Args:
        folder: The case.
        name: The candidate's.
        candidate: Who.
        out: Where runs and measures are kept.
        report: Receives the stages' events.
    """
    files = [digest_of_file(folder / file) for file in (PHOTO, CAMERA, TRUTH)]
    fingerprint = digest_of([VERSION, files, candidate.fingerprint])
    file = out / folder.name / f"{name}.json"
    kept = _kept(file)
    resumed = kept is not None and kept.fingerprint == fingerprint
    if kept is None or not resumed:
        case = read_case(folder)
        answer = candidate.answer(case.photo, out / folder.name / candidate.folder, report)
        kept = Kept(fingerprint, answer.seconds, measured(case, answer.view, answer.textured))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, msgspec.json.encode(kept))
    return Row(folder.name, name, kept.seconds, kept.measures, resumed)


def evaluate(
    cases: Sequence[Path],
    candidates: Mapping[str, Candidate],
    out: Path,
    report: Report,
    tell: Callable[[Row], None],
) -> dict[str, list[Row]]:
    """Measure all candidates on all cases, case by case; see `evaluate_case`.

    Args:
        cases: Folders.
        candidates: By name.
        out: Where runs and measures are kept.
        report: Receives the stages' events.
        tell: Hears each row as it is known.
    """
    found: dict[str, list[Row]] = {name: [] for name in candidates}
    for folder in cases:
        for name, candidate in candidates.items():
            row = evaluate_case(folder, name, candidate, out, report)
            found[name].append(row)
            tell(row)
    return found


def table(rows: Sequence[Row]) -> dict[str, Any]:
    """Give one candidate's cases and their mean, as the json has them."""
    cases = [
        {"case": row.case, **msgspec.to_builtins(row.measures), "seconds": row.seconds}
        for row in rows
    ]
    bare = [{name: value for name, value in case.items() if name != "case"} for case in cases]
    return {"cases": cases, "mean": mean_of(bare)}


def mean_of(trees: Sequence[Any]) -> Any:
    """Average equal trees of figures leaf by leaf; what is not a number for a case is left out."""
    if isinstance(trees[0], Mapping):
        return {name: mean_of([tree[name] for tree in trees]) for name in trees[0]}
    known = [value for value in trees if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def across_views(mean: Mapping[str, Any]) -> dict[str, float]:
    """Average the views of a mean: the figures of a line in a table."""
    views: dict[str, float] = mean_of(list(mean["views"].values()))
    return views


def _kept(file: Path) -> Kept | None:
    """Give what was measured before, if it can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
