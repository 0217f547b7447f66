"""What says how many metres the network's unit is: tf's baseline, a depth camera, an object of known size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg_core.errors import BadInput

TILES = 8  # a view is cut into 8 x 8 tiles: pixels of one tile err together, tiles nearly independently
MIN_PIXELS = 12  # of a tile, to have a median worth using
MIN_TILES = 4
STEPS = 10
BIWEIGHT = 4.685  # Tukey's: 95 % efficient where errors are normal
MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class ScaleMeasurement:
    """One measured scale.

    Attributes:
        source: tf_baseline, depth_camera, known_size or metric_encoder.
        scale: metres for one unit of the network.
        deviation: relative standard deviation of what differs from set to set.
        systematic: the same of what does not, and no averaging takes away.
    """

    source: str
    scale: float
    deviation: float
    systematic: float = 0.0

    @property
    def variance(self) -> float:
        """Of the logarithm of the scale, all errors together."""
        return self.deviation**2 + self.systematic**2


@dataclass(frozen=True)
class DepthFit:
    """Predicted depth against a depth camera's.

    Attributes:
        scale: measured for predicted.
        deviation: its relative standard deviation.
        residual: robust relative spread of the tiles round it.
        agreeing: part of the tiles that are no outliers.
        tiles: how many there were.
    """

    scale: float
    deviation: float
    residual: float
    agreeing: float
    tiles: int


def fit_depth(predicted: Sequence[np.ndarray], measured_m: Sequence[np.ndarray]) -> DepthFit | None:
    """The scale from predicted depth to measured, by Tukey's biweight over medians of tiles.

    Zeros, infinities and NaN count as unknown on either side; None where too little is known on both.

    Args:
        predicted: depth (H, W) of each view; measured_m: the same of the depth camera.

    Raises:
        BadInput: a pair of other sizes.
    """
    logs = np.concatenate([np.zeros(0), *(tile_logs(*pair) for pair in zip(predicted, measured_m, strict=True))])
    if len(logs) < MIN_TILES:
        return None
    centre = float(np.median(logs))
    spread, weights = 0.0, np.ones(len(logs))
    for _ in range(STEPS):
        spread = MAD_TO_DEVIATION * float(np.median(np.abs(logs - centre)))
        reach = BIWEIGHT * max(spread, 1e-6)
        weights = np.clip(1 - ((logs - centre) / reach) ** 2, 0, None) ** 2
        centre = float(weights @ logs / weights.sum())
    deviation = float(np.sqrt(weights**2 @ (logs - centre) ** 2) / weights.sum())
    return DepthFit(float(np.exp(centre)), deviation, spread, float((weights > 0).mean()), len(logs))


def tile_logs(predicted: np.ndarray, measured_m: np.ndarray) -> np.ndarray:
    """Median log ratio, measured for predicted, of each tile (N,) with enough pixels known on both sides.

    Raises:
        BadInput: images of other sizes.
    """
    if predicted.shape != measured_m.shape or predicted.ndim != 2:
        raise BadInput(f"depth: expected two images of one size, got {predicted.shape} and {measured_m.shape}")
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(measured_m.astype(np.float64) / predicted)
        ratio[~((predicted > 0) & (measured_m > 0) & np.isfinite(ratio))] = np.nan
    padded = np.pad(ratio, [(0, -size % TILES) for size in ratio.shape], constant_values=np.nan)
    height, width = padded.shape[0] // TILES, padded.shape[1] // TILES
    tiles = padded.reshape(TILES, height, TILES, width).swapaxes(1, 2).reshape(TILES * TILES, -1)
    counts = np.isfinite(tiles).sum(1)
    tiles, counts = np.sort(tiles[counts >= MIN_PIXELS], axis=1), counts[counts >= MIN_PIXELS]  # NaN comes last
    rows = np.arange(len(tiles))
    return (tiles[rows, (counts - 1) // 2] + tiles[rows, counts // 2]) / 2


def known_size(size_m: float, extent: float, deviation: float) -> ScaleMeasurement:
    """The scale from an object's true size and the extent it was measured to have, in the network's unit.

    Args:
        deviation: relative, of how well an extent is measured; what is hidden does not average out.

    Raises:
        BadInput: sizes that are not positive, finite numbers.
    """
    if not (np.isfinite(size_m) and np.isfinite(extent) and size_m > 0 and extent > 0):
        raise BadInput(f"known size: expected positive lengths, got {size_m} m for an extent of {extent}")
    return ScaleMeasurement("known_size", size_m / extent, deviation, deviation)


def fuse(measurements: Sequence[ScaleMeasurement]) -> ScaleMeasurement:
    """One measurement of several, weighted by their variances, named after the one with most weight."""
    weights = np.array([1 / max(each.variance, 1e-12) for each in measurements])
    weights /= weights.sum()
    scale = float(np.exp(weights @ np.log([each.scale for each in measurements])))
    deviation, systematic = (
        float(np.sqrt(weights**2 @ np.square([getattr(each, name) for each in measurements])))
        for name in ("deviation", "systematic")
    )
    return ScaleMeasurement(measurements[int(weights.argmax())].source, scale, deviation, systematic)
