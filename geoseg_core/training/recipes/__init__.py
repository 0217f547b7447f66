"""Recipes: one module for each model that can be trained; registry.py lists them."""
