"""Cameras and the rays they shoot.

World: right-handed, z up, the person faces -y, the reference camera stands on -y and looks at
the origin. Cameras look along their own -z, y up, x right. Images are H x W, row 0 at the top,
and pixel (row, column) has its centre at (row + 0.5, column + 0.5). One scene unit is a third of
the reference distance, until `finish` turns it into metres.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NEAR, FAR = 0.1, 10.0
"""Clip distances in scene units; they only scale the depth buffer."""


@dataclass(frozen=True)
class Orbit:
    """A pinhole camera that looks at `centre` from a sphere around it.

    Azimuth 0 is the person's front, 90 the person's left side (camera on +x); elevation is
    positive above the horizon. Square images; `fov_deg` spans a whole side.
    """

    azimuth_deg: float = 0.0
    elevation_deg: float = 0.0
    distance: float = 3.0
    fov_deg: float = 20.0
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def focal(self) -> float:
        """Focal length in units of half an image side."""
        return 1.0 / math.tan(math.radians(self.fov_deg) / 2)

    def rotation(self) -> Float[Tensor, "3 3"]:
        """Camera to world: the columns are the camera's right, up and backward axes."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        sa, ca, se, ce = (
            math.sin(azimuth),
            math.cos(azimuth),
            math.sin(elevation),
            math.cos(elevation),
        )
        right, up, backward = [ca, sa, 0.0], [-se * sa, se * ca, ce], [ce * sa, -ce * ca, se]
        return torch.tensor([right, up, backward]).T.contiguous()

    def position(self) -> Float[Tensor, "3"]:
        """Where the camera stands, in world coordinates."""
        return torch.tensor(self.centre) + self.distance * self.rotation()[:, 2]

    def to_camera(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Turn world points into camera coordinates (x right, y up, z backward)."""
        return (points - self.position().to(points)) @ self.rotation().to(points)

    def to_world(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Turn camera coordinates into world points: the inverse of `to_camera`."""
        return points @ self.rotation().to(points).T + self.position().to(points)

    def turn_to_world(self, directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Turn directions (normals) from the camera's frame into the world's."""
        return directions @ self.rotation().to(directions).T

    def turn_to_camera(self, directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Turn directions (normals) from the world's frame into the camera's."""
        return directions @ self.rotation().to(directions)

    def project(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Give image coordinates and depth of world points.

        Returns:
            x, y in [-1, 1] inside the frame (x right, y up), and the depth along the viewing
            axis in scene units (positive in front of the camera).
        """
        seen = self.to_camera(points)
        depth = -seen[..., 2:]
        return torch.cat([seen[..., :2] * self.focal / depth, depth], dim=-1)

    def unproject(
        self, image_points: Float[Tensor, "*n 2"], depth: Float[Tensor, "*n"]
    ) -> Float[Tensor, "*n 3"]:
        """Give the world points at `depth` behind image coordinates: the inverse of `project`."""
        across = image_points * (depth / self.focal)[..., None]
        return self.to_world(torch.cat([across, -depth[..., None]], dim=-1))

    def clip_coordinates(
        self, points: Float[Tensor, "v 3"], *, far_side: bool = False
    ) -> Float[Tensor, "v 4"]:
        """Give homogeneous clip coordinates (OpenGL's convention, y up) for the rasteriser.

        Args:
            points: World points.
            far_side: Flip the depth, so that the surface farthest along each ray wins: the
                hidden side of the person, at the same pixels as the visible one.
        """
        seen = self.to_camera(points)
        x, y, depth = seen[:, 0] * self.focal, seen[:, 1] * self.focal, -seen[:, 2]
        z = (depth * (FAR + NEAR) - 2 * FAR * NEAR) / (FAR - NEAR)
        return torch.stack([x, y, -z if far_side else z, depth], dim=-1)

    def rays(self, image_points: Float[Tensor, "r 2"]) -> "Rays":
        """Shoot rays through image coordinates (x right, y up, in [-1, 1])."""
        ones = torch.full_like(image_points[:, :1], -self.focal)
        directions = torch.nn.functional.normalize(torch.cat([image_points, ones], -1), dim=-1)
        directions = self.turn_to_world(directions)
        return Rays(self.position().to(directions).expand_as(directions), directions)


@dataclass(frozen=True)
class Rays:
    """Half lines in the world; directions have unit length."""

    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]


REFERENCE = Orbit()
"""The camera that every photo is said to be taken with (METHOD section 2)."""


def pixel_grid(size: int) -> Float[Tensor, "h w 2"]:
    """Give the image coordinates (x right, y up) of the pixel centres of a square image."""
    steps = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    return torch.stack([x, y], dim=-1)
