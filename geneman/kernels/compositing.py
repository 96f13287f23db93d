"""Blend packed samples front to back, with hand-written adjoints.

R rays, N samples of all rays together, C channels. Sample i of a ray has the weight
w_i = T_i (1 - exp(-s_i)), where s_i is its density times its length and T_i = exp(-sum of the
s in front of it) the light that is left (Max 1995).
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.kernels.launch import launch
from geneman.kernels.ray_march import Samples

wp.set_module_options({"enable_backward": False})


@wp.kernel
@no_type_check
def _weights_forward(
    starts: wp.array(dtype=int),
    counts: wp.array(dtype=int),
    near: wp.array(dtype=float),
    far: wp.array(dtype=float),
    density: wp.array(dtype=float),
    weights: wp.array(dtype=float),
    light: wp.array(dtype=float),
    begin: int,
):
    ray = begin + wp.tid()
    left = wp.float32(1.0)
    for i in range(starts[ray], starts[ray] + counts[ray]):
        through = wp.exp(-density[i] * (far[i] - near[i]))
        light[i] = left
        weights[i] = left * (1.0 - through)
        left = left * through


@wp.kernel
@no_type_check
def _weights_backward(
    starts: wp.array(dtype=int),
    counts: wp.array(dtype=int),
    near: wp.array(dtype=float),
    far: wp.array(dtype=float),
    weights: wp.array(dtype=float),
    light: wp.array(dtype=float),
    weights_gradient: wp.array(dtype=float),
    density_gradient: wp.array(dtype=float),
    begin: int,
):
    # dw_i/ds_i = T_i - w_i, and dw_k/ds_i = -w_k for every k behind i.
    ray = begin + wp.tid()
    behind = wp.float32(0.0)
    for k in range(counts[ray]):
        i = starts[ray] + counts[ray] - 1 - k
        slope = weights_gradient[i] * (light[i] - weights[i]) - behind
        density_gradient[i] = slope * (far[i] - near[i])
        behind += weights_gradient[i] * weights[i]


@wp.kernel
@no_type_check
def _sum_forward(
    starts: wp.array(dtype=int),
    counts: wp.array(dtype=int),
    weights: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    out: wp.array2d(dtype=float),
    begin: int,
):
    ray = begin + wp.tid()
    for i in range(starts[ray], starts[ray] + counts[ray]):
        for channel in range(values.shape[1]):
            out[ray, channel] = out[ray, channel] + weights[i] * values[i, channel]


@wp.kernel
@no_type_check
def _sum_backward(
    rays: wp.array(dtype=wp.int64),
    weights: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    out_gradient: wp.array2d(dtype=float),
    weights_gradient: wp.array(dtype=float),
    values_gradient: wp.array2d(dtype=float),
    begin: int,
):
    i = begin + wp.tid()
    ray = wp.int32(rays[i])
    total = wp.float32(0.0)
    for channel in range(values.shape[1]):
        gradient = out_gradient[ray, channel]
        total += gradient * values[i, channel]
        values_gradient[i, channel] = gradient * weights[i]
    weights_gradient[i] = total


def weigh(density: Float[Tensor, "n"], samples: Samples) -> Float[Tensor, "n"]:
    """Give the share of each ray's light that each sample stops; differentiable in `density`.

    Args:
        density: Absorption per scene unit, at least 0.
        samples: The intervals that absorb.
    """
    weights: Tensor
    weights, _ = _Weigh.apply(density, samples)  # type: ignore[no-untyped-call]
    return weights


def visible(
    density: Float[Tensor, "n"], samples: Samples, *, least_light: float, least_alpha: float
) -> Bool[Tensor, "n"]:
    """Mark the samples that light still reaches and that stop some of it.

    Args:
        density: Absorption per scene unit.
        samples: The intervals that absorb.
        least_light: Share of the ray's light that must be left in front of a sample.
        least_alpha: Share of the arriving light that a sample must stop.
    """
    light: Tensor
    _, light = _Weigh.apply(density.detach(), samples)  # type: ignore[no-untyped-call]
    alpha = -torch.expm1(-density.detach() * (samples.far - samples.near))
    return (light >= least_light) & (alpha >= least_alpha)


def accumulate(
    weights: Float[Tensor, "n"], values: Float[Tensor, "n c"], samples: Samples
) -> Float[Tensor, "r c"]:
    """Add up weighted values along each ray; differentiable in both."""
    total: Tensor = _Accumulate.apply(weights, values, samples)  # type: ignore[no-untyped-call]
    return total


class _Weigh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, samples):  # type: ignore[no-untyped-def]
        density = density.contiguous()
        weights, light = torch.empty_like(density), torch.empty_like(density)
        spans = [samples.starts, samples.counts, samples.near, samples.far]
        inputs = [*spans, density, weights, light]
        launch(_weights_forward, len(samples.counts), inputs, density.device)
        ctx.save_for_backward(*spans, weights, light)
        ctx.mark_non_differentiable(light)
        return weights, light

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, weights_gradient, _):  # type: ignore[no-untyped-def]
        *spans, weights, light = ctx.saved_tensors
        slope = torch.empty_like(weights)
        inputs = [*spans, weights, light, weights_gradient.contiguous(), slope]
        launch(_weights_backward, len(spans[0]), inputs, weights.device)
        return slope, None


class _Accumulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, values, samples):  # type: ignore[no-untyped-def]
        weights, values = weights.contiguous(), values.contiguous()
        count = len(samples.counts)
        out = torch.zeros(count, values.shape[1], device=values.device)
        inputs = [samples.starts, samples.counts, weights, values, out]
        launch(_sum_forward, count, inputs, values.device)
        ctx.save_for_backward(samples.rays, weights, values)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):  # type: ignore[no-untyped-def]
        rays, weights, values = ctx.saved_tensors
        weights_gradient, values_gradient = torch.empty_like(weights), torch.empty_like(values)
        inputs = [rays, weights, values, out_gradient.contiguous()]
        inputs += [weights_gradient, values_gradient]
        launch(_sum_backward, len(weights), inputs, weights.device)
        return weights_gradient, values_gradient, None
