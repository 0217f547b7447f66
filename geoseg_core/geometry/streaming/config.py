"""Settings of streaming."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class StreamingConfig:
    """What is kept of earlier frame sets, and when a new sequence starts."""

    window: int = setting(4, "earlier frame sets that a new one sees, besides the anchors", "sets", 0, 1000)
    anchors: int = setting(1, "first frame sets of a sequence, which stay seen to its end", "sets", 1, 100)
    budget_mib: int = setting(2048, "memory for what is kept of earlier sets; a long window shrinks to it", "MiB", 1)
    change: float = setting(
        0.02, "a view is embedded anew once the mean of a few pixels changes by more, as part of white", "", 0.0, 1.0
    )
    max_gap_s: float = setting(2.0, "a longer jump of the stamps, on or back, starts a new sequence", "s", 0.0)
