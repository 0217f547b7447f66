"""Things of the scene: found over the merged views, kept apart and recognised over time."""
