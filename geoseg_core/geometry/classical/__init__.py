"""Geometry without learning, by SIFT, essential matrices and triangulation: what learned encoders are compared with."""
