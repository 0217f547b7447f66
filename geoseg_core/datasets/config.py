"""What all readers of datasets share: the size of the images, and how views of one scene are chosen."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class ReaderConfig:
    """Settings of a reader; which of them a reader uses, its docstring says."""

    height: int = setting(168, "height of the images, 0 with a width of 0 leaves them as they are", "px", 0, 100_000)
    width: int = setting(224, "width of the images", "px", 0, 100_000)
    fit: str = setting("crop", "other aspects: crop what is too much, or pad what is missing", choices=("crop", "pad"))
    views: int = setting(2, "views in a sample", "", 1, 1000)
    samples_per_scene: int = setting(1, "samples drawn from each scene in one walk over the dataset", "", 1, 1_000_000)
    least_gap: int = setting(5, "least distance between successive views", "frames", 1, 1_000_000)
    largest_gap: int = setting(60, "largest distance between successive views", "frames", 1, 1_000_000)
    least_overlap: float = setting(
        0.2, "share of the first view's surface that falls into each other view; 0 does not ask", "", 0.0, 1.0
    )
    tries: int = setting(8, "choices of views that are tried before the one with most overlap is taken", "", 1, 1000)
    seed: int = setting(0, "of every choice", "", 0)
