"""Pi3 and Pi3X at a small size: what a caller may rely on. Exactness is in test_parity.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_models import PI3, PI3X, assert_same, random_images, small_pi3, small_pi3x

from geoseg_core.errors import BadInput
from geoseg_core.geometry.pi3.conditions import Conditions
from geoseg_core.geometry.pi3.decoders import nearest_rotation, to_world
from geoseg_core.geometry.pi3.model import Pi3, Pi3Output
from geoseg_core.geometry.pi3.pi3x import Pi3X

VIEWS = 4


@pytest.fixture(scope="module")
def pi3() -> Pi3:
    return small_pi3()


@pytest.fixture(scope="module")
def pi3x() -> Pi3X:
    return small_pi3x()


def numbers(output: Pi3Output) -> dict[str, torch.Tensor]:
    names = ("local_points", "confidence", "camera_to_world", "points", "rays")
    found = {name: getattr(output, name) for name in names}
    return {name: each for name, each in found.items() if each is not None}


def poses(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    made = torch.eye(4).repeat(1, count, 1, 1)
    made[..., :3, :3] = nearest_rotation(torch.randn(1, count, 3, 3, generator=generator))
    made[..., :3, 3] = torch.randn(1, count, 3, generator=generator)
    return made


def known(views: int = VIEWS) -> Conditions:
    generator = torch.Generator().manual_seed(4)
    depth = torch.rand(1, views, 28, 42, generator=generator) * 3
    intrinsics = torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]]).expand(1, views, 3, 3)
    return Conditions(depth=depth * (depth > 0.5), intrinsics=intrinsics, camera_to_world=poses(views))


@torch.inference_mode()
def test_pi3_knows_no_order_of_the_views(pi3: Pi3) -> None:
    images = random_images(1, VIEWS)
    order = [2, 0, 3, 1]
    straight, mixed = numbers(pi3(images)), numbers(pi3(images[:, order]))
    assert set(straight) == {"local_points", "confidence", "camera_to_world", "points"}
    for name, value in straight.items():
        assert_same(mixed[name], value[:, order], name)


@pytest.mark.parametrize("name", ["pi3", "pi3x"])
@torch.inference_mode()
def test_a_batch_gives_what_its_samples_give_and_chunks_change_nothing(
    name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    images = random_images(2, 3)
    together = numbers(model(images))
    chunked = numbers(model(images, frame_chunk=2))
    alone = [numbers(model(images[index : index + 1])) for index in range(2)]
    for key, value in together.items():
        assert_same(chunked[key], value, key)
        assert_same(torch.cat([each[key] for each in alone]), value, key)


@torch.inference_mode()
def test_points_are_local_points_seen_from_the_cameras(pi3x: Pi3X) -> None:
    output = pi3x(random_images(1, 2))
    assert output.points is not None and output.local_points is not None and output.camera_to_world is not None
    local, pose = output.local_points[0, 1, 5, 9], output.camera_to_world[0, 1]
    torch.testing.assert_close(output.points[0, 1, 5, 9], pose[:3, :3] @ local + pose[:3, 3])
    rotation = pose[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert torch.linalg.det(rotation) > 0
    assert output.rays is not None
    torch.testing.assert_close(output.rays[0, 1, 5, 9], local / local.norm(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 0, 3, 28, 28), "at least one"),
        (torch.zeros(1, 2, 3, 28, 30), "multiples of 14"),
        (torch.zeros(1, 2, 3, 13, 28), "multiples of 14"),
        (torch.full((1, 2, 3, 28, 28), float("nan")), "NaN"),
    ],
)
def test_images_of_another_kind_are_refused(pi3: Pi3, pi3x: Pi3X, images: torch.Tensor, words: str) -> None:
    for model in (pi3, pi3x):
        with pytest.raises(BadInput, match=words):
            model(images)


@torch.inference_mode()
def test_heads_run_only_where_asked_for(pi3: Pi3) -> None:
    images = random_images(1, 2)
    output = pi3(images, ("camera",))
    assert set(numbers(output)) == {"camera_to_world"}
    torch.testing.assert_close(output.camera_to_world, pi3(images).camera_to_world)
    with pytest.raises(BadInput, match="tracks"):
        pi3(images, ("tracks",))


def test_the_nearest_rotation_is_never_a_reflection() -> None:
    turned = nearest_rotation(torch.diag(torch.tensor([2.0, 3.0, -4.0])))
    assert torch.linalg.det(turned) > 0.99
    torch.testing.assert_close(nearest_rotation(torch.diag(torch.tensor([2.0, 3.0, 4.0]))), torch.eye(3))


def test_to_world_moves_points() -> None:
    pose = torch.tensor([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])
    assert to_world(torch.tensor([[[1.0, 2, 3]]]), pose).tolist() == [[[8.0, 21.0, 33.0]]]


@torch.inference_mode()
def test_every_condition_changes_the_answer(pi3x: Pi3X) -> None:
    images = random_images(1, VIEWS)
    plain = pi3x(images).features
    for name in ("depth", "intrinsics", "camera_to_world"):
        only = Conditions(**{name: getattr(known(), name)})
        assert (pi3x(images, only).features - plain).abs().max() > 1e-3, name


@torch.inference_mode()
def test_rays_of_the_intrinsics_say_the_same_as_the_intrinsics(pi3x: Pi3X) -> None:
    images = random_images(1, VIEWS)
    v, u = torch.meshgrid(torch.arange(28) + 0.5, torch.arange(42) + 0.5, indexing="ij")
    rays = torch.stack(((u - 21) / 40, (v - 14) / 40, torch.ones_like(u)), dim=-1).expand(1, VIEWS, -1, -1, -1)
    by_rays = pi3x(images, Conditions(rays=rays)).features
    torch.testing.assert_close(
        by_rays, pi3x(images, Conditions(intrinsics=known().intrinsics)).features, atol=1e-4, rtol=1e-4
    )


@torch.inference_mode()
def test_conditions_in_another_unit_or_world_say_the_same(pi3x: Pi3X) -> None:
    images = random_images(1, VIEWS)
    metres = known()
    assert metres.depth is not None and metres.camera_to_world is not None
    scaled = metres.camera_to_world.clone()
    scaled[..., :3, 3] *= 1000
    moved = poses(2)[:, 1:] @ scaled
    millimetres = replace(metres, depth=metres.depth * 1000, camera_to_world=moved)
    torch.testing.assert_close(
        pi3x(images, millimetres).features, pi3x(images, metres).features, atol=2e-4, rtol=2e-4
    )


@torch.inference_mode()
def test_masks_that_are_all_false_take_a_condition_away(pi3x: Pi3X) -> None:
    images = random_images(1, VIEWS)
    off = torch.zeros(1, VIEWS, dtype=torch.bool)
    masked = replace(known(), depth_mask=off, ray_mask=off, pose_mask=off)
    torch.testing.assert_close(pi3x(images, masked).features, pi3x(images).features)


@torch.inference_mode()
def test_a_single_posed_frame_says_nothing_and_the_mask_stays_as_it_was(pi3x: Pi3X) -> None:
    images = random_images(1, VIEWS)
    mask = torch.tensor([[False, True, False, False]])
    single = Conditions(camera_to_world=poses(VIEWS), pose_mask=mask)
    torch.testing.assert_close(pi3x(images, single).features, pi3x(images).features)
    assert mask.tolist() == [[False, True, False, False]]


@torch.inference_mode()
def test_conditions_of_one_sample_do_not_reach_another(pi3x: Pi3X) -> None:
    images = random_images(2, VIEWS)
    facts = known()
    assert facts.camera_to_world is not None and facts.depth is not None
    mask = torch.tensor([[True] * VIEWS, [False] * VIEWS])
    both = Conditions(
        depth=facts.depth.repeat(2, 1, 1, 1),
        camera_to_world=facts.camera_to_world.repeat(2, 1, 1, 1),
        depth_mask=mask,
        pose_mask=mask,
    )
    features = pi3x(images, both).features.unflatten(0, (2, VIEWS))
    alone = Conditions(depth=facts.depth, camera_to_world=facts.camera_to_world)
    assert_same(features[0], pi3x(images[:1], alone).features)
    assert_same(features[1], pi3x(images[1:]).features)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (Conditions(depth=torch.ones(1, 2, 28, 28)), "depth"),
        (Conditions(intrinsics=torch.eye(3).expand(1, 2, 3, 3), rays=torch.ones(1, 2, 28, 42, 3)), "both"),
        (Conditions(camera_to_world=torch.full((1, 2, 4, 4), float("nan"))), "finite"),
        (Conditions(depth=torch.ones(1, 2, 28, 42), depth_mask=torch.ones(2, 1)), "depth_mask"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(pi3x: Pi3X, conditions: Conditions, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        pi3x(random_images(1, 2), conditions)


def test_the_conditions_can_be_left_out_of_the_model(pi3x: Pi3X, tmp_path: Path) -> None:
    save_file(pi3x.state_dict(), tmp_path / "pi3x.safetensors")
    plain = Pi3X.from_checkpoint(tmp_path / "pi3x.safetensors", replace(PI3X, conditions=False))
    assert not hasattr(plain, "depth_encoder")
    images = random_images(1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(plain(images).features, pi3x(images).features)
    with pytest.raises(BadInput, match="no conditions"):
        plain(images, known(2))


def test_a_checkpoint_of_another_model_is_refused(pi3x: Pi3X, tmp_path: Path) -> None:
    save_file(pi3x.state_dict(), tmp_path / "pi3x.safetensors")
    with pytest.raises(BadInput, match="219 extra .*conf_head.output_block"):
        Pi3.from_checkpoint(tmp_path / "pi3x.safetensors", PI3)


@torch.inference_mode()
def test_autocast_and_reduced_weights_run(pi3x: Pi3X) -> None:
    images = random_images(1, VIEWS)
    facts = known()
    with torch.autocast("cpu", torch.bfloat16):
        output = pi3x(images, facts)
    assert output.points is not None and output.points.dtype == torch.float32
    exact = pi3x(images, known()).features
    assert (output.features - exact).abs().max() / exact.abs().max() < 0.1
    reduced = small_pi3x().to(torch.bfloat16)(images, known())
    assert reduced.points is not None and reduced.points.isfinite().all()
