"""Compiled networks say what plain ones say, and no failure of a compiler ends a run."""

import logging
import shutil
import sys

import pytest
import torch
from torch import nn

from geneman.priors.compiling import Compiling, compiled, compiler_for
from geneman.priors.economy import TIERS, Economy
from geneman.priors.stable_diffusion import InPrecision
from tests.full_weights import SAMPLE, WIDTH, unet

CPU = torch.device("cpu")
NO_COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch compiles for CPUs with a C++ compiler, and there is none",
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return unet()


def calls():
    generator = torch.Generator().manual_seed(1)
    for time in (20, 700, 333):
        sample = torch.randn(2, 4, SAMPLE, SAMPLE, generator=generator)
        words = torch.randn(2, 5, WIDTH, generator=generator)
        yield sample, torch.tensor([time, time]), {"encoder_hidden_states": words}


def answers(network: nn.Module, economy: Economy) -> list[torch.Tensor]:
    denoiser = InPrecision(economy.adopt(network, often=True), economy)
    with torch.no_grad():
        return [denoiser(sample, times, **words) for sample, times, words in calls()]


class Counting:
    """A compiler that counts its calls, and hands the network back as it is."""

    def __init__(self) -> None:
        self.networks: list[nn.Module] = []

    def __call__(self, network: nn.Module) -> nn.Module:
        self.networks.append(network)
        return network


@pytest.fixture
def without_distutils():
    """Forget what the compiler imported of distutils: setuptools warns of it in later tests."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
        del sys.modules[name]


@NO_COMPILER
@pytest.mark.slow
@pytest.mark.usefixtures("without_distutils")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own, which are about torch
def test_a_compiled_network_gives_the_plain_one_s_answers(caplog):
    # diffusers' smallest with convolutions, attention and times: compiling takes its time.
    network = unet(
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",),
    )
    compiling = Compiling(compiled)
    with caplog.at_level(logging.WARNING, logger="geneman"):
        found = answers(network, Economy(compiling=compiling))
    assert not compiling.given_up, caplog.text
    assert list(compiling.made) == [id(network)]
    plain = answers(network, Economy())
    for compiled_answer, answer in zip(found, plain, strict=True):
        torch.testing.assert_close(compiled_answer, answer, atol=1e-5, rtol=1e-4)
    assert any(not torch.equal(*pair) for pair in zip(found, plain, strict=True))  # other kernels


def test_a_network_is_compiled_once_and_only_where_it_stays_whole_on_the_device(network):
    compiler = Counting()
    economy = Economy(compiling=Compiling(compiler))
    seldom = economy.adopt(nn.Linear(2, 2))
    answers(network, economy)
    with economy.at_work(seldom) as ask:
        assert ask is seldom
    assert compiler.networks == [network]
    for tier in TIERS[1:]:
        economy.use(tier)
        with economy.at_work(network) as ask:
            assert ask is network
    economy.dismiss(network)
    assert network not in economy.networks
    assert id(network) not in economy.often


@pytest.mark.parametrize("when", ["compiling", "calling"])
def test_a_failing_compiler_is_told_of_once_and_the_networks_run_as_they_are(network, when, caplog):
    def failing(*_, **__):
        raise AssertionError("no such kernel\nand forty lines more")

    compiling = Compiling(failing if when == "compiling" else lambda network: failing)
    economy = Economy(compiling=compiling)
    with caplog.at_level(logging.WARNING, logger="geneman"):
        found = answers(network, economy)
        other = answers(unet(), economy)
    assert caplog.messages == [
        "Networks run as they are, for UNet2DConditionModel could not be compiled: no such kernel"
    ]
    assert len(other) == 3
    for answer, plain in zip(found, answers(network, Economy()), strict=True):
        assert torch.equal(answer, plain)


def test_the_network_s_own_errors_are_its_own(network):
    economy = Economy(compiling=Compiling(Counting()))
    wrong = torch.zeros(1, 3, SAMPLE, SAMPLE)  # three channels where it has four
    denoiser = InPrecision(economy.adopt(network, often=True), economy)
    with pytest.raises(RuntimeError, match="channels"):
        denoiser(wrong, torch.tensor([1]), encoder_hidden_states=torch.zeros(1, 5, WIDTH))


def test_running_out_of_memory_is_left_to_the_lower_tier(network):
    def hungry(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    compiling = Compiling(lambda network: hungry)
    with pytest.raises(torch.OutOfMemoryError):
        answers(network, Economy(compiling=compiling))
    assert not compiling.given_up


def test_nothing_is_compiled_on_cpus_or_without_triton(monkeypatch):
    assert compiler_for(CPU) is None
    found = {"triton": None}
    monkeypatch.setattr("importlib.util.find_spec", found.get)
    cuda = torch.device("cuda")
    assert compiler_for(cuda) is None
    found["triton"] = object()
    assert compiler_for(cuda) is compiled


def test_who_asks_for_it_where_it_cannot_be_had_is_told(caplog):
    from geneman.cli.family import _compiling

    with caplog.at_level(logging.WARNING, logger="geneman"):
        assert _compiling(CPU) is None
    assert caplog.messages == [
        "Nothing is compiled: that needs a CUDA device and the package triton."
    ]
