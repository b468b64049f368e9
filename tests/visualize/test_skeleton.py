"""Stick figures: every joint and every bone is drawn where it lies."""

from __future__ import annotations

import numpy as np
import pytest

from tore_runtime.drawing import bones_of, draw_skeleton


def test_skeleton_lines_join_the_joints() -> None:
    joints = np.random.RandomState(3).uniform(20, 200, (24, 2))
    paper = np.zeros((224, 224, 3), np.uint8)
    drawn = draw_skeleton(paper, joints)
    assert not paper.any()
    for x, y in joints:
        assert drawn[int(y), int(x)].any()
    for first, second, _ in bones_of(24):
        x, y = (joints[first] + joints[second]) / 2
        assert drawn[int(y), int(x)].any()
    hidden = draw_skeleton(paper, joints, np.zeros(24))
    assert not hidden.any()
    assert [len(bones_of(count)) for count in (14, 17, 21, 24)] == [14, 16, 20, 23]
    with pytest.raises(ValueError, match="5 joints"):
        bones_of(5)
