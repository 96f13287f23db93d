"""Normals and smoothness of a mesh by gathering and scattering in torch, in any precision."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def smooth_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = vertices[faces].unbind(dim=1)
    spread = torch.linalg.cross(b - a, c - a)[:, None].expand(-1, 3, -1).reshape(-1, 3)
    return normalize(torch.zeros_like(vertices).index_add(0, faces.reshape(-1), spread), dim=-1)


def agreement(normals: Tensor, faces: Tensor) -> Tensor:
    ends = normals[faces]
    return (ends * ends.roll(1, dims=1)).sum(dim=(1, 2))


def stand_off(vertices: Tensor, faces: Tensor) -> Tensor:
    corners = vertices[faces]
    others = (corners.roll(1, dims=1) + corners.roll(-1, dims=1)) / 2
    counted = torch.cat([others, torch.ones_like(others[..., :1])], dim=-1).reshape(-1, 4)
    total = counted.new_zeros(len(vertices), 4).index_add(0, faces.reshape(-1), counted)
    mean = total[:, :3] / total[:, 3:].clamp(min=1.0)
    return ((mean - vertices).square().sum(dim=-1) + 1e-12).sqrt()
