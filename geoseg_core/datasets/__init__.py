"""Readers and writers of recorded and ground-truth data."""
