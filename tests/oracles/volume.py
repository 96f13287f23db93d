"""Ray marching and compositing one sample at a time."""

import math

import torch


def march(origin, direction, box, cells, step, jitter):
    """Intervals of one ray in float64: a list of (near, far)."""
    enter, leave = 0.0, math.inf
    for o, d, low, high in zip(origin, direction, box.minimum, box.maximum, strict=True):
        if d == 0:
            if not low <= o <= high:
                return []
            continue
        a, b = sorted(((low - o) / d, (high - o) / d))
        enter, leave = max(enter, a), min(leave, b)
    intervals, k = [], 0
    while enter + (k - jitter) * step < leave:
        a = max(enter + (k - jitter) * step, enter)
        b = min(enter + (k + 1 - jitter) * step, leave)
        k += 1
        if b <= a:
            continue
        cell = [
            min(int((o + (a + b) / 2 * d - low) / size * n), n - 1)
            for o, d, low, size, n in zip(
                origin, direction, box.minimum, box.size, cells.shape, strict=True
            )
        ]
        if cells[tuple(cell)]:
            intervals.append((a, b))
    return intervals


def composite(density, values, near, far, rays, count):
    """Weights of all samples and the sums of each ray, differentiable, any dtype."""
    light = [torch.ones((), dtype=density.dtype)] * count
    sums = [torch.zeros(values.shape[1], dtype=density.dtype)] * count
    weights = []
    for i, ray in enumerate(rays.tolist()):
        through = torch.exp(-density[i] * (far[i] - near[i]))
        weights.append(light[ray] * (1 - through))
        light[ray] = light[ray] * through
        sums[ray] = sums[ray] + weights[-1] * values[i]
    return torch.stack(weights), torch.stack(sums)
