"""The union segmentation head of VGGT-S: an object marked in one view is found in the others."""
