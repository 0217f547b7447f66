"""Which views are embedded anew: those in which something moved, however small, but not those with mere noise."""

import pytest
import torch
from torch import Tensor

from geoseg_core.geometry.streaming.config import StreamingConfig
from geoseg_core.geometry.streaming.still_views import StillViews, change_of

BLOCK = 7
CHANGE = StreamingConfig().change


class Embedding:
    """Stands for the ViT: remembers how many images it was given; a token is an image's mean."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.counts.append(images.shape[1])
        return images[0].mean(dim=(1, 2, 3))[:, None, None]


def picture(seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 3, 28, 37, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (392, 518), mode="bilinear")[0]


def noisy(image: Tensor, seed: int, of_255: float) -> Tensor:
    return image + of_255 / 255 * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def test_the_change_is_the_largest_mean_of_a_block() -> None:
    before, after = torch.zeros(2, 3, 14, 14), torch.zeros(2, 3, 14, 14)
    after[1, 2, 7:, :7] = 0.5
    after[1, 2, 7, 0] = 0.01
    assert change_of(after, before, BLOCK).tolist() == pytest.approx([0, (48 * 0.5 + 0.01) / 49])
    assert change_of(before, after, BLOCK).tolist() == change_of(after, before, BLOCK).tolist()


def test_noise_is_no_change_and_a_small_hand_is_one() -> None:
    room = picture()
    still, embed = StillViews(BLOCK, CHANGE), Embedding()
    still.embed(noisy(room, 1, 4.0)[None], embed)
    for seed in range(2, 8):
        still.embed(noisy(room, seed, 4.0)[None], embed)
    assert (still.embedded, still.reused) == (1, 6)
    hand = room.clone()
    hand[:, 200:208, 300:306] += 0.15  # 48 of 203,056 pixels
    assert (hand - room).abs().mean() < 4e-5
    still.embed(noisy(hand, 9, 4.0)[None], embed)
    assert (still.embedded, still.reused) == (2, 6)


def test_slow_changes_add_up() -> None:
    still, embed = StillViews(BLOCK, 0.1), Embedding()
    for step in range(8):
        slow, flashing = torch.full((3, 14, 14), 0.03 * step), torch.full((3, 14, 14), float(step % 2))
        still.embed(torch.stack((slow, flashing)), embed)
    # The slow one at first and when 0.12 brighter; 0.21 is not far enough from that.
    assert embed.counts == [2, 1, 1, 1, 2, 1, 1, 1]


def test_each_view_is_judged_by_itself_and_keeps_its_tokens() -> None:
    still, embed = StillViews(BLOCK, CHANGE), Embedding()
    first = torch.stack([picture(seed) for seed in range(3)])
    tokens = still.embed(first, embed)
    handed_out, second = tokens.clone(), first.clone()
    second[1] = picture(8)
    again = still.embed(second, embed)
    assert embed.counts == [3, 1]
    assert torch.equal(again[[0, 2]], tokens[[0, 2]])
    assert torch.equal(again[1], embed(second[1][None, None])[0])
    assert torch.equal(tokens, handed_out)


def test_identical_images_are_enough_for_a_threshold_of_zero() -> None:
    still, embed = StillViews(BLOCK, 0.0), Embedding()
    image = picture()[None]
    first, second = still.embed(image, embed), still.embed(image.clone(), embed)
    assert torch.equal(first, second) and embed.counts == [1]
    brighter = image.clone()
    brighter[0, 0, 0, 0] += 1 / 255
    still.embed(brighter, embed)
    still.forget()
    still.embed(brighter, embed)
    assert embed.counts == [1, 1, 1]
