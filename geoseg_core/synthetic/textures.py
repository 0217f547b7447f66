"""Pages of texture: patterns made from numbers, photographs where given, with smaller copies for things far away.

A pattern page holds in red how much of the second colour there is, in green a fine grain about 0.5; `Materials.colours`
makes colours of them. A photograph page holds linear RGB.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

PAGE = 256
LEVELS = 7
PER_PATTERN = 4


def noise(generator: np.random.Generator, slope: float, stretch: float = 1.0) -> np.ndarray:
    """(PAGE, PAGE) noise that repeats at the borders, spread evenly over [0, 1], with a spectrum of 1/f^slope."""
    fy, fx = np.meshgrid(np.fft.fftfreq(PAGE) * PAGE, np.fft.fftfreq(PAGE) * PAGE, indexing="ij")
    radius = np.maximum(np.hypot(fx * stretch, fy), 1)
    wave = np.fft.fft2(generator.standard_normal((PAGE, PAGE))) / radius**slope
    wave[0, 0] = 0
    values = np.fft.ifft2(wave).real
    order = np.empty(values.size)
    order[values.ravel().argsort()] = np.linspace(0, 1, values.size)
    return order.reshape(PAGE, PAGE)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[:PAGE, :PAGE] / PAGE
    return u, v


def _plain(generator: np.random.Generator) -> np.ndarray:
    return 0.08 * noise(generator, 1.5)


def _cloudy(generator: np.random.Generator) -> np.ndarray:
    return noise(generator, 1.2 + generator.random())


def _spots(generator: np.random.Generator) -> np.ndarray:
    return np.clip((noise(generator, 1.4) - 0.62) * 12, 0, 1)


def _checker(generator: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    cells = int(generator.integers(2, 7)) * 2
    return ((u * cells).astype(int) + (v * cells).astype(int)) % 2.0


def _stripes(generator: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    count = int(generator.integers(3, 9))
    wide = generator.uniform(0.2, 0.7)
    return ((u * count + v * generator.integers(0, 2)) % 1 < wide).astype(float)


def _wood(generator: np.random.Generator) -> np.ndarray:
    grain = noise(generator, 1.4, 0.08)
    u, v = _grid()
    boards = int(generator.integers(2, 6))
    board = (v * boards).astype(int)
    tone = generator.random(boards)[board]
    seam = ((v * boards) % 1 < 0.015 * boards) * 0.5
    return np.clip(0.55 * grain + 0.3 * tone + seam, 0, 1)


def _marble(generator: np.random.Generator) -> np.ndarray:
    u, _ = _grid()
    bend = noise(generator, 2.0)
    return np.abs(np.sin(np.pi * (2 * u + 3 * bend))) ** 0.35


def _print(generator: np.random.Generator) -> np.ndarray:
    """Lines of words, a headline and a picture, as on labels and paper."""
    page = np.zeros((PAGE, PAGE))
    row = 8
    while row < PAGE - 12:
        high = int(generator.choice([5, 6, 8, 16, 22], p=[0.3, 0.3, 0.2, 0.1, 0.1]))
        column = int(generator.integers(6, 20))
        while column < PAGE - 20 and high < PAGE - row:
            word = int(high * generator.uniform(1.0, 4.0))
            letters = generator.random((max(high // 2, 2), max(word * 2 // 5, 1))) < 0.6
            block = np.kron(letters, np.ones((2, 3)))[:high, :word]
            end = min(column + block.shape[1], PAGE - 6)
            page[row : row + block.shape[0], column:end] = block[:, : end - column]
            column = end + max(high // 2, 3)
            if generator.random() < 0.12:
                break
        row += int(high * 1.5) + 2
    x, y, side = (int(value) for value in generator.integers([20, 20, 40], [140, 140, 100]))
    page[y : y + side, x : x + side] = noise(generator, 1.5)[:side, :side]
    return page


def _tiles(generator: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    count = int(generator.integers(2, 5))
    tone = generator.random((count, count))[(v * count).astype(int), (u * count).astype(int)]
    seam = np.minimum((u * count) % 1, (v * count) % 1) < 0.03
    return np.where(seam, 1.0, 0.25 * tone)


def _weave(generator: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    count = int(generator.integers(12, 28))
    return 0.5 + 0.25 * (np.sin(2 * np.pi * count * u) + np.sin(2 * np.pi * count * v))


PATTERNS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "plain": _plain, "cloudy": _cloudy, "spots": _spots, "checker": _checker, "stripes": _stripes, "wood": _wood,
    "marble": _marble, "print": _print, "tiles": _tiles, "weave": _weave,
}  # fmt: skip
NAMES = tuple(PATTERNS)


def page_of(name: str, number: np.ndarray) -> np.ndarray:
    """Index of one of the pages of a pattern by a number in [0, 1)."""
    return NAMES.index(name) * PER_PATTERN + (np.asarray(number) * PER_PATTERN).astype(int)


class Pages:
    """All pages and their smaller copies in one table of colours."""

    def __init__(self, device: torch.device | str = "cpu", photographs: Sequence[np.ndarray] = ()) -> None:
        pages = []
        for index, name in enumerate(NAMES):
            for variant in range(PER_PATTERN):
                generator = np.random.default_rng([index, variant])
                pattern = PATTERNS[name](generator)
                grain = 0.5 + 0.5 * (noise(generator, 0.4) - 0.5)
                pages.append(np.stack([pattern, grain, np.zeros_like(grain)]))
        pages += photographs
        level = torch.tensor(np.stack(pages), dtype=torch.float32)
        self.count, rows, starts = len(level), [], [0]
        for _ in range(LEVELS):
            rows.append(level.permute(0, 2, 3, 1).reshape(-1, 3))
            starts.append(starts[-1] + len(rows[-1]))
            level = torch.nn.functional.avg_pool2d(level, 2)
        self.table = torch.cat(rows).to(device)
        self.starts = torch.tensor(starts[:-1], device=device)

    def look_up(self, page: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> list[Tensor]:
        """Three colours (N,) at u, v in repeats (N,), blurred to a footprint in repeats (N,); pages (N,) int64."""
        level = (footprint * PAGE).clamp(min=1).log2().round().long().clamp(max=LEVELS - 1)
        side = torch.bitwise_right_shift(torch.full_like(level, PAGE), level)
        start = self.starts.index_select(0, level) + page * side * side
        x, y = u * side - 0.5, v * side - 0.5
        left, upper = x.floor(), y.floor()
        share_x, share_y = x - left, y - upper
        last = side - 1
        x0, y0 = left.long() & last, upper.long() & last
        x1, y1 = (x0 + 1) & last, (y0 + 1) & last
        top, bottom = start + y0 * side, start + y1 * side
        corners = [self.table.index_select(0, index) for index in (top + x0, top + x1, bottom + x0, bottom + x1)]
        weights = ((1 - share_x) * (1 - share_y), share_x * (1 - share_y), (1 - share_x) * share_y, share_x * share_y)
        mixed = corners[0] * weights[0][:, None]
        for corner, weight in zip(corners[1:], weights[1:], strict=True):
            mixed = torch.addcmul(mixed, corner, weight[:, None])
        return list(mixed.unbind(1))
