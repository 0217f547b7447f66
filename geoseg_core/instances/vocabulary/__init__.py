"""Open vocabulary: classes for instances by text, at run time."""
