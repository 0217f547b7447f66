"""VGGT: cameras, depth, points and tracks from images, feed-forward."""
