"""Geometry of a camera rig over time: what earlier frame sets left is kept, in bounded memory."""
