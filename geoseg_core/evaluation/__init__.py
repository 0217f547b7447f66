"""Metrics against ground-truth label images, reports, plots and pictures."""
