"""Skipping, re-running, resuming and cancelling, on a chain of tiny but real stages."""

import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geneman.device import memory_errors
from geneman.errors import DeviceMemoryError, OptionError, PhotoError
from geneman.pipeline import CLOCK_SECONDS, Stage, generator_for, reconstruct
from geneman.progress import Cancelled, Event, StageFinished, StageStarted, StepDone, silent
from geneman.run_folder import STAGES, RunFolder, StageState
from geneman.settings import override
from tests import tiny_chain
from tests.tiny_chain import CHAIN, CPU, PRIORS, request, run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"somebody")
    return path


def computed(events: list[Event]) -> list[str]:
    return [e.stage for e in events if isinstance(e, StageFinished) and not e.resumed]


def outcome(folder: Path) -> bytes:
    return (folder / "finish.safetensors").read_bytes()


def test_a_run_computes_every_stage_once_and_publishes_the_last(
    tmp_path: Path, photo: Path
) -> None:
    events: list[Event] = []
    done = run(tmp_path / "run", request(photo), events.append)
    assert computed(events) == list(STAGES)
    assert set(done.states().values()) == {StageState.DONE}
    assert outcome(tmp_path / "run") == (done.result("finish") / "finish.safetensors").read_bytes()
    assert done.record.photo == "photo.png"
    assert done.record.peak_memory_bytes > 2**24
    assert all(done.record.stages[stage].losses.keys() == {"fit"} for stage in STAGES)
    events.clear()
    run(tmp_path / "run", request(photo), events.append)
    assert computed(events) == []
    assert len(events) == len(STAGES)


def test_an_earlier_persons_normal_map_does_not_stay_at_the_top(
    tmp_path: Path, photo: Path
) -> None:
    run(tmp_path / "run", request(photo))
    old = tmp_path / "run" / "normal.png"
    old.write_bytes(b"of a person with finer normals")
    run(tmp_path / "run", request(photo))
    assert not old.exists()


def test_a_changed_setting_re_runs_its_stage_and_those_after_it(
    tmp_path: Path, photo: Path
) -> None:
    run(tmp_path / "run", request(photo))
    events: list[Event] = []
    changed = request(photo, settings={"latent_texture.steps": "7"})
    run(tmp_path / "run", changed, events.append)
    assert computed(events) == ["latent_texture", "pixel_texture", "finish"]
    run(tmp_path / "fresh", changed)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "fresh")


def test_from_re_runs_what_is_current_and_until_stops(tmp_path: Path, photo: Path) -> None:
    run(tmp_path / "run", request(photo))
    before = outcome(tmp_path / "run")
    events: list[Event] = []
    run(tmp_path / "run", request(photo, start="sculpt"), events.append)
    assert computed(events) == list(STAGES[2:])
    assert outcome(tmp_path / "run") == before
    events.clear()
    changed = {"sculpt.steps": "50"}
    half = run(
        tmp_path / "run",
        request(photo, start="sculpt", until="sculpt", settings=changed),
        events.append,
    )
    assert computed(events) == ["sculpt"]
    assert [s for s, state in half.states().items() if state is StageState.STALE] == list(
        STAGES[3:]
    )


def test_another_seed_gives_another_result_and_another_photo_too(
    tmp_path: Path, photo: Path
) -> None:
    run(tmp_path / "a", request(photo))
    run(tmp_path / "b", request(photo, seed=1))
    photo.write_bytes(b"somebody else")
    run(tmp_path / "c", request(photo))
    assert len({outcome(tmp_path / name) for name in "abc"}) == 3


def test_a_damaged_artefact_is_made_again_aloud(
    tmp_path: Path, photo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = run(tmp_path / "run", request(photo))
    before = outcome(tmp_path / "run")
    victim = done.result("sculpt") / "sculpt.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1])
    events: list[Event] = []
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "run", request(photo), events.append)
    assert computed(events) == ["sculpt"]
    assert "is not what was written; the stage runs again" in caplog.text
    assert outcome(tmp_path / "run") == before


def test_a_damaged_checkpoint_starts_its_stage_anew_aloud(
    tmp_path: Path, photo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cancel_at(tmp_path / "run", photo, "sculpt", 20)
    with RunFolder.locked(tmp_path / "run") as locked:
        locked.checkpoint("sculpt").write_bytes(b"half a check")
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "run", request(photo))
    assert "starts from the beginning" in caplog.text
    run(tmp_path / "fresh", request(photo))
    assert outcome(tmp_path / "run") == outcome(tmp_path / "fresh")


def cancel_at(folder: Path, photo: Path, stage: str, step: int) -> None:
    def report(event: Event) -> None:
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, step):
            raise Cancelled

    with pytest.raises(Cancelled):
        run(folder, request(photo), report)


def test_a_cancelled_run_goes_on_from_its_checkpoint_to_the_same_bits(
    tmp_path: Path, photo: Path
) -> None:
    cancel_at(tmp_path / "run", photo, "sculpt", 20)
    events: list[Event] = []
    run(tmp_path / "run", request(photo), events.append)
    started = {e.stage: e.first_step for e in events if isinstance(e, StageStarted)}
    assert started["sculpt"] == 20
    assert started["latent_texture"] == 0
    run(tmp_path / "fresh", request(photo))
    assert outcome(tmp_path / "run") == outcome(tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_it_ends_with_the_same_bits_and_counts_all_seconds(
    tmp_path: Path, photo: Path, seed: int
) -> None:
    chance, folder, kills = random.Random(seed), tmp_path / "run", 0
    command = [sys.executable, "-m", "tests.tiny_chain", str(folder), str(photo)]
    environment = os.environ | {"TINY_PAUSE": "0.02"}
    while True:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            told = process.stdout.readline()  # nothing, if only stages without steps were left
            assert told in (b"first step\n", b"")
            try:
                assert process.wait(timeout=0.3 + 2 * chance.random()) == 0
                break
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
    assert kills >= 1
    run(tmp_path / "fresh", request(photo))
    assert outcome(folder) == outcome(tmp_path / "fresh")
    total = sum(summary.seconds for summary in RunFolder.read(folder).record.stages.values())
    # The clock is written down every CLOCK_SECONDS: a kill loses at most as many.
    assert total >= 0.02 * tiny_chain.STEPS * len(STAGES) - kills * CLOCK_SECONDS


def test_running_out_of_memory_is_exit_4_and_one_sentence(tmp_path: Path, photo: Path) -> None:
    def hungry(*_: object) -> torch.Tensor:
        return torch.empty(2**60, dtype=torch.uint8)

    chain = CHAIN | {"sculpt": Stage(hungry, CHAIN["sculpt"].save, CHAIN["sculpt"].load)}
    with RunFolder.locked(tmp_path / "run") as locked:
        with pytest.raises(DeviceMemoryError, match="sculpt needs more memory") as caught:
            reconstruct(request(photo), locked, chain, priors=PRIORS, device=CPU, report=silent)
        assert caught.value.exit_code == 4
        assert locked.is_current("nerf_init")


def test_other_runtime_errors_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors("sculpt", CPU):
        raise RuntimeError("shape mismatch")


def test_each_stage_and_seed_has_its_own_randomness() -> None:
    draws = {
        (seed, stage): torch.rand(3, generator=generator_for(seed, stage)).tolist()
        for seed in (0, 1)
        for stage in STAGES
    }
    assert len({tuple(draw) for draw in draws.values()}) == len(draws)
    assert torch.rand(3, generator=generator_for(0, "sculpt")).tolist() == draws[0, "sculpt"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": "sculp"}, "--from must name a stage, but got 'sculp': did you mean 'sculpt'."),
        ({"until": "end"}, "--until must name a stage"),
        ({"start": "finish", "until": "prepare"}, "--from must not come after --until"),
    ],
)
def test_wrong_stages_are_refused(
    tmp_path: Path, photo: Path, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(OptionError) as caught:
        run(tmp_path / "run", request(photo, **options))
    assert sentence in str(caught.value)


def test_a_missing_photo_or_map_is_one_sentence(tmp_path: Path, photo: Path) -> None:
    with pytest.raises(PhotoError, match="the photo must be a file that can be read"):
        run(tmp_path / "run", request(tmp_path / "nowhere.png"))
    with pytest.raises(PhotoError, match="the mask must be a file"):
        run(tmp_path / "run", request(photo, given={"mask": tmp_path}))


def test_a_given_text_counts_as_an_input(tmp_path: Path, photo: Path) -> None:
    run(tmp_path / "run", request(photo))
    events: list[Event] = []
    run(tmp_path / "run", request(photo, given={"prompt": "a man"}), events.append)
    assert computed(events)[0] == "prepare"


def test_settings_reach_run_json_in_full(tmp_path: Path, photo: Path) -> None:
    wanted = request(photo)
    done = run(tmp_path / "run", wanted)
    assert override(wanted.recipe, {}) == wanted.recipe
    assert set(done.record.recipe) == set(STAGES)
    assert done.record.recipe["sculpt"]["steps"] == tiny_chain.STEPS


def test_reproducible_results_do_not_cost_the_loading_of_a_compiler() -> None:
    asked = (
        "import sys, torch; from geneman.device import make_reproducible;"
        "make_reproducible(torch.device('cpu'));"
        "assert torch.are_deterministic_algorithms_enabled();"
        "assert not torch.is_deterministic_algorithms_warn_only_enabled();"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
