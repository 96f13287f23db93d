"""The method's own chain, tiny, through the real server: killed, and changed by hand."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.client import Client, RequestRefusedError
from blender_addon.frames import Packer
from blender_addon.protocol import (
    Edits,
    GetJob,
    Job,
    JobIs,
    JobState,
    Kind,
    MeshFrame,
    Rerun,
    StageEnded,
    Step,
    Texture,
)
from geneman.run_folder import STAGES
from tests.backend.running import Running, ended, running
from tests.tiny_photo import TINY, write_photo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX"),
]
SECONDS = 300.0


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photo")
    write_photo(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("--program", "backend.reconstruction")
    with running(tmp_path_factory.mktemp("real") / "store", *options) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with server.client(ready=SECONDS) as found:
        yield found


def submitted(client: Client, photo: Path) -> str:
    packer = Packer()
    maps: dict[str, Any] = {
        name: packer.add_file((photo / f"{name}.png").read_bytes()) for name in ("mask", "normal")
    }
    maps |= {name: packer.add(np.load(photo / f"{name}.npy")) for name in ("depth", "landmarks")}
    data = (photo / "photo.png").read_bytes()
    return client.submit(data, packer, label="tiny", recipe=TINY, maps=maps).job.id


def digests(job: Job) -> dict[str, str]:
    names = ("sculpt/mesh.safetensors", "pixel_texture/albedo.png", "finish/model.glb")
    return {a.name: a.sha256 for a in job.artefacts if a.name in names}


def fetched(client: Client, job: Job, name: str, folder: Path) -> Path:
    artefact = next(a for a in job.artefacts if a.name == name)
    client.fetch(job.id, artefact, folder / Path(name).name)
    return folder / Path(name).name


@pytest.fixture(scope="module")
def undisturbed(server: Running, photo: Path) -> Job:
    with server.client(ready=SECONDS) as client:
        job = ended(client, submitted(client, photo), SECONDS)
    assert job.failure is None
    return job


def test_a_killed_reconstruction_ends_with_the_same_person(
    server: Running, client: Client, photo: Path, undisturbed: Job
) -> None:
    name = submitted(client, photo)
    for stage in ("nerf_init", "sculpt"):
        client.wait(
            lambda e, at=stage: isinstance(e, Step) and (e.job, e.stage) == (name, at),  # type: ignore[misc]
            SECONDS,
        )
        server.worker().kill()
    killed = ended(client, name, SECONDS)
    assert killed.state is JobState.DONE
    assert digests(killed) == digests(undisturbed)


def test_what_was_sculpted_and_painted_by_hand_goes_on_from_there(
    client: Client, undisturbed: Job, tmp_path: Path
) -> None:
    name, before = undisturbed.id, undisturbed
    ran: list[str] = []
    told: list[Texture] = []

    def last(event: Any) -> bool:
        if isinstance(event, StageEnded) and event.job == name and not event.kept:
            ran.append(event.stage)
        if isinstance(event, Texture) and event.job == name:
            told.append(event)
        job = getattr(event, "job", None)
        return getattr(job, "id", None) == name and getattr(job, "state", None) is JobState.DONE

    # Sculpt: the finished model, as the add-on shows it, in metres.
    model = fetched(client, before, "finish/model.glb", tmp_path).read_bytes()
    packer = Packer()
    edits = Edits(mesh=packer.add_file(model), frame=MeshFrame.METRES)
    client.ask(Rerun(name, start="latent_texture", edits=edits), JobIs, packer.frames)
    after = client.wait(last, SECONDS).job  # type: ignore[union-attr]
    assert ran == ["sculpt", "latent_texture", "pixel_texture", "finish"]
    assert [stage.name for stage in after.stages if stage.edited] == ["sculpt"]
    assert any(texture.placement is not None for texture in told)
    assert all(texture.normal_map is not None for texture in told)

    # Paint: only what comes after is computed, and the paint is what one gets.
    ran.clear()
    paint = np.full((64, 64, 3), (10, 200, 30), np.uint8)
    packer = Packer()
    client.ask(Rerun(name, edits=Edits(albedo=packer.add(paint))), JobIs, packer.frames)
    after = client.wait(last, SECONDS).job  # type: ignore[union-attr]
    assert ran == ["pixel_texture", "finish"]
    with Image.open(fetched(client, after, "finish/albedo.png", tmp_path)) as albedo:
        np.testing.assert_array_equal(np.asarray(albedo), paint)
    with pytest.raises(RequestRefusedError) as caught:
        client.ask(Rerun(name, start="sculpt"), JobIs)
    assert caught.value.problem.kind is Kind.EDITED

    # Give both up: the person is the one from before.
    client.ask(Rerun(name, discard=("sculpt", "pixel_texture")), JobIs)
    again = client.wait(last, SECONDS).job  # type: ignore[union-attr]
    assert digests(again) == digests(before)
    wish = client.ask(GetJob(name), JobIs).wish
    assert wish is not None
    assert wish.recipe["nerf_init"]["field.width"] == 16
    assert set(wish.maps) == {"mask", "normal", "depth", "landmarks"}


def test_any_mesh_is_textured_from_a_photo_without_a_reconstruction(
    client: Client, undisturbed: Job, photo: Path, tmp_path: Path
) -> None:
    model = fetched(client, undisturbed, "finish/model.glb", tmp_path).read_bytes()
    packer = Packer()
    data = (photo / "photo.png").read_bytes()
    mask = packer.add_file((photo / "mask.png").read_bytes())
    edits = Edits(mesh=packer.add_file(model), frame=MeshFrame.ANYWHERE)
    wish = {"label": "any", "recipe": TINY, "start": "latent_texture"}
    name = client.submit(data, packer, maps={"mask": mask}, edits=edits, **wish).job.id
    done = ended(client, name, SECONDS)
    assert done.failure is None
    states = {stage.name: stage.state.value for stage in done.stages}
    assert states == dict.fromkeys(STAGES, "done") | {"nerf_init": "missing"}
