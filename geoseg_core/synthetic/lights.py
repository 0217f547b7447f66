"""What lights a scene: a window or lamp that throws shadows, and the light that comes from everywhere."""

import numpy as np
import torch

from geoseg_core.synthetic.cameras import direction
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.scene import Lights


def draw_lights(numbers: Numbers) -> Lights:
    """One key light over 35 degrees above the horizon, from sharp to wide, warm or cool, and a sky of other colour."""
    key = direction(numbers.uniform(low=-np.pi, high=np.pi), numbers.uniform(low=0.6, high=1.45))
    softness = numbers.logarithmic(low=0.03, high=0.4)
    tint = numbers.uniform(1, low=-0.12, high=0.2) * np.array([1.0, 0.1, -1.0])
    strength = numbers.uniform(1, low=0.35, high=1.3)
    sky = numbers.uniform(1, low=0.3, high=0.75) * (1 - 0.5 * tint)
    ground = sky * numbers.uniform(1, low=0.35, high=0.75)
    return Lights(*(torch.from_numpy(value) for value in (key, softness, strength * (1 + tint), sky, ground)))
