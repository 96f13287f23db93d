# SPDX-License-Identifier: GPL-3.0-or-later
"""What lives as long as this Blender does, and the timer that lets it into the scenes.

The timer takes what has come, as much as eight milliseconds allow, and never waits. It begins
when the panel is first seen: a Blender in which nobody opens it pays nothing. Blender's timers
do not run without its window; whoever drives such a Blender calls `pump` and says so.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

if TYPE_CHECKING:
    from .client import Client
    from .orders import NewJob
    from .protocol import Job
    from .service import Choice
    from .state import Model
    from .troubles import Trouble
    from .updates import Outcome, SurfaceShown, TextureShown, Update

log = logging.getLogger("geneman")

BUDGET_SECONDS = 0.008
"""Of the main thread, a tick."""
BUSY_SECONDS, CALM_SECONDS = 0.03, 0.25
"""Between two ticks: while something comes, and while nothing does."""
NO_WINDOW = (
    "GeneMAN works in Blender's window, but this Blender runs without one: "
    "use 'geneman reconstruct' on the command line"
)
DRAWING_SECONDS = 0.2
"""Between two drawings of the panel, at least."""
MASK_FILE = "prepare/photo_mask.png"
BROUGHT = (MASK_FILE, "finish/albedo.png", "finish/normal.png")
"""What is brought here as soon as a job has it: the mask to paint on, the textures to save."""

driven_by_hand = False
"""Set by a program that calls `pump` itself, such as a test without a window."""


@dataclass(frozen=True)
class Waiting:
    """A photo that waits for the backend to start."""

    wish: "NewJob"
    scene: int
    """`session_uid` of the scene that it was started from."""


class Session:
    """One Blender's dealings with a backend."""

    def __init__(self) -> None:
        from .arrivals import Arrivals
        from .history import History
        from .service import Service, Site
        from .state import Model
        from .translations import told

        folder = Path(bpy.utils.extension_path_user(__package__, create=True))
        site = Site(folder, Path(__file__).parent, Path(sys.executable))
        self.model: Model = Model(told)
        self.service: Service = Service(site, self.model, chosen())
        self.history: History = History(folder / "history.json")
        self._deadline = 0.0
        self.arrivals: Arrivals = Arrivals(
            shown_live, lambda: time.perf_counter() > self._deadline, self._texture_of
        )
        self.arrivals.forget_scenes()
        self.notice: Trouble | None = None
        """What went wrong with the last thing that was asked for."""
        self.waiting: Waiting | None = None
        self._beside: dict[str, tuple[str, str]] = {}
        """Surfaces that were asked for to be compared: ticket -> job and stage."""
        self._after: dict[str, Callable[[Outcome], None]] = {}
        self._brought: dict[tuple[str, str], str] = {}
        self._drawn: tuple[object, ...] = ()
        self._next_drawing = 0.0

    # ---- orders -----------------------------------------------------------------------------

    @property
    def client(self) -> "Client | None":
        """The connection that takes orders, if there is one."""
        return self.service.client

    def when_done(self, ticket: str, then: "Callable[[Outcome], None]") -> None:
        """Call something when an order has its outcome; what failed becomes the notice."""
        self._after[ticket] = then

    def reconstruct(self, wish: "NewJob", scene: Any) -> None:
        """Send a photo, as soon as there is a backend that takes it."""
        self.notice = None
        self.waiting = Waiting(wish, scene.session_uid)
        if not self.service.started:
            self.service.start()
        self._send_waiting()

    def _send_waiting(self) -> None:
        waiting = self.waiting
        if waiting is None or self.client is None or not self.model.backend.ready:
            return
        self.waiting = None
        for scene in bpy.data.scenes:
            if scene.session_uid == waiting.scene:
                wish = waiting.wish
                job = self.client.reconstruct(wish)
                from .history import Origin

                self.history.add(Origin(job, str(wish.photo)))
                self.arrivals.link(job, wish.label, scene)
                self.note_run(job, wish)

    def note_run(self, job: str, wish: Any) -> None:
        """Let the results that come from now on keep the settings and seed that make them."""
        origin, link = self.history.get(job), self.arrivals.linked(job)
        if link is not None:
            link.run = run_text(origin.photo if origin is not None else "", wish)

    def file_of(self, job: str, name: str) -> Path:
        """Say where an artefact is kept here."""
        return self.service.site.folder / "files" / job / name.replace("/", "_")

    def _texture_of(self, job: str, name: str) -> Path | None:
        path = self.file_of(job, f"finish/{name}")
        return path if path.is_file() else None

    def show(self, job: str, stage: str) -> None:
        """Bring a finished stage's surface into the scene."""
        self._show(job, stage)

    def show_beside(self, job: str, stage: str) -> None:
        """Put a finished stage's surface beside the person."""
        ticket = self._show(job, stage)
        if ticket is not None:
            self._beside[ticket] = job, stage

    def _show(self, job: str, stage: str) -> str | None:
        """Order a stage's surface, with its normal map if the job lists one; give the ticket."""
        if self.client is None:
            return None
        row, folder = self.model.job(job), self.service.site.folder / "files" / job
        names = () if row is None else (artefact.name for artefact in row.job.artefacts)
        return self.client.show(job, stage, folder, normal_map=f"{stage}/normal.png" in names)

    def fetch(self, job: str, name: str, then: "Callable[[Outcome], None] | None" = None) -> None:
        """Bring an artefact here."""
        if self.client is None:
            return
        path = self.file_of(job, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        ticket = self.client.fetch(job, name, path)
        if then is not None:
            self.when_done(ticket, then)

    def bring(self, job: "Job") -> None:
        """Bring the files that a scene needs of a job, unless they are here already."""
        for artefact in job.artefacts:
            place = job.id, artefact.name
            wanted = artefact.name in BROUGHT
            if wanted and self._brought.get(place) != artefact.sha256:
                self._brought[place] = artefact.sha256
                self.fetch(job.id, artefact.name)

    # ---- the tick ---------------------------------------------------------------------------

    def tick(self, budget: float) -> float:
        """Take what has come, as much as `budget` seconds allow; give the seconds to the next."""
        self._deadline = time.perf_counter() + budget
        self.service.watch()
        self._send_waiting()
        self.arrivals.settle()
        if self.client is not None:
            self.client.live = any(map(shown_live, self.model.stages))
        busy = False
        while self.client is not None and time.perf_counter() < self._deadline:
            update = self.client.take()
            if update is None:
                break
            busy = True
            self.take_in(update)
        self._redraw()
        return BUSY_SECONDS if busy or self.model.queue else CALM_SECONDS

    def take_in(self, update: "Update") -> None:
        """Let an update reach everything that it concerns."""
        from .protocol import JobChanged, JobRemoved
        from .updates import LinkChanged, Outcome, ResultMissed, SurfaceShown, TextureShown

        self.model.apply(update)
        match update:
            case SurfaceShown() | TextureShown() if self._is_beside(update):
                self.arrivals.show_beside(update)
                return
            case Outcome():
                self._outcome(update)
            case ResultMissed(job=job, stage=stage) if self.arrivals.linked(job):
                self.show(job, stage)
            case LinkChanged(welcome=welcome) if welcome is not None and welcome.ready:
                from . import recipe_form

                recipe_form.build(welcome.settings, next(iter(welcome.presets)))
            case JobChanged(job=job) if self.arrivals.linked(job.id):
                self.bring(job)
            case JobRemoved(job=job):
                self.history.remove(job)
        self.arrivals.apply(update)

    def _is_beside(self, shown: "SurfaceShown | TextureShown") -> bool:
        return (shown.job, shown.stage) in self._beside.values()

    def _outcome(self, outcome: "Outcome") -> None:
        self._beside.pop(outcome.ticket, None)
        then = self._after.pop(outcome.ticket, None)
        if outcome.trouble is not None:
            self.notice = outcome.trouble
        elif then is not None:
            then(outcome)

    def _redraw(self) -> None:
        """Let the panel show what has changed; the viewport sees to itself when a mesh moves.

        Only the sidebar is drawn anew, and not too often: steps come many a second, and a scene
        may be heavy.
        """
        seen = (self.model.revision, self.notice, self.waiting, self.arrivals.revision)
        now = time.perf_counter()
        if seen == self._drawn or now < self._next_drawing:
            return
        self._drawn, self._next_drawing = seen, now + DRAWING_SECONDS
        _list_jobs(self.model)
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    for region in area.regions:
                        if region.type == "UI":
                            region.tag_redraw()
                elif area.type == "IMAGE_EDITOR":
                    area.tag_redraw()

    def at_fault(self, error: Exception) -> None:
        """Tell somebody that the add-on itself made a mistake, and go on."""
        from .troubles import Remedy, Trouble

        detail = "".join(traceback.format_exception(error))
        log.error("GeneMAN: %s", detail)
        self.notice = Trouble(
            "GeneMAN itself made a mistake ({kind}: {cause}): please report it.",
            Remedy.REPORT,
            detail,
            {"kind": type(error).__name__, "cause": error},
        )

    def close(self) -> None:
        """End everything of ours outside this process."""
        self.service.close()


def run_text(photo: str, wish: Any) -> str:
    """Give a run's settings and seed as json, for the result to keep.

    Args:
        photo: Its path here; empty if nobody knows any more.
        wish: An order, or what the backend remembers of one.
    """
    return json.dumps(
        {
            "photo": photo,
            "preset": wish.preset,
            "recipe": wish.recipe,
            "prompt": wish.prompt,
            "seed": wish.seed,
        },
        default=dict,
    )


def _list_jobs(model: "Model") -> None:
    """Let the list that Blender draws have a line for each job."""
    listed = bpy.context.window_manager.geneman.jobs
    wanted = [row.job.id for row in (*model.queue, *model.history)]
    if [line.job for line in listed] == wanted:
        return
    listed.clear()
    for job in wanted:
        line = listed.add()
        line.name = line.job = job


# ---- the one session --------------------------------------------------------------------------


class _Here:
    """This Blender's."""

    session: Session | None = None


def current() -> Session:
    """Give this Blender's session; the first call makes it."""
    if _Here.session is None:
        _Here.session = Session()
    return _Here.session


def known() -> Session | None:
    """Give the session if there is one."""
    return _Here.session


def wake() -> Session | None:
    """Have the timer running, for who draws the panel; None until the session is made."""
    if not bpy.app.timers.is_registered(_timer) and not bpy.app.background:
        bpy.app.timers.register(_timer, first_interval=0.0, persistent=True)
    return _Here.session


def can_work() -> bool:
    """Say whether anybody calls `pump`."""
    return driven_by_hand or not bpy.app.background


def pump(budget: float = BUDGET_SECONDS) -> float:
    """Take what has come; give the seconds until it should be called again."""
    session = current()
    try:
        return session.tick(budget)
    except Exception as error:  # whatever it is, the timer must live on
        session.at_fault(error)
        return CALM_SECONDS


def _timer() -> float:
    if _Here.session is None and chosen_to_start():
        current().service.start()
    return pump()


def chosen_to_start() -> bool:
    """Say whether the backend is to be started when the panel is first seen."""
    return bool(bpy.context.preferences.addons[__package__].preferences.auto_start)


def chosen() -> "Choice":
    """Give the backend that the preferences name."""
    from .service import Choice

    given = bpy.context.preferences.addons[__package__].preferences
    folder = bpy.path.abspath(given.environment) if given.environment else ""
    return Choice(
        given.place,
        folder,
        given.address,
        given.server_key,
        given.device,
        given.keep_running,
        bpy.app.online_access,
    )


def backend_chosen() -> None:
    """The preferences changed."""
    if _Here.session is not None:
        _Here.session.service.choose(chosen())
        if chosen_to_start():
            _Here.session.service.start()


def shown_live(stage: str) -> bool:
    """Say whether somebody wants to see this stage's work."""
    stages = current().model.stages
    hidden = bpy.context.window_manager.geneman.hide_live
    place = stages.index(stage) if stage in stages else len(hidden)
    return place >= len(hidden) or not hidden[place]


def unregister() -> None:
    """Leave nothing behind: no timer, no thread, no process."""
    if bpy.app.timers.is_registered(_timer):
        bpy.app.timers.unregister(_timer)
    session, _Here.session = _Here.session, None
    if session is not None:
        session.close()
