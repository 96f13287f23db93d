"""From fields and meshes to images, differentiably."""
