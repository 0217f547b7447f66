"""Positions, against values worked out by hand."""

import math

import torch

from geoseg_core.layers.positions import index_sines, rotary_table, rotate, uv_map, uv_sines

CPU = torch.device("cpu")


def test_a_head_vector_turns_with_row_and_column() -> None:
    # Head dimension 8: the half of each axis has two frequencies, 1 and 100^(-1/2) = 0.1.
    table = rotary_table((2, 3), 1, 8, 100.0, CPU)
    vector = torch.zeros(1, 1, 7, 8)
    vector[..., 0] = 1  # first frequency of the row, u
    vector[..., 7] = 1  # second frequency of the column, v
    turned = rotate(vector, table)[0, 0]
    # The special token stands at (0, 0) and does not turn.
    assert torch.equal(turned[0], vector[0, 0, 0])
    # The last patch is row 1, column 2 and stands at (2, 3).
    expected = torch.tensor([math.cos(2), 0, math.sin(2), 0, 0, -math.sin(0.3), 0, math.cos(0.3)])
    torch.testing.assert_close(turned[6], expected)


def test_every_frame_turns_alike() -> None:
    table = rotary_table((2, 2), 1, 8, 100.0, CPU)
    frame = torch.randn(1, 2, 5, 8)
    both = rotate(torch.cat((frame, frame), dim=2), table)
    assert torch.equal(both[:, :, :5], both[:, :, 5:])


def test_scores_depend_on_relative_places_only() -> None:
    table = rotary_table((4, 4), 0, 8, 100.0, CPU)
    query, key = torch.randn(8), torch.randn(8)
    queries = rotate(query.expand(1, 1, 16, 8), table)[0, 0].view(4, 4, 8)
    keys = rotate(key.expand(1, 1, 16, 8), table)[0, 0].view(4, 4, 8)
    torch.testing.assert_close(queries[0, 0] @ keys[1, 2], queries[2, 1] @ keys[3, 3])


def test_uv_are_cell_centres_of_a_rectangle_with_half_diagonal_one() -> None:
    # Aspect 3/4: half width 0.6, half height 0.8; with two columns the centres lie at half of it.
    places = uv_map((4, 2), 0.75, torch.float32, CPU)
    torch.testing.assert_close(places[0], torch.tensor([-0.3, 0.3]).expand(4, 2))
    torch.testing.assert_close(places[1, :, 0], torch.tensor([-0.6, -0.2, 0.2, 0.6]))


def test_the_positional_term_is_sines_then_cosines_of_u_then_of_v() -> None:
    of_u, of_v = uv_sines((4, 2), 8, 0.75, torch.float32, CPU)
    assert of_u.shape == (4, 1, 2) and of_v.shape == (4, 4, 1)
    expected = [math.sin(0.3), math.sin(0.03), math.cos(0.3), math.cos(0.03)]
    torch.testing.assert_close(of_u[:, 0, 1], torch.tensor(expected))
    expected = [math.sin(0.6), math.sin(0.06), math.cos(0.6), math.cos(0.06)]
    torch.testing.assert_close(of_v[:, 3, 0], torch.tensor(expected))


def test_index_sines_have_base_ten_thousand() -> None:
    table = index_sines(6, 4, CPU)
    torch.testing.assert_close(table[5], torch.tensor([math.sin(5), math.sin(0.05), math.cos(5), math.cos(0.05)]))


def test_tables_made_in_inference_mode_serve_training() -> None:
    with torch.inference_mode():
        table = rotary_table((3, 5), 2, 8, 77.0, CPU)
    vector = torch.randn(1, 1, 17, 8, requires_grad=True)
    rotate(vector, table).sum().backward()
    assert vector.grad is not None
