"""The decoder of MV-SAM with random weights: what must hold whatever it has learned."""

import math
from dataclasses import replace

import pytest
import torch

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.prompting.mv_sam.config import MvSamConfig
from geoseg_core.prompting.mv_sam.model import (
    BOX,
    MASK,
    NOTHING,
    POSITIVE,
    Matching,
    MvSam,
    SceneEmbedding,
    ScenePrompts,
    carried,
)
from geoseg_core.prompting.mv_sam.positions import PlaceCode, frame_of, projected

SMALL = MvSamConfig(image=12, stride=8, fine=6, fine_stride=2, width=16, inner=8, hidden=16, heads=2, dense=8)
HEIGHT, WIDTH = 32, 48


def embedding(scenes=1, views=3, seed=0, config=SMALL):
    """Random features and points; all views look the same way."""
    drawn = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(scenes, views, *shape, generator=drawn)

    points = some(HEIGHT, WIDTH, 3)
    projections = torch.tensor([[0.1, 0.0, 0.0, 0.5], [0.0, 0.1, 0.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    return SceneEmbedding(
        some(config.image, HEIGHT // 8, WIDTH // 8),
        some(config.fine, HEIGHT // 2, WIDTH // 2),
        points,
        torch.rand(scenes, views, HEIGHT, WIDTH, generator=drawn),
        projections.expand(scenes, views, 3, 4),
        Matching(some(5, HEIGHT // 8, WIDTH // 8), torch.zeros(scenes)),
    )


def points(*given, scenes=1):
    """One prompt of points (kind, view, column, row)."""
    kinds, views, columns, rows = torch.tensor(given).T
    pixels = torch.stack((columns, rows), dim=-1)
    return ScenePrompts(*(each.expand(scenes, 1, *each.shape) for each in (kinds, views, pixels)))


def of_views(scene, order):
    """The scene with its views in another order."""
    parts = {name: each[:, order] for name, each in vars(scene).items() if isinstance(each, torch.Tensor)}
    matching = Matching(scene.matching.descriptors[:, order], scene.matching.nowhere)
    return SceneEmbedding(**parts, matching=matching)


def scene_of(scene, number):
    """One of several scenes alone."""
    some = slice(number, number + 1)
    parts = {name: each[some] for name, each in vars(scene).items() if isinstance(each, torch.Tensor)}
    matching = Matching(*(each[some] for each in vars(scene.matching).values()))
    return SceneEmbedding(**parts, matching=matching)


CLICKS = points((POSITIVE, 0, 10, 20), (0, 2, 40, 5))


def model_of(config=SMALL):
    torch.manual_seed(1)
    model = MvSam(config).eval()
    if model.guides is not None:
        torch.nn.init.normal_(model.guides.out.weight, std=0.1)  # which is 0 at first
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "guided"])
def model(request):
    return model_of(replace(SMALL, guides=request.param))


@torch.no_grad()
@pytest.mark.parametrize(("attention", "guides"), [("single", False), ("full", False), ("single", True)])
def test_the_order_of_views_changes_nothing(attention, guides):
    model, scene, order = model_of(replace(SMALL, attention=attention, guides=guides)), embedding(), [2, 0, 1]
    place = torch.tensor(order).argsort()
    moved = replace(CLICKS, views=place[CLICKS.views])
    straight, turned = model(scene, CLICKS), model(of_views(scene, order), moved)
    assert straight.shape == (1, 1, 3, HEIGHT // 2, WIDTH // 2)
    assert torch.allclose(straight[:, :, order], turned, atol=1e-5)


@torch.no_grad()
def test_a_view_is_answered_as_if_it_were_alone_but_for_the_frame(model):
    """With the attention of single views, a view's mask depends on the others by mean, deviation and ranks alone."""
    scene = embedding()
    prepared = model.prepare(scene)
    other = torch.randn_like(scene.image)
    other[:, :2] = scene.image[:, :2]
    fine = torch.randn_like(scene.fine)
    fine[:, :2] = scene.fine[:, :2]
    clicks = points((POSITIVE, 0, 10, 20), (0, 1, 40, 5))
    changed = model(replace(scene, image=other, fine=fine), clicks)
    before = model.decode(prepared, clicks)
    assert torch.allclose(changed[:, :, :2], before[:, :, :2], atol=1e-5)
    assert not torch.allclose(changed[:, :, 2], before[:, :, 2], atol=1e-3)


@torch.no_grad()
def test_scenes_and_prompts_are_answered_one_by_one(model):
    scene = embedding(scenes=2)
    two = ScenePrompts(
        torch.tensor([[[1, 0, 1], [1, NOTHING, NOTHING]]] * 2),
        torch.tensor([[[0, 2, 1], [1, 0, 0]]] * 2),
        torch.tensor([[[[10, 20], [40, 5], [3, 3]], [[30, 8], [0, 0], [0, 0]]]] * 2),
    )
    together = model(scene, two)
    for number in range(2):
        single = scene_of(scene, number)
        first = model(single, points((1, 0, 10, 20), (0, 2, 40, 5), (1, 1, 3, 3)))
        second = model(single, points((1, 1, 30, 8)))
        assert torch.allclose(together[number, 0], first[0, 0], atol=1e-5)
        assert torch.allclose(together[number, 1], second[0, 0], atol=1e-5)


@torch.no_grad()
def test_the_unit_and_the_origin_of_the_points_change_nothing(model):
    scene = embedding()
    moved = replace(scene, points=25.4 * scene.points - torch.tensor([3.0, 0.0, 100.0]))
    assert torch.allclose(model(scene, CLICKS), model(moved, CLICKS), atol=1e-3)
    plain = model_of(replace(SMALL, standardised=False))
    assert not torch.allclose(plain(scene, CLICKS), plain(moved, CLICKS), atol=1e-3)


@torch.no_grad()
def test_kind_place_and_look_of_a_point_count(model):
    scene = embedding()
    mask = model(scene, points((1, 0, 10, 20)))
    assert not torch.allclose(mask, model(scene, points((0, 0, 10, 20))), atol=1e-3)
    # Pixels of one cell have one look, but each has a place of its own.
    assert not torch.allclose(mask, model(scene, points((1, 0, 12, 20))), atol=1e-3)
    nowhere = model_of(replace(SMALL, positions="none", low_share=0.0))
    assert torch.allclose(nowhere(scene, points((1, 0, 10, 20))), nowhere(scene, points((1, 0, 12, 20))), atol=1e-5)
    blind = model_of(replace(SMALL, positions="none", low_share=0.0, looks=False))
    assert torch.allclose(blind(scene, points((1, 0, 10, 20))), blind(scene, points((1, 2, 40, 5))), atol=1e-5)


@torch.no_grad()
def test_in_two_dimensions_a_point_is_where_each_view_shows_it():
    model, scene = model_of(replace(SMALL, positions="2d")), embedding()
    mask = model(scene, CLICKS)
    shift = torch.zeros(1, 3, 3, 4)
    shift[:, 1, 0, 3] = 0.2
    shifted = model(replace(scene, projections=scene.projections + shift), CLICKS)
    same = [torch.allclose(mask[:, :, view], shifted[:, :, view], atol=1e-5) for view in range(3)]
    assert same == [True, False, True]


@torch.no_grad()
def test_a_mask_or_box_speaks_to_its_own_view_where_nobody_knows_which_places_are_the_same(model):
    scene = replace(embedding(), matching=None)
    dense = torch.zeros(1, 1, 3, 2, HEIGHT // 2, WIDTH // 2)
    plain = model(scene, CLICKS)
    assert torch.allclose(model(scene, replace(CLICKS, dense=dense)), plain, atol=1e-5)
    answers = []
    for channel in (MASK, BOX):
        given = dense.clone()
        given[0, 0, 1, channel] = -1
        given[0, 0, 1, channel, 4:9, 4:9] = 1
        answers.append(model(scene, replace(CLICKS, dense=given)))
        same = [torch.allclose(plain[:, :, view], answers[-1][:, :, view], atol=1e-5) for view in range(3)]
        assert same == [True, False, True]
    assert not torch.allclose(answers[0], answers[1], atol=1e-3)


@torch.no_grad()
def test_a_box_needs_no_points(model):
    dense = torch.zeros(1, 1, 3, 2, HEIGHT // 2, WIDTH // 2)
    dense[:, :, 1, BOX] = 1
    none = torch.zeros(1, 1, 0, dtype=torch.int64)
    alone = model(embedding(), ScenePrompts(none, none, none[..., None].expand(-1, -1, -1, 2), dense))
    nothing = torch.full((1, 1, 1), NOTHING)
    padded = ScenePrompts(nothing, torch.zeros_like(nothing), torch.zeros(1, 1, 1, 2, dtype=torch.int64), dense)
    assert torch.allclose(alone, model(embedding(), padded), atol=1e-5)


@torch.no_grad()
def test_points_without_a_place_leave_numbers_everywhere(model):
    scene = embedding()
    holes = scene.points.clone()
    holes[:, 0, 10:30] = math.nan
    assert bool(torch.isfinite(model(replace(scene, points=holes), CLICKS)).all())
    nothing = replace(scene, points=torch.full_like(scene.points, math.nan))
    assert bool(torch.isfinite(model(nothing, CLICKS)).all())


def test_the_frame_by_hand():
    # Known points 0, 2, 4 and 6 on the first axis: mean 3, deviation sqrt(5).
    rows = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [4, 0, 0], [6, 0, 0], [math.nan, 0, 0]]])
    confidence = torch.tensor([[0.4, 0.1, 0.3, 0.2, 0.9]])
    frame = frame_of(rows, confidence, standardised=True, low_share=0.5)
    assert frame.mean.tolist() == [[3, 0, 0]] and float(frame.deviation[0, 0]) == pytest.approx(math.sqrt(5))
    assert frame.standard(rows)[0, :4, 0].tolist() == pytest.approx([each / math.sqrt(5) for each in (-3, -1, 1, 3)])
    # Half of the four known ones, those with 0.1 and 0.2, and the unknown one.
    assert frame.uncertain(rows, confidence).tolist() == [[False, True, False, True, True]]
    alike = frame_of(rows, torch.ones(1, 5), standardised=False, low_share=0.5)
    assert alike.uncertain(rows, torch.ones(1, 5)).tolist() == [[False, False, False, False, True]]
    assert alike.standard(rows)[0, 1].tolist() == [2, 0, 0]


def test_codes_by_hand():
    code = PlaceCode(3, 4, 1.0, confidence=True)
    code.basis.copy_(torch.tensor([[0.25, 0.0], [0.0, 0.5], [0.0, 0.0]]))
    with torch.no_grad():
        code.certainty.copy_(torch.tensor([[10.0] * 4, [20.0] * 4]))
        told = code(torch.tensor([[1.0, 1.0, 7.0], [math.nan, 0.0, 0.0]]), torch.tensor([False, True]))
    # Angles of a quarter and of half a turn: sines 1 and 0, cosines 0 and -1.
    assert torch.allclose(told, torch.tensor([[11.0, 10.0, 10.0, 9.0], [20.0] * 4]), atol=1e-5)


def test_points_behind_a_camera_are_nowhere_in_it():
    ways = torch.tensor([[[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]]])
    places = projected(torch.tensor([[[[1.0, 2.0, 4.0], [1.0, 2.0, -4.0]]]]), ways)
    assert places[0, 0, 0, 0].tolist() == [0.25, 0.5] and bool(places[0, 0, 1].isnan().all())


def test_what_does_not_fit_is_refused(model):
    with pytest.raises(BadConfig, match="attention=single"):
        MvSam(replace(SMALL, positions="2d", attention="full"))
    scene = embedding()
    with pytest.raises(BadInput, match=r"fine: expected \(1, 3, 6, 16, 24\)"):
        model(replace(scene, fine=scene.fine[..., :-1]), CLICKS)
    with pytest.raises(BadInput, match="projections"):
        model_of(replace(SMALL, positions="2d"))(replace(scene, projections=None), CLICKS)


def test_a_mask_is_carried_to_the_places_that_show_the_same():
    """Two views of 2 x 2 places, mirror images of each other but for the last place of the second one."""
    first = torch.eye(4).reshape(4, 2, 2)
    second = first.flip(-1).clone()
    second[:, 1, 1] = 0.0
    masks = torch.zeros(1, 1, 2, 2, 2)
    masks[0, 0, 0] = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    matching = Matching(20 * torch.stack((first, second))[None], torch.full((1,), 10.0))
    found = carried(matching, masks)
    assert (found[0, 0, 0] == 0).all()  # nothing is carried to the view that has the mask
    assert torch.allclose(found[0, 0, 1], torch.tensor([[0.0, 1.0], [0.0, 0.0]]), atol=1e-3)
    assert (carried(None, masks) == 0).all()
