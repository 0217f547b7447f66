"""Losses, each with the values that its tests work out by hand."""
