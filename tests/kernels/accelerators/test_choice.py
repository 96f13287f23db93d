import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from geneman.errors import MissingComponentError, OptionError
from geneman.kernels.accelerators import choice, tinycudann
from geneman.kernels.accelerators.choice import TABLE, Wishes, accelerated, chosen, judge
from tests.kernels.accelerators.conftest import ENTRIES

CHOICE, CONSENT = choice.CHOICE_VARIABLE, choice.CONSENT_VARIABLE


def taken(**said):
    return set(chosen(said))


def test_without_the_packages_nothing_is_taken_over():
    if any(choice.importlib.util.find_spec(entry.name) for entry in TABLE):
        pytest.skip("Some accelerator is installed here, so absence cannot be tested.")
    assert not taken()
    for entry in TABLE:
        verdict = judge(entry, Wishes(), cuda=True)
        assert verdict.operations == ()
        assert "not installed" in verdict.reason
        assert verdict.remedy == entry.install


def test_automatically_nothing_that_was_not_timed_or_consented_to(stand_ins):
    assert taken() == set()
    assert chosen({CHOICE: "tinycudann"})["encode"] is tinycudann.encode


def test_consent_lets_a_non_commercial_package_in(stand_ins):
    assert taken(**{CONSENT: "nvdiffrast"}) == {"rasterise", "interpolate", "read_texture"}


def test_named_packages_do_all_they_can_and_others_nothing(stand_ins):
    assert taken(**{CHOICE: "kaolin"}) == {"march"}
    everything = taken(**{CHOICE: "nvdiffrast", CONSENT: "nvdiffrast"})
    assert everything == {"rasterise", "interpolate", "read_texture", "antialias"}


def test_the_price_of_what_is_used_is_told(stand_ins):
    asked = Wishes(named=frozenset({"tinycudann"}))
    used = judge(ENTRIES["tinycudann"], asked, cuda=True)
    assert used.operations == ("encode",)
    assert used.reason.endswith("not to the bit")
    left = judge(ENTRIES["kaolin"], Wishes(), cuda=True)
    assert left.operations == ()
    assert left.reason.startswith("march only by name: it sorts")
    assert left.remedy == "set GENEMAN_ACCELERATORS=kaolin"
    named = Wishes(named=frozenset({"kaolin"}))
    assert judge(ENTRIES["kaolin"], named, cuda=True).reason == "GENEMAN_ACCELERATORS names it"


def test_none_switches_all_off(stand_ins):
    assert not taken(**{CHOICE: "none", CONSENT: "nvdiffrast"})


def test_a_name_is_no_consent(stand_ins):
    with pytest.raises(MissingComponentError, match="set GENEMAN_ACCEPT_LICENCES=nvdiffrast"):
        chosen({CHOICE: "nvdiffrast"})


def test_a_named_package_that_is_missing_is_an_error():
    if choice.importlib.util.find_spec("kaolin"):
        pytest.skip("kaolin is installed here, so its absence cannot be tested.")
    with pytest.raises(MissingComponentError, match=r"must be usable, but got not installed.*pip"):
        chosen({CHOICE: "kaolin"})


@pytest.mark.parametrize("variable", [CHOICE, CONSENT])
def test_unknown_names_are_refused(variable):
    with pytest.raises(OptionError, match=f"{variable} must name accelerators, but got nvdifrast"):
        chosen({variable: "nvdifrast, kaolin"})


def test_without_cuda_nothing_is_imported(stand_ins, monkeypatch):
    monkeypatch.setattr(choice, "_import_failure", pytest.fail)
    for entry in TABLE:
        verdict = judge(entry, Wishes(), cuda=False)
        assert verdict.operations == ()
        assert "no CUDA device" in verdict.reason


def test_a_package_built_for_another_torch_is_left_and_the_reason_kept(stand_ins, monkeypatch):
    monkeypatch.setattr(choice, "_import_failure", lambda _: "undefined symbol: _ZNK2at")
    verdict = judge(ENTRIES["tinycudann"], Wishes(), cuda=True)
    assert verdict.operations == ()
    assert verdict.reason == "its import failed: undefined symbol: _ZNK2at"


def test_an_import_that_fails_is_told_by_its_first_line(stand_ins, monkeypatch, tmp_path):
    (tmp_path / "tinycudann.py").write_text("raise OSError('Unknown capability.\\nMore.')")
    monkeypatch.syspath_prepend(tmp_path)
    assert choice._import_failure("tinycudann") == "Unknown capability."


def test_every_operation_has_one_accelerator_and_an_owner_that_has_it():
    offered = [operation for entry in TABLE for operation in entry.operations + entry.by_name]
    assert sorted(offered) == sorted(set(offered))
    for entry in TABLE:
        owner = choice.importlib.import_module(f"geneman.kernels.accelerators.{entry.name}")
        assert all(callable(getattr(owner, name)) for name in entry.operations + entry.by_name)
        assert bool(entry.by_name) == bool(entry.by_name_reason)


def test_only_calls_on_cuda_are_taken_over(monkeypatch):
    def encode(points, scale=1):
        return "ours", scale

    monkeypatch.setattr(choice, "chosen", lambda _: {"encode": lambda points, scale: scale})
    marked = accelerated(encode)
    assert marked(torch.zeros(3), 2) == ("ours", 2)
    with FakeTensorMode():
        assert marked(torch.zeros(3, device="cuda"), scale=2) == 2
    monkeypatch.setattr(choice, "chosen", lambda _: {})
    with FakeTensorMode():
        assert marked(torch.zeros(3, device="cuda")) == ("ours", 1)


def test_entries_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TABLE[0].commercial = False
