"""One node a file: parameters, wiring, one call of the core, publish."""
