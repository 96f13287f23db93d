"""GeneMAN for Blender: one photo of a person in, one textured, rig-ready 3D person out.

The library behind the backend and the add-on; usable without either. The method is GeneMAN
(Wang et al., NeurIPS 2025, arXiv 2411.18624); the tree below follows it stage by stage.

SPDX-License-Identifier: Apache-2.0
"""

import os

# Torch's OpenMP threads spin while they wait for each other. Beside any other work on the same
# cores (Blender itself, a second job) they then spin away each other's turns: a draft went from
# 47 seconds to ten minutes. Sleeping costs a few percent alone. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large tensors come in pages of 2 MB where Linux has them, instead of 4 kB made one at a time as
# they are first touched: a quarter of the faults, and 5 % less time, in a sculpt step.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"
