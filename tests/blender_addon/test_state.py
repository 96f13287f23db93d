"""What the panel says: one sentence and one button for every way things can stand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blender_addon.environment import Environment
from blender_addon.history import History, Origin
from blender_addon.launch import Phase, Status
from blender_addon.protocol import (
    Artefact,
    Device,
    Failure,
    Job,
    JobChanged,
    JobIs,
    JobRemoved,
    JobState,
    Kind,
    NotReady,
    Problem,
    Refused,
    StageBegan,
    StageEnded,
    StageIs,
    StageState,
    Step,
    Warming,
    Welcome,
)
from blender_addon.set_up_plan import SetUpState, SetUpStatus
from blender_addon.state import Model, RowState, duration
from blender_addon.troubles import Remedy, Trouble
from blender_addon.updates import AllJobs, BackendStopping, Link, LinkChanged, Outcome

A, B, C = "a" * 32, "b" * 32, "c" * 32
STAGES = ("prepare", "nerf_init", "sculpt", "finish")
HERE = Environment(Path("python"), "1.0", (1, 0))
WELCOME = Welcome("1.0", (), ready=True, stages=STAGES, devices=(Device("cpu", "Tower", 1, 1),))
CONNECTED = LinkChanged(Link.CONNECTED, None, WELCOME)
BROKEN = Trouble("It broke.", Remedy.OPEN_LOG)


def job(name: str = A, state: JobState = JobState.RUNNING, **more: Any) -> Job:
    return Job(**({"id": name, "label": "me", "state": state} | more))


def kept(*states: str) -> tuple[StageIs, ...]:
    return tuple(StageIs(n, StageState(s)) for n, s in zip(STAGES, states, strict=True))


def connected(**watched: Any) -> Model:
    model = Model()
    seen: dict[str, Any] = {"environment": HERE, "local": Status(Phase.RUNNING)}
    model.watch(**(seen | watched))
    model.apply(CONNECTED)
    return model


# ---- the backend's sentence -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watched", "link", "words", "remedy"),
    [
        ({}, None, "not installed", Remedy.SET_UP),
        ({"environment": HERE}, None, "is stopped", Remedy.START),
        ({"environment": HERE, "local": Status(Phase.STARTING)}, None, "starts", Remedy.NONE),
        ({"environment": HERE, "local": Status(Phase.STOPPING)}, None, "stops", Remedy.NONE),
        (
            {"environment": HERE, "local": Status(Phase.FAILED, BROKEN)},
            None,
            "It broke",
            "open_log",
        ),
        ({"environment": HERE, "local": Status(Phase.WAITING, BROKEN)}, None, "broke", "open_log"),
        ({"set_up": SetUpStatus(SetUpState.FAILED, trouble=BROKEN)}, None, "broke", "open_log"),
        ({"environment": HERE, "local": Status(Phase.RUNNING)}, CONNECTED, "Ready: Tower", "none"),
        ({}, CONNECTED, "Ready: Tower", Remedy.NONE),
        ({"remote": "render7:1"}, CONNECTED, "Ready: Tower on render7:1", Remedy.NONE),
        ({"remote": "render7:1"}, None, "Not connected", Remedy.CONNECT),
        ({"remote": "r:1"}, LinkChanged(Link.REFUSED, BROKEN), "It broke", Remedy.OPEN_LOG),
        ({"remote": "r:1"}, LinkChanged(Link.LOST, BROKEN), "It broke", Remedy.OPEN_LOG),
    ],
)
def test_one_sentence_one_button(
    watched: dict[str, Any], link: LinkChanged | None, words: str, remedy: str
) -> None:
    model = Model()
    model.watch(**watched)
    if link is not None:
        model.apply(link)
    assert words in model.backend.sentence
    assert model.backend.remedy == remedy
    assert model.backend.ready == (link is CONNECTED)


def test_a_set_up_shows_how_far_it_is() -> None:
    model = Model()
    status = SetUpStatus(SetUpState.RUNNING, fraction=0.4, line="Downloading torch (184 MB)")
    model.watch(set_up=replace(status, seconds=75))
    assert model.backend.sentence == "Setting up the backend: Downloading torch (184 MB) (75 s)"
    assert (model.backend.fraction, model.backend.busy) == (0.4, True)


def test_while_the_launcher_works_a_missing_file_is_no_trouble() -> None:
    model = Model()
    model.watch(environment=HERE, local=Status(Phase.RUNNING))
    model.apply(LinkChanged(Link.LOST, Trouble("There is no file.", Remedy.START)))
    assert model.backend.busy
    assert model.backend.remedy is Remedy.NONE
    model.apply(LinkChanged(Link.REFUSED, Trouble("Update it.", Remedy.UPDATE_ADDON)))
    assert model.backend.sentence == "Update it."


def test_kernels_compile_and_the_server_says_farewell() -> None:
    model = connected()
    model.apply(LinkChanged(Link.CONNECTED, None, Welcome("1.0", (), ready=False)))
    assert model.backend.sentence == "The backend's worker starts"
    model.apply(Warming("cpu", 3, 9))
    assert model.backend.sentence == "The backend compiles kernels, 3 of 9"
    assert model.stages == ()
    model.apply(CONNECTED)
    assert model.backend.sentence == "Ready: Tower"
    model.apply(NotReady(Problem(Kind.CRASH, "The worker ended with code 1.")))
    assert model.backend.sentence == "The worker ended with code 1."
    assert (model.backend.remedy, model.backend.ready) == (Remedy.OPEN_LOG, True)
    model.apply(CONNECTED)  # told anew when a worker is ready after all
    assert model.backend.sentence == "Ready: Tower"
    model.apply(BackendStopping())
    assert "stops" in model.backend.sentence
    model.apply(LinkChanged(Link.LOST, BROKEN))
    model.apply(CONNECTED)
    assert model.backend.sentence == "Ready: Tower"


# ---- jobs -------------------------------------------------------------------------------------


def test_queue_and_history_are_in_order() -> None:
    model = connected()
    jobs = (
        job("1" * 32, JobState.DONE, changed=1.0, seconds=240.0),
        job("2" * 32, JobState.QUEUED, position=2),
        job("3" * 32, JobState.RUNNING),
        job("4" * 32, JobState.CANCELLED, changed=2.0),
        job("5" * 32, JobState.QUEUED, position=1),
    )
    model.apply(AllJobs(jobs))
    assert [row.job.id[0] for row in model.queue] == ["3", "5", "2"]
    assert [row.job.id[0] for row in model.history] == ["4", "1"]
    sentences = [row.sentence for row in (*model.queue, *model.history)]
    assert sentences == [
        "Starts",
        "Waits, next in line",
        "Waits, 1 before it",
        "Cancelled",
        "Done in 4 min",
    ]
    model.apply(AllJobs(jobs[:1]))  # the others are gone
    assert len(model.queue) + len(model.history) == 1
    model.apply(JobRemoved("1" * 32, "request"))
    assert model.job("1" * 32) is None


def test_a_failure_is_a_sentence_with_a_button() -> None:
    model = connected()
    problem = Problem(Kind.MEMORY, "sculpt needs more memory: choose a smaller preset.")
    model.apply(JobChanged(job(state=JobState.FAILED, failure=Failure(problem, "sculpt"))))
    row = model.job(A)
    assert row is not None
    assert row.trouble is not None
    assert row.sentence == "Sculpt needs more memory: choose a smaller preset."
    assert row.trouble.remedy is Remedy.CHANGE_SETTINGS
    stage = model.stage_rows(A)[2]
    assert (stage.state, stage.trouble) == (RowState.FAILED, row.trouble)


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [("prepare", Remedy.CHOOSE_PHOTO), ("sculpt", Remedy.CHANGE_SETTINGS)],
)
def test_a_wrong_input_is_the_photo_or_a_setting(stage: str, remedy: Remedy) -> None:
    model = connected()
    failure = Failure(Problem(Kind.INPUT, "nobody is in the photo."), stage)
    model.apply(JobChanged(job(state=JobState.FAILED, stage=stage, failure=failure)))
    row = model.job(A)
    assert row is not None
    assert row.trouble is not None
    assert row.trouble.remedy is remedy
    assert row.trouble in [one.trouble for one in model.stage_rows(A)]


def test_a_refused_order_is_told_once() -> None:
    model = connected()
    refused = Refused(Problem(Kind.STATE, "no"))
    model.apply(Outcome("t", refused, BROKEN))
    assert model.failed_order("t") == BROKEN
    assert model.failed_order("t") is None
    model.apply(Outcome("u", JobIs(job())))
    assert model.failed_order("u") is None
    assert model.job(A) is not None


# ---- stages -----------------------------------------------------------------------------------


def states(model: Model, name: str = A) -> list[str]:
    return [row.state.value for row in model.stage_rows(name)]


def test_stages_wait_run_and_end() -> None:
    model = connected()
    assert states(model, "unknown") == ["waiting"] * 4
    model.apply(JobChanged(job(stage="prepare")))
    model.apply(StageBegan(A, "prepare", 10, first_step=5))
    assert states(model) == ["running", "waiting", "waiting", "waiting"]
    assert model.stage_rows(A)[0].fraction == 0.5
    model.apply(Step(A, "prepare", 7, 10, {"fit": 1.0, "smooth": 0.5}, 90.0))
    row = model.stage_rows(A)[0]
    assert (row.fraction, row.step, row.steps) == (0.8, 8, 10)
    assert (row.seconds_left, row.loss) == (90.0, 1.5)
    assert model.queue[0].sentence == "Prepare, 90 s left"
    assert model.queue[0].fraction == pytest.approx(0.2)
    model.apply(StageEnded(A, "prepare", 12.0, kept=False))
    model.apply(JobChanged(job(stage="nerf_init")))
    assert states(model) == ["done", "running", "waiting", "waiting"]
    assert model.stage_rows(A)[0].seconds == 12.0
    assert model.stage_rows(A)[0].has_result


def test_in_a_re_run_later_results_are_stale_until_they_are_done() -> None:
    model = connected()
    done = kept("done", "done", "done", "done")
    for stage in STAGES:
        model.apply(StageEnded(A, stage, 1.0, kept=False))
    model.apply(JobChanged(job(state=JobState.DONE, stages=done)))
    assert states(model) == ["done"] * 4
    model.apply(JobChanged(job(state=JobState.QUEUED, stages=done)))
    model.apply(JobChanged(job(stage="nerf_init", stages=done)))
    model.apply(StageEnded(A, "prepare", 0.0, kept=True))
    model.apply(StageBegan(A, "nerf_init", 10))
    assert states(model) == ["done", "running", "stale", "stale"]
    model.apply(StageEnded(A, "nerf_init", 1.0, kept=False))
    model.apply(JobChanged(job(stage="sculpt", stages=kept("done", "done", "stale", "stale"))))
    assert states(model) == ["done", "done", "running", "stale"]


def test_a_cancelled_re_run_leaves_later_results_stale() -> None:
    model = connected()
    stages = kept("done", "done", "stale", "missing")
    model.apply(JobChanged(job(state=JobState.CANCELLED, stage="sculpt", stages=stages)))
    assert states(model) == ["done", "done", "stale", "waiting"]


def test_an_edit_makes_later_stages_stale_until_they_run_again() -> None:
    model = connected()
    done = job(state=JobState.DONE, stages=kept("done", "done", "done", "done"))
    model.apply(JobChanged(done))
    before = model.revision
    model.edited(A, "nerf_init")
    assert model.revision > before
    assert states(model) == ["done", "done", "stale", "stale"]
    model.apply(JobChanged(job(state=JobState.QUEUED, stages=done.stages)))
    model.apply(JobChanged(done))
    assert states(model) == ["done"] * 4


def test_stages_that_nothing_needs_are_left_out() -> None:
    model = connected()
    stages = kept("done", "missing", "done", "missing")  # a mesh was given, `until` was sculpt
    model.apply(JobChanged(job(state=JobState.DONE, stages=stages)))
    assert [row.name for row in model.stage_rows(A)] == ["prepare", "sculpt", "finish"]
    model.apply(JobChanged(job(state=JobState.QUEUED, stages=stages)))
    assert states(model) == ["done", "waiting", "done", "waiting"]


def test_results_made_by_hand_are_marked() -> None:
    model = connected()
    stages = (StageIs("sculpt", StageState.DONE, edited=True, seconds=3.0),)
    model.apply(JobChanged(job(state=JobState.DONE, stages=stages)))
    (row,) = model.stage_rows(A)
    assert (row.edited, row.seconds) == (True, 3.0)


def test_without_a_list_of_stages_artefacts_tell() -> None:
    model = connected()
    artefacts = (Artefact("prepare/a.png", 1, ""), Artefact("nerf_init/b", 1, ""))
    model.apply(JobChanged(job(state=JobState.DONE, artefacts=artefacts)))
    assert states(model) == ["done", "done", "waiting", "waiting"]


def test_what_is_seen_again_changes_nothing() -> None:
    model = connected()
    before = model.revision
    model.watch(environment=HERE, local=Status(Phase.RUNNING))
    assert model.revision == before


def test_texts_are_translated_and_filled_in() -> None:
    german = {"Done in {}": "Fertig in {}", "{} min": "{} Min.", "Sculpt": "Formen"}
    model = Model(lambda text: german.get(text, text))
    model.apply(AllJobs((job(state=JobState.DONE, seconds=240.0),)))
    assert model.history[0].sentence == "Fertig in 4 Min."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3570, "1 h 0 min"),
        (4800, "1 h 20 min"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# ---- where photos lay -------------------------------------------------------------------------


def test_the_history_survives_and_forgets_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.json"
    history = History(path, kept=2)
    for name, photo in ((A, "a.png"), (B, "b.png"), (C, "c.png"), (B, "b2.png")):
        history.add(Origin(name, photo))
    again = History(path)
    assert list(again) == [Origin(B, "b2.png"), Origin(C, "c.png")]
    assert again.get(A) is None
    again.remove(C)
    assert list(History(path)) == [Origin(B, "b2.png")]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"a": 1}'])
def test_a_damaged_history_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "history.json"
    path.write_bytes(damage)
    history = History(path)
    assert list(history) == []
    history.add(Origin(A, "a.png"))
    assert History(path).get(A) == Origin(A, "a.png")


# ---- whom it knows ----------------------------------------------------------------------------


def test_what_lives_in_blender_loads_nothing_of_ours_but_itself() -> None:
    """Blender's Python has neither the library nor torch; this part does not need bpy either."""
    program = (
        "import sys\n"
        "import blender_addon.client, blender_addon.launcher, blender_addon.installation\n"
        "import blender_addon.state, blender_addon.history\n"
        "strange = {'bpy', 'backend', 'geneman', 'torch', 'psutil', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loads {sorted(strange)}' if strange else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
