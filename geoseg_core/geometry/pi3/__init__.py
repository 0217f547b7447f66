"""Pi3 and Pi3X: permutation-equivariant geometry from images."""
