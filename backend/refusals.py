# SPDX-License-Identifier: Apache-2.0
"""How the server says no."""

from blender_addon.protocol import Kind, Problem


class RefusedError(Exception):
    """A request cannot be granted; nothing has changed."""

    def __init__(self, kind: Kind, rule: str, *, value: object, remedy: str) -> None:
        self.problem = Problem(kind, f"{rule}, but got {value}: {remedy}.", remedy)
        super().__init__(self.problem.sentence)
