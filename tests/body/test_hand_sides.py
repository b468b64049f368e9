"""Right and left hands: each is told by its skeleton, and the left file's known fault is mended on request."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.files import load_body_arrays
from manopth.hand_sides import MIRROR, side_of, unmirrored
from manopth.manolayer import ManoLayer
from tore.body.body_model import load_body
from tore.body.files import model_path
from tore.paths import SYNTHETIC_HAND_FILES

SHAPE = torch.tensor([[2.0, -2.0, 1.0] + [0.5] * 7])


@pytest.fixture(scope="module")
def right(synthetic_body_dir: Path) -> dict[str, np.ndarray]:
    return load_body_arrays(synthetic_body_dir / SYNTHETIC_HAND_FILES.model)


def mirrored(right: dict[str, np.ndarray], faulty: bool) -> dict[str, np.ndarray]:
    """The left hand's arrays, with MANO_LEFT's fault or without it."""
    flip = np.array([-1.0, 1.0, 1.0])
    shapedirs = right["shapedirs"] if faulty else right["shapedirs"] * MIRROR
    return right | {"v_template": right["v_template"] * flip, "shapedirs": shapedirs}


def write_hands(folder: Path, right: dict[str, np.ndarray], left: dict[str, np.ndarray]) -> Path:
    for name, hand in (("RIGHT", right), ("LEFT", left)):
        (folder / f"MANO_{name}.pkl").write_bytes(pickle.dumps(hand))
    return folder


def shaped(folder: Path, side: str, **options: bool) -> torch.Tensor:
    layer = ManoLayer(mano_root=folder, side=side, use_pca=False, **options)
    return layer(torch.zeros(1, 48), SHAPE)[0]


def gap(folder: Path, **options: bool) -> float:
    """The largest distance in millimeters between the left hand, mirrored, and the right one of the same shape."""
    left, right = (shaped(folder, side, **options) for side in ("left", "right"))
    return float((left * torch.tensor([-1.0, 1, 1]) - right).norm(dim=-1).max())


def test_the_known_fault_is_mended_on_request(tmp_path: Path, right: dict[str, np.ndarray]) -> None:
    folder = write_hands(tmp_path, right, mirrored(right, faulty=True))
    with pytest.warns(UserWarning, match="fix_left_shape=True mirrors them"):
        assert gap(folder) > 5  # the official layer's hand, bit for bit that of the file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gap(folder, fix_left_shape=True) < 1e-3
        write_hands(tmp_path, right, mirrored(right, faulty=False))
        assert gap(folder) < 1e-3
        assert gap(folder, fix_left_shape=True) < 1e-3


def test_each_direction_is_judged_by_itself(right: dict[str, np.ndarray]) -> None:
    left = right["shapedirs"] * MIRROR
    sideways = np.flatnonzero(np.abs(left[:, 0]).max(0) > 1e-4)[[0, -1]]  # two that move vertices along x
    left[:, 0, sideways] *= -1
    np.testing.assert_array_equal(unmirrored(left, right["shapedirs"]).nonzero()[0], sideways)
    with pytest.raises(ValueError, match="direction 3 is neither"):
        unmirrored(np.where(np.arange(10) == 3, 2 * left, left), right["shapedirs"])


def test_mending_needs_the_right_hand(tmp_path: Path, right: dict[str, np.ndarray]) -> None:
    write_hands(tmp_path, right, mirrored(right, faulty=True))
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(right | {"shapedirs": right["shapedirs"][..., ::-1]}))
    with pytest.raises(ValueError, match="are not those of one model") as error:
        shaped(tmp_path, "left", fix_left_shape=True)
    assert str(tmp_path / "MANO_LEFT.pkl") in str(error.value)
    (tmp_path / "MANO_RIGHT.pkl").unlink()
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT\.pkl is missing: fix_left_shape compares MANO_LEFT\.pkl"):
        shaped(tmp_path, "left", fix_left_shape=True)
    assert torch.isfinite(shaped(tmp_path, "left")).all()


def test_a_hand_under_the_other_ones_name_is_refused(
    tmp_path: Path, right: dict[str, np.ndarray], synthetic_body_dir: Path
) -> None:
    write_hands(tmp_path, mirrored(right, faulty=True), right)
    for side, other in (("right", "left"), ("left", "right")):
        with pytest.raises(ValueError, match=rf"MANO_{side.upper()}\.pkl holds a {other} hand, and a {side} one"):
            ManoLayer(mano_root=tmp_path, side=side)
    for path in synthetic_body_dir.glob("free_hand_*"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "MANO_RIGHT.pkl").rename(tmp_path / SYNTHETIC_HAND_FILES.model)
    assert model_path("hand", tmp_path).name == SYNTHETIC_HAND_FILES.model
    with pytest.raises(ValueError, match="holds a left hand"):
        load_body("hand", tmp_path)


def test_the_side_does_not_depend_on_the_position(right: dict[str, np.ndarray], rule_body_dir: Path) -> None:
    turn = np.linalg.qr(np.random.RandomState(1).standard_normal((3, 3)))[0]
    turn *= np.linalg.det(turn)
    for hand, side in ((right, "right"), (mirrored(right, faulty=True), "left")):
        assert side_of(hand) == side
        assert side_of(hand | {"v_template": hand["v_template"] @ turn + [3, 1, 2]}) == side
    assert side_of(load_body_arrays(rule_body_dir / "MANO_RIGHT.pkl")) is None
