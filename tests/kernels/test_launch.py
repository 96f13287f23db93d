import subprocess
import sys

import pytest
import torch
import warp as wp

from geneman.kernels import launch as launch_module
from geneman.kernels.launch import compile_kernels, launch

CPU = torch.device("cpu")


@wp.kernel(enable_backward=False)
def add_index(values: wp.array(dtype=float), offset: float, begin: int):
    i = begin + wp.tid()
    values[i] = values[i] + offset + float(i)


@wp.kernel(enable_backward=False)
def lengths(points: wp.array(dtype=wp.vec3), out: wp.array(dtype=float), begin: int):
    i = begin + wp.tid()
    out[i] = wp.length(points[i])


@pytest.mark.parametrize("size", [1, 2, 7, 2048, 2049, 100_003])
@pytest.mark.parametrize("grain", [1, 5, 2048])
def test_every_index_runs_exactly_once(size, grain):
    values = torch.zeros(size)
    launch(add_index, size, [values, 0.5], CPU, grain=grain)
    assert torch.equal(values, torch.arange(size) + 0.5)


def test_an_empty_launch_does_nothing():
    launch(add_index, 0, [torch.zeros(0), 1.0], CPU)


def test_a_tensor_of_triples_becomes_an_array_of_vectors():
    points, out = torch.randn(1000, 3), torch.empty(1000)
    launch(lengths, 1000, [points, out], CPU)
    torch.testing.assert_close(out, points.norm(dim=-1))


def test_tensors_that_require_gradients_are_passed_as_they_are():
    points, out = torch.randn(10, 3, requires_grad=True), torch.empty(10)
    launch(lengths, 10, [points, out], CPU)
    torch.testing.assert_close(out, points.detach().norm(dim=-1))


def test_a_fault_in_a_thread_reaches_the_caller():
    with pytest.raises(RuntimeError):
        launch(add_index, 10_000, [torch.zeros(10_000)], CPU)


def test_the_number_of_threads_is_that_of_the_processors_given_to_the_process():
    assert launch_module._threads()[0] >= 1


def test_starting_says_nothing_on_either_stream():
    code = (
        "import torch; from geneman.kernels.launch import compile_kernels;"
        "compile_kernels(torch.device('cpu'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


def test_compiling_twice_is_harmless():
    compile_kernels(CPU)
    compile_kernels(CPU)
