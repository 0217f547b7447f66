"""A wall one metre away in front of two cameras side by side: every figure can be worked out by hand.

One pixel is 0.1 m of the wall. View 0 shows its columns 0 to 7, view 1 its columns 2 to 9, both rows 0 to 3. Things of
the wall are columns; everything else is worked out from that.
"""

import numpy as np
import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.instances.finder import FoundThings

ROWS, COLUMNS, VIEWS, SHIFT = 4, 8, 2, 2
TWO_THINGS = {1: (0, 1, 2), 2: (5, 6, 7)}


def labels_of(things, view):
    """(4, 8) label image of a view of things, given as columns of the wall by id."""
    image = np.zeros((ROWS, COLUMNS), np.int64)
    for number, columns in things.items():
        image[:, [each - SHIFT * view for each in columns if 0 <= each - SHIFT * view < COLUMNS]] = number
    return image


def wall(things=TWO_THINGS, views=(0, 1)):
    """The sample; each id has a colour of its own."""
    ids = torch.from_numpy(np.stack([labels_of(things, view) for view in views]))
    poses = torch.eye(4).repeat(len(views), 1, 1)
    poses[:, 0, 3] = torch.tensor(views) * SHIFT * 0.1
    intrinsics = torch.tensor([[10.0, 0, 0.5], [0, 10.0, 0.5], [0, 0, 1]]).repeat(len(views), 1, 1)
    images = (ids / 4.0)[:, None].repeat(1, 3, 1, 1)
    return Sample(
        images,
        torch.ones(ids.shape),
        ids,
        intrinsics=intrinsics,
        camera_to_world=poses,
        cameras=tuple(f"camera_{view}" for view in views),
        source="wall",
    ).check()


def found(scores, *views):
    """What was found: for each view the columns of the wall by number, 1 for the best score."""
    labels = tuple(labels_of(things, view).astype(np.uint16) for view, things in views)
    return FoundThings(labels, np.array(scores), np.ones((len(scores), 1), np.float32))
