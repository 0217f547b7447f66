"""The instance field of IGGT: features that tell instances apart in every view, and their clustering."""
