"""Alignment: from a network's unit and world to metres and the world of tf, with how sure that is."""
