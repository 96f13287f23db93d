"""Reading a texture, as slow as it is plain."""

import torch


def halved(image):
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels).mean(dim=(1, 3))


def bilinear(image, u, v):
    side = image.shape[0]
    x = min(max(u * side - 0.5, 0.0), side - 1.0)
    y = min(max((1 - v) * side - 0.5, 0.0), side - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, side - 1), min(top + 1, side - 1)
    fx, fy = x - left, y - top
    upper = image[top, left] * (1 - fx) + image[top, right] * fx
    lower = image[bottom, left] * (1 - fx) + image[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def read_one_sample_at_a_time(texture, uv, level):
    """The definition: bilinear in the two nearest levels of the pyramid, linear between them."""
    pyramid = [texture]
    while pyramid[-1].shape[0] % 2 == 0:
        pyramid.append(halved(pyramid[-1]))
    values = []
    for (u, v), wanted in zip(uv.tolist(), level.tolist(), strict=True):
        at = min(max(wanted, 0.0), len(pyramid) - 1.0)
        fine = int(at)
        coarse = min(fine + 1, len(pyramid) - 1)
        blend = at - fine
        values.append(
            bilinear(pyramid[fine], u, v) * (1 - blend) + bilinear(pyramid[coarse], u, v) * blend
        )
    return torch.stack(values)
