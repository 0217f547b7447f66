"""Masks carried from one view into the others."""
