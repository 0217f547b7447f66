"""What a camera makes of light: vignette, blur, exposure, white balance, noise, tone, JPEG and eight bits."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.filters import REACH, filtered
from geoseg_core.synthetic.fusing import fused
from geoseg_core.synthetic.numbers import Numbers

GAMMA = 2.2
SHOULDER = 0.7
BLOCK = 8
NOISE_TABLE = 1 << 21
LUMINANCE = (0.2126, 0.7152, 0.0722)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
QUANTA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shots:
    """How each view is taken, (B, V) or (B, V, n) float64.

    Attributes:
        level: mean of the picture that the exposure aims at, linear.
        balance: (B, V, 3) gains of red, green and blue.
        vignette: darkening in the corners.
        blur: (B, V, 2) standard deviation along x and y, pixels.
        noise: (B, V, 2) of the sensor, and of the light at full white.
        contrast: gamma of the tone curve about its middle.
        quality: of JPEG, 1 to 100; 0 = no JPEG.
        start: whole number, where in the table of noise the view begins.
    """

    level: Tensor
    balance: Tensor
    vignette: Tensor
    blur: Tensor
    noise: Tensor
    contrast: Tensor
    quality: Tensor
    start: Tensor


def draw_shots(numbers: Numbers, config: WorldsConfig, exo: int) -> Shots:
    """Settings of the cameras, the same over time but for exposure and noise; plain ones without `photometric`."""
    rough = config.difficulty if config.photometric else 0.0
    moments, cameras = config.moments, 1 + config.exo_max
    camera = {
        "balance": np.exp(numbers.normal(cameras, 3) * 0.09 * rough),
        "vignette": numbers.uniform(cameras) ** 2 * 0.6 * rough,
        "blur": 0.35 + numbers.uniform(cameras, 2) ** 2 * 0.7 * rough,
        "noise": numbers.uniform(cameras, 2) ** 2 * np.array([0.008, 0.03]) * rough,
        "contrast": np.exp(numbers.normal(cameras) * 0.12 * rough),
        "quality": np.where(numbers.chance(cameras, of=0.65 * rough), numbers.uniform(cameras, low=35, high=96), 0.0),
    }
    light = numbers.uniform(1, cameras, low=-0.5, high=0.5) + 0.1 * numbers.normal(moments, cameras)
    every = {name: np.repeat(value[:, None], moments, axis=1) for name, value in camera.items()}
    every["level"] = 0.2 * np.exp(light * rough)
    every["start"] = numbers.uniform(moments, cameras) * NOISE_TABLE
    used = {name: value[:, :, : exo + 1] for name, value in every.items()}
    flat = {name: value.reshape(len(value), -1, *value.shape[3:]) for name, value in used.items()}
    return Shots(**{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in flat.items()})


class Darkroom:
    """Turns linear light into pictures on one device; holds the table of noise."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        generator = np.random.default_rng(0)
        self._noise = torch.from_numpy(generator.standard_normal(NOISE_TABLE, np.float32)).to(device)

    def develop(self, light: Tensor, shots: Shots) -> Tensor:
        """Pictures (S, 3, H, W) in [0, 1] from linear light (S, 3, H, W) of all views of a batch, S = B * V."""
        taken = {each.name: getattr(shots, each.name).flatten(0, 1).float() for each in fields(shots)}
        light = filtered(light, *(blur_weights(taken["blur"][:, axis]) for axis in (0, 1)))
        weights = torch.tensor(LUMINANCE, device=light.device)
        mean = (light.mean(dim=(2, 3)) * weights).sum(dim=1, keepdim=True).clamp(min=1e-4)
        gain = taken["level"][:, None] / mean * taken["balance"]
        start = shots.start.flatten().long()
        picture = exposed(light, gain, taken["vignette"], taken["noise"], self._noise, start, taken["contrast"])
        rows = (taken["quality"] > 0).nonzero().squeeze(1)
        if len(rows):
            picture = picture.index_copy(0, rows, jpeg(picture[rows], taken["quality"][rows]))
        return (picture * 255).round() / 255


@fused
def exposed(light: Tensor, gain: Tensor, corners: Tensor, noise: Tensor, table: Tensor, start: Tensor,
            contrast: Tensor) -> Tensor:  # fmt: skip
    """What the sensor and the tone curve make of light (S, 3, H, W): in [0, 1].

    The variance of the noise grows with the light.
    """
    light = light * gain[:, :, None, None] * vignette(light, corners[:, None, None, None])
    pixels = torch.arange(light[0].numel(), device=light.device).reshape(light.shape[1:])
    values = table[(start[:, None, None, None] + pixels) & (NOISE_TABLE - 1)]
    sensor, shot = noise[:, 0, None, None, None], noise[:, 1, None, None, None]
    light = light + values * (sensor**2 + shot**2 * light).sqrt()
    over = (light - SHOULDER).clamp(min=0)
    light = torch.minimum(light, SHOULDER + (1 - SHOULDER) * (1 - torch.exp(-over / (1 - SHOULDER))))
    return ((light.clamp(min=0) ** (1 / GAMMA) * 2) ** contrast[:, None, None, None] / 2).clamp(0, 1)


def blur_weights(sigma: Tensor) -> Tensor:
    """Five weights (S, 5) of Gaussians with standard deviations (S,) in pixels."""
    steps = torch.arange(-REACH, REACH + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (steps / sigma[:, None].clamp(min=0.05)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def vignette(light: Tensor, strength: Tensor) -> Tensor:
    """(S, 1, H, W) factors: 1 in the middle, 1 - strength in the corners."""
    height, width = light.shape[-2:]
    y = torch.linspace(-1, 1, height, device=light.device)[:, None]
    x = torch.linspace(-1, 1, width, device=light.device)
    return 1 - strength * 0.5 * (x * x + y * y)


def jpeg(picture: Tensor, quality: Tensor) -> Tensor:
    """What JPEG of a quality (S,) leaves of pictures (S, 3, H, W) in [0, 1]; colours at half the resolution."""
    count, _, height, width = picture.shape
    to_ycc = torch.tensor(TO_YCC, device=picture.device)
    padded = functional.pad(picture, (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK)), "replicate")
    ycc = torch.einsum("ij,sjhw->sihw", to_ycc, padded * 255)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None, None, None, None] / 100
    luma = _quantised(ycc[:, :1] - 128, scale) + 128
    colour = _quantised(functional.avg_pool2d(ycc[:, 1:], 2), scale * 1.4)
    colour = functional.interpolate(colour, scale_factor=2.0)
    back = torch.einsum("ij,sjhw->sihw", torch.linalg.inv(to_ycc), torch.cat([luma, colour], dim=1)) / 255
    return back[..., :height, :width].clamp(0, 1)


def _quantised(planes: Tensor, scale: Tensor) -> Tensor:
    """Planes (S, C, H, W) with the cosine coefficients of their 8 x 8 blocks rounded."""
    count, channels, height, width = planes.shape
    index = torch.arange(BLOCK, device=planes.device, dtype=torch.float32)
    cosines = torch.cos((2 * index + 1) * index[:, None] * torch.pi / (2 * BLOCK)) * 0.5
    cosines[0] *= 0.5**0.5
    blocks = planes.reshape(count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    step = (torch.tensor(QUANTA, device=planes.device, dtype=torch.float32) * scale).clamp(min=1)
    waves = ((cosines @ blocks @ cosines.T) / step).round() * step
    return (cosines.T @ waves @ cosines).transpose(3, 4).reshape(planes.shape)
