"""Cameras, pointmaps, transforms and the geometry encoders."""
