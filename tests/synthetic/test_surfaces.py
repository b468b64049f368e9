"""Surfaces check themselves."""

import numpy as np
import pytest

from tore.synthetic.surfaces import Surface, plain_texture


def _triangle(**changes):
    values = {
        "name": "sheet",
        "vertices": np.eye(3),
        "faces": np.array([[0, 1, 2]]),
        "places": np.zeros((1, 2)),
        "face_places": np.zeros((1, 3), int),
        "texture": plain_texture((10, 20, 30)),
    }
    return Surface(**{**values, **changes})


def test_a_surface_that_fits_passes():
    _triangle().check()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"faces": np.array([[0, 1, 3]])}, "faces"),
        ({"face_places": np.array([[0, 0, 1]])}, "face_places"),
        ({"texture": np.zeros((2, 2, 3), np.uint8)}, "texture"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes, word):
    with pytest.raises(ValueError, match=rf"'sheet'.*{word}"):
        _triangle(**changes).check()


def test_a_plain_texture_has_its_color():
    assert (plain_texture((1, 2.6, 300)) == [1, 3, 255, 255]).all()
