"""nvdiffrast's four operations as version 0.4.0 documents them, by our definitions; slow.

Images have a batch axis and row 0 at the bottom. A pixel is (u, v, z / w, triangle + 1).
"""

import torch

from tests.oracles import rasterise as oracle
from tests.oracles.texture import read_one_sample_at_a_time


class RasterizeCudaContext:
    def __init__(self, device=None):
        self.device = device


def check(*tensors):
    for tensor in tensors:
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.float32


def check_triangles(tri):
    assert tri.dtype == torch.int32
    assert tri.is_contiguous()
    assert tri.shape[0] > 0
    assert tri.shape[1] == 3


def rasterize(glctx, pos, tri, resolution, ranges=None, grad_db=True):
    assert isinstance(glctx, RasterizeCudaContext)
    assert pos.shape == (1, pos.shape[1], 4)
    assert ranges is None
    check(pos)
    assert torch.isfinite(pos).all(), "What becomes of other values is not documented."
    check_triangles(tri)
    height, width = resolution
    assert height == width
    found, _, depth = oracle.rasterise(pos[0].detach().double().numpy(), tri.numpy(), height)
    found = torch.from_numpy(found).flip(0)
    row, column = (found >= 0).nonzero(as_tuple=True)
    corners = pos[0][tri[found[row, column]].long()]
    centre = torch.stack([column, row], dim=1).add(0.5) * 2 / height - 1
    a, b, c = (corners[..., :2] - centre[:, None] * corners[..., 3:]).unbind(dim=1)
    areas = torch.stack([cross(b, c), cross(c, a), cross(a, b)], dim=1)
    weights = (areas / areas.sum(dim=1, keepdim=True))[:, :2]
    rest = torch.stack([torch.from_numpy(depth).flip(0)[row, column], found[row, column] + 1], 1)
    values = torch.cat([weights, rest.float()], dim=1)
    out = torch.zeros(height, width, 4).index_put((row, column), values)
    return out[None], torch.zeros(1, height, width, 4)


def cross(a, b):
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
    assert attr.dim() == 3
    assert rast_db is None
    check(attr, rast)
    check_triangles(tri)
    number = rast[0, ..., 3].long()
    corners = attr[0][tri[(number - 1).clamp(min=0)].long()]
    u, v = rast[0, ..., 0], rast[0, ..., 1]
    weights = torch.stack([u, v, 1 - u - v], dim=-1) * (number > 0)[..., None]
    return (weights[..., None] * corners).sum(dim=2)[None], torch.zeros(*rast.shape[:3], 0)


def texture(
    tex,
    uv,
    uv_da=None,
    mip_level_bias=None,
    mip=None,
    filter_mode="auto",
    boundary_mode="wrap",
    max_mip_level=None,
):
    assert uv_da is None
    assert mip is None
    assert filter_mode == "linear-mipmap-linear"
    assert boundary_mode == "clamp"
    check(tex, uv, mip_level_bias)
    assert tex.dim() == 4
    assert uv.shape[2:] == (mip_level_bias.shape[2], 2)
    side = tex.shape[1]
    for _ in range(max_mip_level):
        assert side % 2 == 0, "Texture size must be divisible by 2."
        side //= 2
    # The definition stops where a side is odd, and its row 0 is at the top.
    assert side % 2 == 1
    assert tex.shape[1] == tex.shape[2]
    return read_one_sample_at_a_time(tex[0].flip(0), uv[0, 0], mip_level_bias[0, 0])[None, None]


def antialias(color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
    check(color, rast, pos)
    check_triangles(tri)
    assert pos.dim() == 3
    changes, size = [], color.shape[1]
    for row, column in (torch.ones(size, size) > 0).nonzero().tolist():
        for other in ((row, column + 1), (row + 1, column)):
            pair = [(row, column), other]
            if max(other) < size and rast[0][pair[0]][3] != rast[0][pair[1]][3]:
                changes += blend(color[0], rast[0], pos[0], tri.tolist(), pair)
    out = color[0]
    for (row, column), change in changes:
        out = out.index_put((torch.tensor(row), torch.tensor(column)), change, accumulate=True)
    return out[None]


def blend(image, rast, pos, tri, pair):
    """Laine et al. 2020, section 3.4: only edges of the triangle that the nearer pixel sees."""
    first, second = (rast[at] for at in pair)
    if first[3] == 0 or (second[3] > 0 and second[2] <= first[2]):
        pair = pair[::-1]
    near, far = pair
    face = tri[int(rast[near][3]) - 1]
    step = torch.tensor([far[1] - near[1], far[0] - near[0]]).float()

    def seen(vertex):
        at = (pos[vertex, :2] / pos[vertex, 3] + 1) * image.shape[0] / 2
        at = at - torch.tensor([near[1] + 0.5, near[0] + 0.5])
        return torch.stack([(at * step).sum(), (at * step.flip(0)).sum()])

    edges = [(face[c - 2], face[c - 1], face[c]) for c in range(3)]
    found = [(crossing(seen(a), seen(b)), a, b, tip) for a, b, tip in edges]
    reach, a, b, tip = max(found, key=lambda one: one[0].item())
    if not 0 <= reach <= 1 or not steep(seen(a), seen(b)) or not ends(a, b, tip, tri, seen):
        return []
    target, source = (far, near) if reach > 0.5 else (near, far)
    return [(target, (reach - 0.5).abs() * (image[source] - image[target]))]


def crossing(a, b):
    """Where an edge passes the line between the centres; nowhere if it does not."""
    if (a[1] >= 0) == (b[1] >= 0):
        return torch.tensor(-torch.inf)
    return a[0] - a[1] * (b[0] - a[0]) / (b[1] - a[1])


def steep(a, b):
    return (b[1] - a[1]).abs() >= (b[0] - a[0]).abs()


def ends(a, b, tip, tri, seen):
    """Whether the surface ends at an edge: nothing beyond, or it folds back."""
    beyond = [v for face in tri if {a, b} < set(face) for v in face if v not in (a, b, tip)]
    if not beyond:
        return True
    along = seen(b) - seen(a)
    there, here = seen(beyond[0]) - seen(a), seen(tip) - seen(a)
    sides = [along[0] * to[1] - along[1] * to[0] for to in (there, here)]
    return bool(sides[0] * sides[1] >= 0)
