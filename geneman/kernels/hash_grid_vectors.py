"""The hash grid on a CPU: eight points at a time, in vectors that Warp's language does not have.

The same work as in `hash_grid_kernels`, in snippets: a look-up is then no longer arithmetic but the
waiting for its eight entries, and there are enough of them on the way at once to wait less. Two
features lie beside each other as they do in the table, those of four points in a vector of eight.

N points, L levels, as in `hash_grid`, which launches these kernels.
"""

from typing import Any, no_type_check

import torch
import warp as wp

from geneman.kernels.hash_grid_kernels import PRIME_Y, PRIME_Z
from geneman.kernels.snippets import snippet
from geneman.kernels.table_adam import ENTRIES

wp.set_module_options({"enable_backward": False})

_LEVEL = """
    const unsigned side = n + 1;
    const bool hashed = (long long)side * side * side > (long long)table_size;
    const unsigned by = hashed ? ${prime_y}u : side, bz = hashed ? ${prime_z}u : side * side;
    const unsigned mask = hashed ? table_size - 1 : 0xffffffffu;
    const float scale = n;
    const float* at = (const float*)points.data;
"""
"""What a level's points share. Entries of a feature pair are moved as doubles: no arithmetic."""

_EACH_GROUP = """
    for (int i = first; i < last; i += 8) {
        const int count = last - i < 8 ? last - i : 8;
        const float* from = at + 3ll * i;
        float rest[24];
        if (count < 8) {
            for (int k = 0; k < 24; ++k) rest[k] = k < 3 * count ? from[k] : 0.0f;
            from = rest;
        }
        const f8 p = *(const f8a*)from, q = *(const f8a*)(from + 8), r = *(const f8a*)(from + 16);
        const f8 xs = __builtin_shufflevector(p, q, 0, 3, 6, 9, 12, 15, -1, -1);
        const f8 ys = __builtin_shufflevector(p, q, 1, 4, 7, 10, 13, -1, -1, -1);
        const f8 zs = __builtin_shufflevector(p, q, 2, 5, 8, 11, 14, -1, -1, -1);
        const f8 place[3] = {__builtin_shufflevector(xs, r, 0, 1, 2, 3, 4, 5, 10, 13),
                             __builtin_shufflevector(ys, r, 0, 1, 2, 3, 4, 8, 11, 14),
                             __builtin_shufflevector(zs, r, 0, 1, 2, 3, 4, 9, 12, 15)};
        f8 part[3];
        u8 cell[3];
        for (int k = 0; k < 3; ++k) {
            // As compared here, what is no number goes to 0.
            f8 x = place[k] > 0.0f ? place[k] : (f8)0.0f;
            x = (x < 1.0f ? x : (f8)1.0f) * scale;
            i8 lower = __builtin_convertvector(x, i8);
            lower = lower < n - 1 ? lower : (i8)(n - 1);
            part[k] = x - __builtin_convertvector(lower, f8);
            cell[k] = __builtin_convertvector(lower, u8);
        }
        const u8 x[2] = {cell[0], cell[0] + 1u};
        const u8 y[2] = {cell[1] * by, cell[1] * by + by};
        const u8 z[2] = {cell[2] * bz, cell[2] * bz + bz};
"""
"""Where eight points lie; those beyond the last are zeros, and nothing of them is kept."""

_ENTRY = "(hashed ? x[c & 1] ^ y[c >> 1 & 1] ^ z[c >> 2] : x[c & 1] + y[c >> 1 & 1] + z[c >> 2])"
"""Index of corner c within the level, before it is masked."""

_READ = {
    torch.float32: """
        f8 near[8], far[8];
        for (int c = 0; c < 8; ++c) {
            const u8 k = $entry & mask;
            const double* entries = (const double*)table.data + offset;
            near[c] = (f8)(d4){entries[k[0]], entries[k[1]], entries[k[2]], entries[k[3]]};
            far[c] = (f8)(d4){entries[k[4]], entries[k[5]], entries[k[6]], entries[k[7]]};
        }
""",
    torch.bfloat16: """
        f8 near[8], far[8];
        for (int c = 0; c < 8; ++c) {
            const u8 k = $entry & mask;
            const unsigned* entries = (const unsigned*)table.data + offset;
            u8 words;
            for (int j = 0; j < 8; ++j) words[j] = entries[k[j]];
            const f8 even = (f8)(words << 16), odd = (f8)(words & 0xffff0000u);
            near[c] = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
            far[c] = __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
        }
""",
}
"""Both features of the eight corners, of the first four points and of the last four."""

_LOOK_UP = """
        for (int half = 0; half < 2; ++half) {
            f8* e = half ? far : near;
            f8 w[3];
            for (int k = 0; k < 3; ++k)
                w[k] = half ? __builtin_shufflevector(part[k], part[k], 4, 4, 5, 5, 6, 6, 7, 7)
                            : __builtin_shufflevector(part[k], part[k], 0, 0, 1, 1, 2, 2, 3, 3);
            for (int c = 0; c < 8; c += 2) e[c] = e[c] + w[0] * (e[c + 1] - e[c]);
            for (int c = 0; c < 8; c += 4) e[c] = e[c] + w[1] * (e[c + 2] - e[c]);
            const d4 found = (d4)(e[0] + w[2] * (e[4] - e[0]));
            double* to = (double*)out.data + (long long)out.shape[1] * (i + 4 * half) + level;
            for (int j = 0; j < 4 && 4 * half + j < count; ++j)
                to[(long long)out.shape[1] * j] = found[j];
        }
    }
"""

_ADD = """
    f2 gradients[2][8];
    f8 shares[2][8];
    u8 entries[2][8];
    int rows[2] = {0, 0};
    int slot = 0;
    f2* sums = (f2*)total.data;
    auto add = [&](int which) {
        for (int j = 0; j < 8; ++j) {
            if (!(rows[which] >> j & 1)) continue;
            for (int c = 0; c < 8; ++c) {
                const unsigned k = entries[which][c][j];
                sums[k] += shares[which][c][j] * gradients[which][j];
                if (touched.data) touched.data[k / $entries] = 1;
            }
        }
        rows[which] = 0;
    };
"""
"""Eight points' shares are added up when the next eight's entries are on their way."""

_SPREAD = """
        f2 (&towards)[8] = gradients[slot];
        int& heard = rows[slot];
        heard = 0;
        for (int j = 0; j < count; ++j) {
            towards[j] = ((const f2*)gradient.data)[(long long)gradient.shape[1] * (i + j) + level];
            heard |= ((towards[j][0] != 0.0f) | (towards[j][1] != 0.0f)) << j;
        }
        if (!heard) continue;
        for (int c = 0; c < 8; ++c) {
            const f8 along[3] = {c & 1 ? part[0] : 1.0f - part[0],
                                 c & 2 ? part[1] : 1.0f - part[1],
                                 c & 4 ? part[2] : 1.0f - part[2]};
            shares[slot][c] = along[0] * along[1] * along[2];
            entries[slot][c] = ($entry & mask) + (unsigned)offset;
            for (int j = 0; j < 8; ++j) __builtin_prefetch(sums + entries[slot][c][j], 1);
        }
        slot = 1 - slot;
        add(slot);
    }
    add(1 - slot);
"""

_SLOPES = """
        f8 towards[2];
        for (int j = 0; j < 8; ++j) {
            const long long row = (long long)gradient.shape[1] * (i + (j < count ? j : 0)) + level;
            const f2 heard = ((const f2*)gradient.data)[row];
            for (int k = 0; k < 2; ++k) towards[k][j] = scale * heard[k];
        }
        f8 v[8];
        for (int c = 0; c < 8; ++c) {
            const f8 even = __builtin_shufflevector(near[c], far[c], 0, 2, 4, 6, 8, 10, 12, 14);
            const f8 odd = __builtin_shufflevector(near[c], far[c], 1, 3, 5, 7, 9, 11, 13, 15);
            v[c] = even * towards[0] + odd * towards[1];
        }
        f8 slope[3];
        for (int k = 0; k < 3; ++k) {
            // Along axis k the difference of the ends, blended along the other two.
            const int a = 1 << k, b = 1 << (k + 1) % 3, d = 1 << (k + 2) % 3;
            const f8 s = part[(k + 1) % 3], t = part[(k + 2) % 3];
            const f8 low = v[a] - v[0], high = v[a + d] - v[d];
            const f8 front = low + s * (v[a + b] - v[b] - low);
            const f8 behind = high + s * (v[a + b + d] - v[b + d] - high);
            // Outside, points are moved to the cube's surface: no slope.
            const f8 inside = ((place[k] < 0.0f) | (place[k] > 1.0f)) ? (f8)0.0f : (f8)1.0f;
            slope[k] = inside * (front + t * (behind - front));
        }
        float* to = (float*)total.data + 3ll * i;
        for (int j = 0; j < count; ++j)
            for (int k = 0; k < 3; ++k) to[3 * j + k] += slope[k][j];
    }
"""


def _snippet(*parts: str) -> str:
    """Put a function's body together."""
    numbers = {"prime_y": int(PRIME_Y), "prime_z": int(PRIME_Z), "entries": int(ENTRIES)}
    return snippet(*parts, entry=_ENTRY, **numbers)


_Points: Any = wp.array(dtype=wp.vec3)
_Pairs: Any = wp.array2d(dtype=wp.vec2)
_Entries: Any = wp.array(dtype=wp.vec2)
_Words: Any = wp.array(dtype=wp.uint32)
"""Tables of float32, and of bfloat16: Warp chooses a function by its table's type."""


@wp.func_native(_snippet(_LEVEL, _EACH_GROUP, _READ[torch.float32], _LOOK_UP))
@no_type_check
def _look_up(
    points: _Points,
    table: _Entries,
    n: int,
    offset: int,
    table_size: int,
    level: int,
    first: int,
    last: int,
    out: _Pairs,
): ...


@wp.func_native(_snippet(_LEVEL, _EACH_GROUP, _READ[torch.bfloat16], _LOOK_UP))  # type: ignore[no-redef]
@no_type_check
def _look_up(
    points: _Points,
    table: _Words,
    n: int,
    offset: int,
    table_size: int,
    level: int,
    first: int,
    last: int,
    out: _Pairs,
): ...


@wp.func_native(_snippet(_LEVEL, _ADD, _EACH_GROUP, _SPREAD))
@no_type_check
def _spread(
    points: _Points,
    n: int,
    offset: int,
    table_size: int,
    level: int,
    first: int,
    last: int,
    gradient: _Pairs,
    total: _Entries,
    touched: wp.array(dtype=wp.uint8),
): ...


@wp.func_native(_snippet(_LEVEL, _EACH_GROUP, _READ[torch.float32], _SLOPES))
@no_type_check
def _slopes(
    points: _Points,
    table: _Entries,
    n: int,
    offset: int,
    table_size: int,
    level: int,
    first: int,
    last: int,
    gradient: _Pairs,
    total: _Points,
): ...


@wp.func_native(_snippet(_LEVEL, _EACH_GROUP, _READ[torch.bfloat16], _SLOPES))  # type: ignore[no-redef]
@no_type_check
def _slopes(
    points: _Points,
    table: _Words,
    n: int,
    offset: int,
    table_size: int,
    level: int,
    first: int,
    last: int,
    gradient: _Pairs,
    total: _Points,
): ...


@wp.kernel
@no_type_check
def _look_up_block(
    points: _Points,
    table: wp.array(dtype=Any),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    block: int,
    out: _Pairs,
    begin: int,
):
    """Look up a block of points in one level for each index: its entries stay in the cache."""
    index = begin + wp.tid()
    blocks = (points.shape[0] + block - 1) // block
    level = index // blocks
    first = (index - level * blocks) * block
    last = wp.min(first + block, points.shape[0])
    n, offset = resolutions[level], offsets[level]
    _look_up(points, table, n, offset, table_size, level, first, last, out)


@wp.kernel
@no_type_check
def spread_levels(
    points: _Points,
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    open_levels: int,
    groups: int,
    stretch: int,
    out_gradient: _Pairs,
    table_gradient: _Entries,
    touched: wp.array(dtype=wp.uint8),
    begin: int,
):
    """Add up every so many-th level for each index, so that nobody else adds to its entries.

    Marks the blocks of entries that it adds to, where it is given marks. A block on the border of
    two levels may be marked by both at once: with the same.
    """
    group = begin + wp.tid()
    for first in range(0, points.shape[0], stretch):
        last = wp.min(first + stretch, points.shape[0])
        for level in range(group, open_levels, groups):
            n, offset = resolutions[level], offsets[level]
            _spread(
                points,
                n,
                offset,
                table_size,
                level,
                first,
                last,
                out_gradient,
                table_gradient,
                touched,
            )


@wp.kernel
@no_type_check
def _slope_block(
    points: _Points,
    table: wp.array(dtype=Any),
    resolutions: wp.array(dtype=int),
    offsets: wp.array(dtype=int),
    table_size: int,
    level: int,
    block: int,
    out_gradient: _Pairs,
    points_gradient: _Points,
    begin: int,
):
    """Add the slopes in one level to those of a block of points for each index."""
    first = (begin + wp.tid()) * block
    last = wp.min(first + block, points.shape[0])
    n, offset = resolutions[level], offsets[level]
    _slopes(points, table, n, offset, table_size, level, first, last, out_gradient, points_gradient)


FORWARD, BACKWARD_POINTS = (
    {
        torch.float32: wp.overload(kernel, {"table": _Entries}),
        torch.bfloat16: wp.overload(kernel, {"table": _Words}),
    }
    for kernel in (_look_up_block, _slope_block)
)
"""By the table's dtype."""
