"""Sizes of the query decoder and how its masks are read; the defaults are for the small network."""

from dataclasses import dataclass

from geoseg_core.config import setting

INSERTIONS = ("all", "early", "late", "interleaved")
# A class head's class 0 is this class id of the data it learned from, its class 1 the next one; class id 0 is no class.
FIRST_CLASS = 1


@dataclass(frozen=True)
class QueryConfig:
    """Widths, depths and counts."""

    token_width: int = setting(256, "channels of a token after the global attention", low=1)
    token_layers: int = setting(4, "layers of the network that is read", low=1)
    queries: int = setting(32, "object queries, the most instances that can be found", low=1)
    width: int = setting(128, "channels of a query", low=4)
    heads: int = setting(4, "attention heads", low=1)
    mlp_ratio: float = setting(4.0, "hidden width of the MLPs over the width", low=0.5)
    features: int = setting(64, "channels of the instance features", low=1)
    classes: int = setting(1, "classes of instances, the class ids of the data from 1 on; 1: things, whatever they are",
                           low=1)  # fmt: skip
    insertion: str = setting("all", "layers that the queries look at: all, the first or the last half, or every second "
                             "one up to the last", choices=INSERTIONS)  # fmt: skip

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that the queries look at, from 0."""
        depth = self.token_layers
        return {
            "all": tuple(range(depth)),
            "early": tuple(range((depth + 1) // 2)),
            "late": tuple(range(depth // 2, depth)),
            "interleaved": tuple(range((depth + 1) % 2, depth, 2)),
        }[self.insertion]


@dataclass(frozen=True)
class QueryDecodingConfig:
    """What of the queries' masks counts as an instance."""

    mask_chance: float = setting(0.5, "a pixel belongs to a mask from this chance on", "", 0.0, 1.0)
    least_score: float = setting(0.3, "an instance has at least this score: the confidence of its class times the "
                                 "overlap with the truth that is expected of its mask", "", 0.0, 1.0)  # fmt: skip
    most_overlap: float = setting(0.5, "of two masks with more overlap (intersection over union, all views together) "
                                  "the one with the lower score is dropped", "", 0.0, 1.0)  # fmt: skip
