"""Settings of the classical encoder."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class ClassicalConfig:
    """How features are found and matched, and what a camera may be."""

    detector: str = setting("sift", "what finds and describes features", choices=("sift", "orb"))
    features: int = setting(8000, "strongest features kept in each image", "", 10, 100_000)
    contrast: float = setting(0.002, "least contrast of a feature of SIFT", "", 0.0, 1.0)
    tilts: int = setting(0, "simulated tilts for each image (as affine SIFT); 0 for none", "", 0, 5)
    ratio: float = setting(0.85, "a match is at most this much farther than the second best", "", 0.1, 1.0)
    threshold_px: float = setting(1.5, "inliers are this near to their epipolar line", "px", 0.01, 100.0)
    least_inliers: int = setting(8, "fewer inliers give no pose", "", 5, 10_000)
    fields_deg: tuple[float, ...] = setting(
        (40.0, 50.0, 60.0, 72.0, 85.0), "fields of view along the longer side that are tried", "deg", 5.0, 170.0
    )
    usual_field_deg: float = setting(60.0, "field of view where the matches do not say", "deg", 5.0, 170.0)
    field_spread: float = setting(0.3, "how far focal lengths usually are from that, as a share", "", 0.01, 10.0)
    reach: float = setting(0.06, "how far the depth of a triangulated point spreads", "image widths", 0.001, 1.0)


# Affine SIFT, with fewer features: it sees each image from many sides.
AFFINE = ClassicalConfig(features=1500, contrast=0.01, tilts=2)
