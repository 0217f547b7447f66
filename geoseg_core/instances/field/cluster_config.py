"""How instance features are clustered; torch-free. The defaults are those of the released IGGT."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class FieldClusterConfig:
    """How features become instances; sizes count pixels of all views together."""

    neighbours: int = setting(20, "a feature is the mean over so many neighbours in space; 0 for itself", "pixels", 0)
    epsilon: float = setting(0.06, "clusters nearer than this are one", "", 0.0, 2.0)
    min_samples: int = setting(100, "neighbours that a feature needs to be dense", "pixels", 1)
    min_cluster: int = setting(500, "a smaller cluster is noise", "pixels", 2)
    single: bool = setting(False, "whether all that is seen may be one instance")
    whole_up_to: int = setting(20_000, "more pixels than this are clustered by a sample", "pixels", 100)
    sample: int = setting(8_000, "features of that sample", "", 100)
    least_cluster: int = setting(12, "a cluster of the sample has at least so many features", "", 2)
    least_samples: int = setting(5, "and a dense feature of it at least so many neighbours", "", 1)
    stride: int = setting(4, "largest side of a square that gets one label where no instance ends", "pixels", 1, 16)
    prototypes: int = setting(8, "features that stand for a cluster when the rest is labelled", "", 1, 64)


# For the small network: cells of 4 x 4 pixels, some thousand in all views, of what is on things alone.
SMALL_CLUSTERS = FieldClusterConfig(neighbours=0, epsilon=0.15, min_samples=4, min_cluster=8, single=True)
