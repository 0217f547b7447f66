"""Prompts answered: points, boxes and masks become segments."""
