"""Training: the contract of a recipe, the loop, losses, and one recipe for each model."""
