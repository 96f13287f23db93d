"""The run folder: what is done, stale and missing; kills; strangers; full disks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.errors import RunFolderError
from geneman.run_folder import NEEDS, STAGES, RunFolder, StageState
from geneman.storage import digest_of, write_whole

DONE, STALE, MISSING = StageState.DONE, StageState.STALE, StageState.MISSING


def make(run: RunFolder, stage: str, content: str = "") -> None:
    attempt = run.begin(stage, "cpu")
    attempt.keep({"photo": 0.5})
    run.commit(stage, attempt, lambda folder: write_whole(folder / "a.txt", content.encode()))


def make_all(run: RunFolder) -> None:
    run.record.recipe = {stage: {"steps": 10} for stage in STAGES}
    run.record.inputs = {"photo": "p" * 64}
    for stage in STAGES:
        make(run, stage, stage)


def test_a_fresh_run_misses_every_stage_and_a_whole_one_none(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path / "run") as run:
        assert set(run.states().values()) == {MISSING}
        make_all(run)
        assert set(run.states().values()) == {DONE}
    assert set(RunFolder.read(tmp_path / "run").states().values()) == {DONE}


@pytest.mark.parametrize("changed", STAGES)
def test_a_changed_setting_makes_its_stage_and_the_later_ones_stale(
    tmp_path: Path, changed: str
) -> None:
    with RunFolder.locked(tmp_path) as run:
        make_all(run)
        run.record.recipe[changed] = {"steps": 11}
        states = list(run.states().values())
        first = STAGES.index(changed)
        assert states == [DONE] * first + [STALE] * (len(STAGES) - first)


@pytest.mark.parametrize("field", ["seed", "photo", "priors"])
def test_another_seed_photo_or_prior_makes_everything_stale(tmp_path: Path, field: str) -> None:
    with RunFolder.locked(tmp_path) as run:
        make_all(run)
        match field:
            case "seed":
                run.record.seed = 1
            case "photo":
                run.record.inputs = {"photo": "q" * 64}
            case "priors":
                run.record.priors = {"image": "another"}
        assert set(run.states().values()) == {STALE}


def test_a_stage_redone_with_the_same_outcome_leaves_later_ones_done(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        make_all(run)
        run.drop("sculpt")
        assert run.state("sculpt") is MISSING
        assert run.state("finish") is STALE
        make(run, "sculpt", "sculpt")
        assert set(run.states().values()) == {DONE}


def test_an_artefact_with_another_content_makes_its_readers_stale(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        make_all(run)
        make(run, "sculpt", "edited by hand")
        stale = {stage for stage, state in run.states().items() if state is STALE}
        assert stale == {"latent_texture", "pixel_texture", "finish"}


def test_a_damaged_artefact_is_found_and_its_stage_is_missing(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        make_all(run)
        assert run.damage("nerf_init") is None
        (run.result("nerf_init") / "a.txt").write_text("bit rot")
        assert run.damage("nerf_init") == "a.txt"
        assert run.state("nerf_init") is MISSING


def test_seconds_and_losses_add_up_over_attempts_at_the_same_thing(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        first = run.begin("prepare", "cpu")
        first._began -= 100
        first.keep({"photo": 3.0})
        second = run.begin("prepare", "cpu")
        assert second.seconds >= 100
        assert second.clock.losses == {"photo": 3.0}
        run.commit("prepare", second, lambda folder: write_whole(folder / "a", b"a"))
        assert run.record.stages["prepare"].seconds >= 100
        assert run.begin("prepare", "cpu").seconds < 100


def test_an_attempt_at_something_else_starts_from_zero_without_a_checkpoint(
    tmp_path: Path,
) -> None:
    with RunFolder.locked(tmp_path) as run:
        run.begin("sculpt", "cpu")
        write_whole(run.checkpoint("sculpt"), b"state")
        run.begin("sculpt", "cpu")
        assert run.checkpoint("sculpt").exists()
        run.record.recipe["sculpt"] = {"steps": 50}
        run.begin("sculpt", "cpu")
        assert not run.checkpoint("sculpt").exists()


def test_a_checkpoint_of_another_device_is_not_continued(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        run.begin("sculpt", "cuda")
        write_whole(run.checkpoint("sculpt"), b"state")
        run.begin("sculpt", "cpu")
        assert not run.checkpoint("sculpt").exists()


def test_a_kill_before_the_record_keeps_the_old_result(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        make(run, "prepare", "old")

        def interrupted(folder: Path) -> None:
            write_whole(folder / "a.txt", b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.commit("prepare", run.begin("prepare", "cpu"), interrupted)
    with RunFolder.locked(tmp_path) as run:
        assert (run.result("prepare") / "a.txt").read_text() == "old"


def test_a_kill_between_record_and_rename_ends_with_the_new_result(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        make(run, "prepare", "new")
        os.replace(run.result("prepare"), run.stage_folder("prepare") / "partial")
    with RunFolder.locked(tmp_path) as run:
        assert run.state("prepare") is DONE


def test_published_files_are_those_of_the_result_without_its_record(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        make(run, "finish", "model")
        assert run.publish("finish") == [tmp_path / "a.txt"]
        assert (tmp_path / "a.txt").read_text() == "model"


def test_facts_of_a_result_are_repeated_in_run_json_and_not_published(tmp_path: Path) -> None:
    with RunFolder.locked(tmp_path) as run:
        attempt = run.begin("finish", "cpu")
        facts = b'{"faces": 12}'
        run.commit("finish", attempt, lambda folder: write_whole(folder / "facts.json", facts))
        assert run.publish("finish") == []
    assert RunFolder.read(tmp_path).record.stages["finish"].facts == {"faces": 12}


def test_every_stage_reads_only_earlier_ones() -> None:
    for index, stage in enumerate(STAGES):
        assert set(NEEDS[stage]) <= set(STAGES[:index])


@settings(max_examples=50)
@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_the_digest_does_not_depend_on_the_order_of_keys(value: dict[str, int | str]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from geneman.run_folder import RunFolder\n"
        "with RunFolder.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(RunFolderError, match="one process at a time"),
            RunFolder.locked(tmp_path),
        ):
            pass
        holder.kill()
        holder.wait()
    with RunFolder.locked(tmp_path):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"), RunFolder.locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(RunFolderError, match="must be a folder"),
        RunFolder.locked(tmp_path / "file"),
    ):
        pass


def test_reading_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"must hold a run\.json"):
        RunFolder.read(tmp_path)


def test_a_foreign_run_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": "jogging"}')
    with pytest.raises(RunFolderError, match="one that geneman wrote"):
        RunFolder.read(tmp_path)


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    forbidden = tmp_path / "locked"
    forbidden.mkdir(mode=0o555)
    # Root may write anywhere but into the kernel's own tree.
    target = Path("/sys/geneman") if os.geteuid() == 0 else forbidden / "run"
    with pytest.raises(RunFolderError, match="must be writable"), RunFolder.locked(target):
        pass


def test_too_little_space_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geneman.storage.FREE_BYTES", 2**62)
    with pytest.raises(RunFolderError, match="disk that is full"), RunFolder.locked(tmp_path):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("library", ["python", "safetensors"])
def test_a_disk_that_fills_up_on_the_way_is_one_sentence(tmp_path: Path, library: str) -> None:
    write = {
        "python": "write_whole(run.path / 'big', bytes(10**6))",
        "safetensors": "save_file({'a': np.zeros(10**6)}, run.path / 'big')",
    }[library]
    program = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from safetensors.numpy import save_file\n"
        "from geneman.run_folder import RunFolder; from geneman.storage import write_whole\n"
        "from geneman.errors import RunFolderError\n"
        "try:\n"
        "    with RunFolder.locked(Path(sys.argv[1])) as run:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))\n"
        f"        {write}\n"
        "except RunFolderError as error: print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "disk that is full" in ended.stdout, ended.stderr
