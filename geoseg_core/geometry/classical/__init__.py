"""Geometry without learning: SIFT matches, essential matrices, triangulation. What learned encoders are compared with."""
