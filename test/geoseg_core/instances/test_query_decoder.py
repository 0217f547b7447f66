"""Object queries on the layers of a small network with random weights: what a caller may rely on."""

from dataclasses import replace

import pytest
import torch

from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig
from geoseg_core.instances.queries.config import QueryConfig
from geoseg_core.instances.queries.model import QueryDecoder

ENCODER = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=3, heads=2), fused=(16, 16), coarse=8, fine=8
)
QUERIES = QueryConfig(token_width=32, token_layers=3, queries=5, width=16, heads=2, features=16)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return TinyGeometry(ENCODER).eval()


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(1)
    return QueryDecoder(QUERIES).eval()


def images(batch=1, views=3, seed=0):
    return torch.rand(batch, views, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def said(encoder, decoder, shown, shares=True, cells=0):
    return decoder(*given(encoder, shown, decoder.config.layers), shares, cells=cells)


def given(encoder, shown, layers=(0, 1, 2)):
    """The layers after the global attention, and maps that stand for features."""
    seen = encoder(shown, layers)
    return {number: seen.tokens.layers[number][..., 32:] for number in layers}, seen.fused


@pytest.mark.parametrize("views", [1, 2, 5])
def test_any_number_of_views_gives_masks_in_each(encoder, decoder, views):
    output = said(encoder, decoder, images(2, views))
    assert output.class_logits.shape == (2, 5, 2)
    assert output.mask_logits.shape == (2, 5, views, 8, 12)
    assert output.view_shares.shape == (3, 2, 5, views)
    assert torch.allclose(output.view_shares.sum(dim=-1), torch.ones(3, 2, 5), atol=1e-5)


def test_other_views_after_the_first_change_places_with_their_masks(encoder, decoder):
    shown, order = images(1, 4), [0, 3, 1, 2]
    plain, moved = said(encoder, decoder, shown), said(encoder, decoder, shown[:, order])
    assert torch.allclose(plain.class_logits, moved.class_logits, atol=1e-5)
    assert torch.allclose(plain.mask_logits[:, :, order], moved.mask_logits, atol=1e-5)
    assert torch.allclose(plain.view_shares[..., order], moved.view_shares, atol=1e-5)


def test_a_batch_gives_what_its_scenes_give(encoder, decoder):
    shown = images(3, 2)
    both, alone = said(encoder, decoder, shown), [said(encoder, decoder, each[None]) for each in shown]
    assert torch.allclose(both.mask_logits, torch.cat([each.mask_logits for each in alone]), atol=1e-5)
    assert torch.allclose(both.class_logits, torch.cat([each.class_logits for each in alone]), atol=1e-5)


def test_the_attention_is_the_same_whether_its_spread_is_asked_for_or_not(encoder, decoder):
    slow, fast = (said(encoder, decoder, images(2), shares) for shares in (True, False))
    assert fast.view_shares is None and fast.earlier == ()
    assert torch.allclose(slow.mask_logits, fast.mask_logits, atol=1e-5)
    assert torch.allclose(slow.class_logits, fast.class_logits, atol=1e-5)


@torch.no_grad()
def test_the_spread_is_the_attention_to_the_tokens_of_each_view(decoder):
    tokens, cross = torch.zeros(1, 2, 4, 32), decoder.layers[0].cross
    even = cross(torch.rand(1, 5, 16), tokens, True)[1]
    assert torch.allclose(even, torch.full((1, 5, 2), 0.5))
    liked = torch.rand(1, 1, 16)
    # A token whose keys are those that the query looks for.
    wanted = 1e3 * cross.q_proj(liked)[0, 0] @ cross.kv_proj.weight[:16]
    tokens[0, 1, 2] = wanted
    assert cross(liked, tokens, True)[1][0, 0].tolist() == pytest.approx([0, 1], abs=1e-3)


@pytest.mark.parametrize(
    ("insertion", "of_four", "of_three", "of_one"),
    [
        ("all", (0, 1, 2, 3), (0, 1, 2), (0,)),
        ("early", (0, 1), (0, 1), (0,)),
        ("late", (2, 3), (1, 2), (0,)),
        ("interleaved", (1, 3), (0, 2), (0,)),
    ],
)
def test_queries_look_at_the_layers_that_are_chosen(encoder, insertion, of_four, of_three, of_one):
    for depth, layers in ((4, of_four), (3, of_three), (1, of_one)):
        assert QueryConfig(token_layers=depth, insertion=insertion).layers == layers
    decoder = QueryDecoder(replace(QUERIES, insertion=insertion)).eval()
    assert said(encoder, decoder, images()).view_shares.shape[0] == len(of_three)


def test_what_is_said_early_is_what_fewer_layers_say(encoder, decoder):
    output = said(encoder, decoder, images())
    assert len(output.earlier) == 2
    torch.manual_seed(2)
    shorter = QueryDecoder(replace(QUERIES, token_layers=2)).eval()
    kept = {name: value for name, value in decoder.state_dict().items() if not name.startswith("layers.2")}
    shorter.load_state_dict(kept)
    alone = said(encoder, shorter, images())
    assert torch.allclose(output.earlier[1].mask_logits, alone.mask_logits, atol=1e-5)
    assert torch.allclose(output.earlier[1].class_logits, alone.class_logits, atol=1e-5)


@torch.no_grad()
def test_masks_at_drawn_cells_are_those_of_the_whole_masks(encoder, decoder):
    whole, drawn = said(encoder, decoder, images()), said(encoder, decoder, images(), cells=10)
    assert drawn.mask_logits.shape[2:] == (1, 1, 10) and drawn.size == whole.size == tuple(whole.mask_logits.shape[3:])
    assert len(set(drawn.drawn.numbers.tolist())) == 10
    for some, full in zip((drawn, *drawn.earlier), (whole, *whole.earlier), strict=True):
        assert torch.allclose(some.mask_logits, drawn.drawn.of(full.mask_logits), atol=1e-5)
    enough = said(encoder, decoder, images(), cells=10**6)
    assert enough.drawn is None and torch.equal(enough.mask_logits, whole.mask_logits)


@torch.no_grad()
def test_what_does_not_fit_is_refused(encoder, decoder):
    tokens, features = given(encoder, images())
    with pytest.raises(BadInput, match=r"got \[0, 2\]; let the network keep \[1\]"):
        decoder({number: tokens[number] for number in (0, 2)}, features)
    with pytest.raises(BadInput, match=r"expected features \(B, V, 16, h, w\)"):
        decoder(tokens, features[:, :, :8])
    with pytest.raises(BadInput, match="take both of one network"):
        decoder(tokens, features[:, :2])
