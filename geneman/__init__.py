"""GeneMAN for Blender: one photo of a person in, one textured, rig-ready 3D person out.

The library behind the backend and the add-on; usable without either. The method is GeneMAN
(Wang et al., NeurIPS 2025, arXiv 2411.18624); the tree below follows it stage by stage.

SPDX-License-Identifier: Apache-2.0
"""

__version__ = "0.1.0"
