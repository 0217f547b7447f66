"""The small geometry network that is trained by this project: cameras, depth and matches from images alone."""
