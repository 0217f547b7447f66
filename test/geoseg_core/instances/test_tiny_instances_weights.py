"""The instance network that comes with the package finds things on a bag that it never saw, from its images alone."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.instances.field.cluster_config import SMALL_CLUSTERS
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.tiny.loading import METHODS, load_finder
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import choose_weights

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("method", METHODS)
def test_most_things_are_found_where_they_are(method):
    finder = load_finder(method, choose_weights("tiny-instances").path, QueryDecodingConfig(), SMALL_CLUSTERS)
    encoder = load_encoder(GeometryConfig("tiny", device="cpu")).encoder
    sequence = BagSequence(ROOT / "bags" / "tabletop")
    things = [each.id for each in sequence.objects if each.role == "object"]
    best = []
    for labelled in islice(sequence, 0, 40, 20):
        frames = FrameSet(tuple(View(view.camera, view.image, view.stamp_ns) for view in labelled.frames.views))
        found = finder.find(encoder.encode(frames))
        counts = overlap([labelled.labels[camera] for camera in frames.cameras], list(found.labels))
        best += counts.iou()[np.isin(counts.truth_ids, things)].max(axis=1, initial=0.0).tolist()
    # One thing for everything, or none, would have less than 0.1.
    assert np.mean(best) > 0.3
