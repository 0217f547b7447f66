"""Masks are drawn to the edges of their image."""

import numpy as np

from geoseg_core.prompting.sharpening import sharpened


def half(size=(240, 320), edge=160):
    """An image that is dark on the left of a column and bright from there on."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, edge:] = 200
    return image


def ramp(size=(240, 320), middle=158.0):
    """Logits that rise from left to right and are 0 at a column."""
    return np.broadcast_to((np.arange(size[1]) - middle) * 0.5, size).astype(np.float32)


def test_a_mask_ends_where_the_colours_change():
    given = ramp()
    assert (given > 0)[120].argmax() == 159
    assert (sharpened(given, half()) > 0)[120].argmax() == 160


def test_in_a_large_image_too():
    given = ramp((720, 960), 470.0)
    assert (given > 0)[300].argmax() == 471
    assert ((sharpened(given, half((720, 960), 475)) > 0)[100:600].argmax(axis=1) == 475).all()


def test_without_an_edge_the_mask_stays():
    given = ramp()
    flat = np.full((240, 320, 3), 90, np.uint8)
    assert ((sharpened(given, flat) > 0) == (given > 0)).all()


def test_what_is_far_from_every_mask_is_left_alone():
    given = np.full((240, 320), -8.0, np.float32)
    assert sharpened(given, half()) is given
    given[10:20, 10:20] = 3.0
    found = sharpened(given, half())
    assert (found[30:] == -8.0).all() and (found[:, 30:] == -8.0).all()
