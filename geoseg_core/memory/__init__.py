"""What is remembered of every object from frame to frame, and how it helps to find it again."""
