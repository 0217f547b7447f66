"""What becomes of light: textures, filters, the camera and JPEG; and the sheets that people look at."""

import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from geoseg_core.cli import main
from geoseg_core.errors import BadInput
from geoseg_core.synthetic import fusing
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.filters import filtered, weights_like
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.photo import Darkroom, draw_shots, jpeg
from geoseg_core.synthetic.photographs import read_photographs
from geoseg_core.synthetic.textures import NAMES, PAGE, PER_PATTERN, Pages
from geoseg_core.synthetic.worlds import Worlds

TINY = WorldsConfig(width=48, height=40)


def test_a_texture_gives_its_pixels_near_by_and_its_mean_far_away() -> None:
    page = np.random.default_rng(0).random((3, PAGE, PAGE), np.float32)
    pages = Pages(photographs=[page])
    index = torch.tensor([len(NAMES) * PER_PATTERN])
    at = torch.tensor([(37 + 0.5) / PAGE]), torch.tensor([(11 + 0.5) / PAGE + 3])  # repeats every 1
    near = torch.stack(pages.look_up(index, *at, torch.tensor([1 / PAGE])))[:, 0]
    assert near.numpy() == pytest.approx(page[:, 11, 37], abs=1e-5)
    far = torch.stack(pages.look_up(index, *at, torch.tensor([0.25])))[:, 0]
    assert far.numpy() == pytest.approx(page.mean(axis=(1, 2)), abs=0.02)


def test_a_filter_keeps_what_is_even_and_spreads_a_point_by_its_weights() -> None:
    image = torch.ones(1, 1, 9, 9)
    weights = weights_like(image, (1, 2, 2, 2, 1))
    assert filtered(image, weights, weights).numpy() == pytest.approx(1)
    image[:] = 0
    image[0, 0, 4, 4] = 64
    spread = filtered(image, weights, weights)[0, 0]
    assert spread[4, 2:7].tolist() == [2, 4, 4, 4, 2]
    assert spread[2, 2].item() == 1
    assert spread.sum().item() == pytest.approx(64)


def test_jpeg_of_high_quality_keeps_a_picture_and_of_low_quality_loses_detail() -> None:
    picture = torch.rand(1, 1, 24, 40, generator=torch.Generator().manual_seed(0)).expand(2, 3, 24, 40)
    stored = jpeg(picture, torch.tensor([100.0, 20.0]))
    error = (stored - picture).abs().mean(dim=(1, 2, 3))
    assert stored.shape == picture.shape
    assert error[0] < 0.005
    assert error[1] > 10 * error[0]


def test_jpeg_agrees_with_opencv_about_what_is_lost() -> None:
    generator = np.random.default_rng(1)
    grey = cv2.GaussianBlur(generator.random((64, 64), np.float32), (0, 0), 1.5)
    grey = ((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)
    for quality in (30, 75):
        _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
        theirs = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        picture = torch.from_numpy(grey / 255.0).float().expand(1, 3, 64, 64)
        ours = jpeg(picture, torch.tensor([float(quality)]))[0].mean(dim=0).numpy() * 255
        assert np.abs(ours - theirs).mean() < 1.5


def test_exposure_brings_any_light_to_about_the_same_level() -> None:
    config = WorldsConfig(photometric=False)
    shots = draw_shots(Numbers([1, 2], 5), config, 1)
    light = torch.rand(4, 3, 32, 32) * torch.tensor([0.01, 0.1, 1.0, 30.0])[:, None, None, None]
    pictures = Darkroom().develop(light, shots)
    assert pictures.mean(dim=(1, 2, 3)).numpy() == pytest.approx(0.45, abs=0.03)
    assert ((pictures * 255).round() / 255 == pictures).all()


def test_camera_effects_can_be_left_out() -> None:
    plain = Worlds(WorldsConfig(width=48, height=40, photometric=False)).sample(2)
    rough = Worlds(TINY).sample(2)
    assert torch.equal(plain.depth, rough.depth)
    assert (plain.images - rough.images).abs().mean() > 0.01


def test_photographs_become_textures(tmp_path: Path) -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[:, 15:75] = (0, 0, 255)  # red, in OpenCV's order; the borders are cut off
    cv2.imwrite(str(tmp_path / "one.png"), image)
    (page,) = read_photographs(str(tmp_path))
    assert page.shape == (3, PAGE, PAGE)
    assert page[0].min() == pytest.approx(1) and page[1:].max() == pytest.approx(0)
    worlds = Worlds(WorldsConfig(width=48, height=40, photographs=str(tmp_path)))
    pages = torch.cat([worlds.draw([seed], 0).materials.page.flatten() for seed in range(4)])
    assert (pages == len(NAMES) * PER_PATTERN).any()
    with pytest.raises(BadInput, match="photographs: expected a folder with PNG or JPEG files"):
        Worlds(WorldsConfig(photographs=str(tmp_path / "nothing")))


def test_fused_functions_give_the_same_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    @fusing.fused
    def curve(value: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return (value * by).sin() + value**2

    value = torch.linspace(-1, 1, 33)
    plain = curve(value, value)
    with fusing.compiling(True):
        assert curve(value, value).numpy() == pytest.approx(plain.numpy(), abs=1e-6)
    assert torch.equal(curve(value, value), plain)


def test_without_a_compiler_worlds_go_on_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    torch._dynamo.reset()
    fusing.can_compile.cache_clear()
    with pytest.warns(UserWarning, match="expected a compiler for cpu"):
        worlds = Worlds(WorldsConfig(width=32, height=24, compile=True, exo_min=0, exo_max=0))
    fusing.can_compile.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert worlds.sample(1).images.shape == (1, 3, 24, 32)


def test_the_command_writes_sheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["worlds", "--out", str(tmp_path), "--seeds", "3:8", "--set", "width=48", "--set", "height=32"]
    assert main(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worlds_000003.png", "worlds_000007.png"]
    first, last = (cv2.imread(str(path)) for path in sorted(tmp_path.iterdir()))
    assert first.shape[0] > 3 * last.shape[0]
    assert first.shape[1] >= 2 * 48
    assert len(capsys.readouterr().out.split()) == 2
    assert main(["worlds", "--out", str(tmp_path), "--seeds", "8:3"]) == 1
    assert "expected FROM:TO" in capsys.readouterr().err


def test_worlds_need_nothing_but_torch_and_numpy() -> None:
    program = """
import sys
for name in ("cv2", "scipy", "matplotlib", "open3d", "mujoco", "rclpy", "rosbags", "sklearn"):
    sys.modules[name] = None
from geoseg_core.datasets.correspondence import random_points
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds
print(tuple(Worlds(WorldsConfig(width=32, height=24)).sample(1).images.shape))
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 3, 24, 32)", done.stderr
