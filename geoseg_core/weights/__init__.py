"""Weights of trained networks: where they come from, under which licence, and how they are read without trust."""
