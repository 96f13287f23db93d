"""Find the finished person of a run."""

from pathlib import Path

from geneman.errors import RunFolderError
from geneman.gltf_reader import read_glb
from geneman.mesh import TexturedMesh
from geneman.run_folder import RunFolder
from geneman.stages.finish import MODEL


def finished_person(path: Path) -> TexturedMesh:
    """Read the person of a finished run, in metres.

    Raises:
        RunFolderError: There is no such run, or it has not come to its end.
    """
    run = RunFolder.read(path)
    model = run.path / MODEL
    if not model.is_file():
        states = run.states()
        raise RunFolderError(
            "the run must be finished",
            value=f"'{path}', where " + ", ".join(f"{s} is {w}" for s, w in states.items()),
            remedy=f"go on with: geneman reconstruct PHOTO -o {path}",
        )
    return read_glb(model)
