"""Procedural multi-view scenes with exact ground truth, made on the fly by a batched ray caster in torch."""
