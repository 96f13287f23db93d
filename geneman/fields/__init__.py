"""Functions of space: networks on hash grids, and the tetrahedra that carry surfaces."""
