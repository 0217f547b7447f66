"""Building blocks that every model shares: attention, rotary positions, ViT, DPT."""
