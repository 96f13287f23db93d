"""One hidden layer with ReLU over many rows, on a CPU: units stay in registers.

As matrix products the hidden units of half a million rows go to memory and back, several times
each way. Here a few rows at a time go all the way through; on the way back their units are computed
again, and rows without a gradient cost nothing.

N rows, F features, H hidden units, O outputs.
"""

from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from geneman.kernels.launch import launch
from geneman.kernels.snippets import refuse_gpu, snippet

wp.set_module_options({"enable_backward": False})

ROWS = 2048
"""Rows whose weights' gradients are added up together: however many threads, the same sums."""
FEWEST = 8
"""Features at least: a vector."""
UNITS = 32
"""Hidden units that fill the registers; units of weight 0 are added to others."""
WIDEST = 512
"""Hidden units at most."""

_HEAD = """
    const int features = x.shape[1], units = columns.shape[1], outputs = last.shape[0];
    const float* w = (const float*)columns.data;
    const float* v = (const float*)last.data;
    float hidden[8 * $widest];
    // Hidden units of `count` rows, at most 8 and two by two: 32 units of two rows in registers.
    auto look = [&](const float* rows, int count) {
        for (int unit = 0; unit < units; unit += 32) {
            for (int i = 0; i < count; i += 2) {
                const float* a = rows + (long long)features * i;
                const float* b = i + 1 < count ? a + features : a;
                f8 p0 = 0, p1 = 0, p2 = 0, p3 = 0, q0 = 0, q1 = 0, q2 = 0, q3 = 0;
                for (int k = 0; k < features; ++k) {
                    const f8a* at = (const f8a*)(w + units * k + unit);
                    p0 += a[k] * at[0]; q0 += b[k] * at[0];
                    p1 += a[k] * at[1]; q1 += b[k] * at[1];
                    p2 += a[k] * at[2]; q2 += b[k] * at[2];
                    p3 += a[k] * at[3]; q3 += b[k] * at[3];
                }
                const f8 p[4] = {p0, p1, p2, p3}, q[4] = {q0, q1, q2, q3};
                for (int k = 0; k < 4; ++k) {
                    *(f8a*)(hidden + units * i + unit + 8 * k) = p[k] < 0 ? (f8)0 : p[k];
                    *(f8a*)(hidden + units * (i + 1) + unit + 8 * k) = q[k] < 0 ? (f8)0 : q[k];
                }
            }
        }
    };
"""

_FORWARD = """
    for (int row = first; row < final; row += 8) {
        const int count = final - row < 8 ? final - row : 8;
        look((const float*)x.data + (long long)features * row, count);
        for (int i = 0; i < count; ++i)
            for (int o = 0; o < outputs; ++o) {
                f8 sum = 0;
                const float* own = hidden + units * i;
                for (int unit = 0; unit < units; unit += 8)
                    sum += *(const f8a*)(own + unit) * *(const f8a*)(v + units * o + unit);
                const auto half = sum.lo + sum.hi;
                const auto pair = half.lo + half.hi;
                ((float*)out.data)[(long long)outputs * (row + i) + o] = pair.x + pair.y;
            }
    }
"""

_BACKWARD = """
    float down[8 * $widest];
    const float* u = (const float*)rows.data;
    float* sums = (float*)partial.data + (long long)partial.shape[1] * block;
    float* last_sums = sums + features * units;
    for (int row = first; row < final; row += 8) {
        const int count = final - row < 8 ? final - row : 8;
        const float* given = (const float*)x.data + (long long)features * row;
        const float* slopes = (const float*)towards.data + (long long)outputs * row;
        float* back = (float*)x_gradient.data + (long long)features * row;
        bool heard = false;
        for (int i = 0; i < outputs * count; ++i) heard |= slopes[i] != 0.0f;
        if (!heard) {
            for (int i = 0; i < features * count; ++i) back[i] = 0.0f;
            continue;
        }
        look(given, count);
        for (int i = 0; i < count; ++i)
            for (int unit = 0; unit < units; unit += 8) {
                const f8 h = *(const f8a*)(hidden + units * i + unit);
                f8 sum = 0;
                for (int o = 0; o < outputs; ++o) {
                    const float slope = slopes[outputs * i + o];
                    sum += slope * *(const f8a*)(v + units * o + unit);
                    *(f8a*)(last_sums + units * o + unit) += slope * h;
                }
                // As compared here, what is no number goes on.
                *(f8a*)(down + units * i + unit) = h <= 0 ? (f8)0 : sum;
            }
        for (int begin = 0; begin < features; begin += 8) {
            // The last eight may overlap those before.
            const int k = begin + 8 > features ? features - 8 : begin;
            for (int i = 0; i < count; i += 2) {
                const int j = i + 1 < count ? i + 1 : i;
                f8 p = 0, q = 0, r = 0, s = 0;
                for (int unit = 0; unit < units; unit += 2) {
                    const f8 even = *(const f8a*)(u + features * unit + k);
                    const f8 odd = *(const f8a*)(u + features * (unit + 1) + k);
                    p += down[units * i + unit] * even; q += down[units * j + unit] * even;
                    r += down[units * i + unit + 1] * odd; s += down[units * j + unit + 1] * odd;
                }
                *(f8a*)(back + features * i + k) = p + r;
                *(f8a*)(back + features * j + k) = q + s;
            }
        }
        for (int k = 0; k < features; ++k)
            for (int unit = 0; unit < units; unit += 32) {
                f8a* at = (f8a*)(sums + units * k + unit);
                f8 p = at[0], q = at[1], r = at[2], s = at[3];
                for (int i = 0; i < count; ++i) {
                    const f8a* d = (const f8a*)(down + units * i + unit);
                    const float feature = given[features * i + k];
                    p += feature * d[0]; q += feature * d[1];
                    r += feature * d[2]; s += feature * d[3];
                }
                at[0] = p; at[1] = q; at[2] = r; at[3] = s;
            }
    }
"""


_Rows: Any = wp.array2d(dtype=wp.float32)


@wp.func_native(snippet(_HEAD, _FORWARD, widest=WIDEST))
@no_type_check
def _look(x: _Rows, columns: _Rows, last: _Rows, first: int, final: int, out: _Rows): ...


@wp.func_native(snippet(_HEAD, _BACKWARD, widest=WIDEST))
@no_type_check
def _look_back(
    x: _Rows,
    columns: _Rows,
    rows: _Rows,
    last: _Rows,
    towards: _Rows,
    block: int,
    first: int,
    final: int,
    x_gradient: _Rows,
    partial: _Rows,
): ...


@wp.kernel
@no_type_check
def _forward_rows(
    x: _Rows, columns: _Rows, last: _Rows, count: int, out: _Rows, begin: int
) -> None:
    """Answer for `count` rows for each index."""
    first = (begin + wp.tid()) * count
    _look(x, columns, last, first, wp.min(first + count, x.shape[0]), out)


@wp.kernel
@no_type_check
def _backward_rows(
    x: _Rows,
    columns: _Rows,
    rows: _Rows,
    last: _Rows,
    towards: _Rows,
    count: int,
    x_gradient: _Rows,
    partial: _Rows,
    begin: int,
) -> None:
    """Go back through `count` rows for each index, and add up what they say of the weights."""
    block = begin + wp.tid()
    first = block * count
    final = wp.min(first + count, x.shape[0])
    _look_back(x, columns, rows, last, towards, block, first, final, x_gradient, partial)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, hidden, last):  # type: ignore[no-untyped-def]
        x, idle = x.contiguous(), -len(hidden) % UNITS
        rows, last = pad(hidden, (0, 0, 0, idle)).contiguous(), pad(last, (0, idle)).contiguous()
        columns, out = rows.T.contiguous(), x.new_empty(len(x), len(last))
        inputs = (x, columns, last, ROWS, out)
        launch(_forward_rows, -(-len(x) // ROWS), inputs, x.device, grain=1)
        ctx.save_for_backward(x, rows, columns, last)
        ctx.units = len(hidden)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, towards):  # type: ignore[no-untyped-def]
        x, rows, columns, last = ctx.saved_tensors
        blocks, sizes = -(-len(x) // ROWS), [columns.numel(), last.numel()]
        back, partial = torch.empty_like(x), x.new_zeros(blocks, sum(sizes))
        given = (x, columns, rows, last, towards.contiguous())
        launch(_backward_rows, blocks, (*given, ROWS, back, partial), x.device, grain=1)
        of_columns, of_last = partial.sum(dim=0).split(sizes)
        of_columns, of_last = of_columns.reshape(columns.shape), of_last.reshape(last.shape)
        return back, of_columns[:, : ctx.units].T, of_last[:, : ctx.units]


def fits(hidden: Float[Tensor, "h f"]) -> bool:
    """Say whether a layer has sizes that this file is for; others are for torch."""
    units, features = hidden.shape
    return features >= FEWEST and units <= WIDEST


def perceptron(
    x: Float[Tensor, "n f"], hidden: Float[Tensor, "h f"], last: Float[Tensor, "o h"]
) -> Float[Tensor, "n o"]:
    """Give `last @ relu(hidden @ row)` for each row, on a CPU; differentiable once.

    Args:
        x: Rows.
        hidden: Weights of the hidden layer, whose sizes `fits` accepts.
        last: Weights of the outputs.

    Raises:
        ValueError: The rows are not on a CPU.
    """
    refuse_gpu("perceptron", x.device)
    out: Tensor = _Perceptron.apply(x, hidden, last)  # type: ignore[no-untyped-call]
    return out
