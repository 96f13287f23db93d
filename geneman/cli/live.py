"""What a person, or a program, sees of a reconstruction while it runs.

On a terminal: one line a stage with a bar, the time left and, if wanted, the losses. Elsewhere:
one line when a stage ends. For programs: one json object a line.
"""

import contextlib
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from geneman.cli.arguments import say
from geneman.progress import (
    ArtefactSaved,
    Event,
    ImagePreview,
    MeshPreview,
    Report,
    StageFinished,
    StageStarted,
    StepDone,
    silent,
)
from geneman.run_folder import STAGES


@contextlib.contextmanager
def shown(*, quiet: bool, json: bool, losses: bool, console: Console) -> Iterator[Report]:
    """Give the `Report` that shows events the way the options ask for."""
    if json:
        yield lambda event: say(msgspec.json.encode(as_json(event)).decode())
    elif quiet:
        yield silent
    elif not console.is_terminal:
        yield _lines(console)
    else:
        with _bars(console) as progress:
            yield _on_bars(progress, losses)


def as_json(event: Event) -> dict[str, object]:
    """Give an event in json's types; of previews only the sizes."""
    match event:
        case StageStarted(stage, steps, first_step):
            facts: dict[str, object] = {"steps": steps, "first_step": first_step}
        case StepDone(stage, step, steps, losses, seconds_left):
            facts = {"step": step, "steps": steps, "losses": dict(losses)}
            facts |= {"seconds_left": round(seconds_left, 2)}
        case ImagePreview(stage, step, image):
            facts = {"step": step, "size": list(image.shape[:2])}
        case MeshPreview(stage, step, vertices, faces):
            facts = {"step": step, "vertices": len(vertices), "faces": len(faces)}
        case ArtefactSaved(stage, path):
            facts = {"path": str(path)}
        case StageFinished(stage, seconds, resumed):
            facts = {"seconds": round(seconds, 3), "resumed": resumed}
    return {"event": type(event).__name__, "stage": stage} | facts


def ended(event: StageFinished) -> str:
    """Say in a line that a stage has ended."""
    return f"{event.stage:<15} {event.seconds:7.1f} s{'  (kept)' if event.resumed else ''}"


def _lines(console: Console) -> Report:
    def report(event: Event) -> None:
        if isinstance(event, StageFinished):
            console.print(ended(event))

    return report


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<15}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


def _on_bars(progress: Progress, losses: bool) -> Report:
    """Move one bar a stage."""
    tasks: dict[str, TaskID] = {
        stage: progress.add_task(stage, total=1.0, start=False, note="") for stage in STAGES
    }

    def report(event: Event) -> None:
        task = tasks[event.stage]
        match event:
            case StageStarted():
                progress.start_task(task)
                progress.update(task, completed=event.first_step / max(event.steps, 1))
            case StepDone():
                note = _left(event.seconds_left)
                if losses:
                    note += "  " + ", ".join(f"{n} {v:.4g}" for n, v in event.losses.items())
                progress.update(task, completed=(event.step + 1) / event.steps, note=note)
            case StageFinished():
                progress.start_task(task)
                progress.update(task, completed=1.0, note="kept" if event.resumed else "")
                progress.stop_task(task)
            case _:
                pass

    return report


def _left(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d} left"
