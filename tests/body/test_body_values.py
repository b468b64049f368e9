"""Body files whose numbers cannot be right are refused in one sentence; every way of keeping right numbers is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from manopth import files
from tests import rules
from tests.body.pickled_calls import one_sentence
from tests.conftest import object_array

SPARSE = [getattr(sp, f"{kind}_{form}") for kind in ("csr", "coo", "csc", "dok", "lil", "bsr", "dia")
          for form in ("matrix", "array")]  # fmt: skip


def written(folder: Path, **changed: Any) -> Path:
    """A hand's file with some entries changed; functions change the entry that the rules give."""
    model = rules.mano_model()
    for name, value in changed.items():
        model[name] = value(model[name]) if callable(value) else value
    path = folder / "hand.pkl"
    path.write_bytes(pickle.dumps(model, protocol=2))
    return path


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    out = np.array(array.toarray() if sp.issparse(array) else array, np.float64)
    out.flat[5] = value
    return out


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_every_kind_of_sparse_regressor(tmp_path: Path, kind: Callable[[Any], Any], protocol: int) -> None:
    model = rules.mano_model()
    dense = model["J_regressor"].toarray()
    path = tmp_path / "hand.pkl"
    path.write_bytes(pickle.dumps(model | {"J_regressor": kind(dense)}, protocol=protocol))
    np.testing.assert_array_equal(files.load_body_arrays(path)["J_regressor"], dense)
    plain = tmp_path / "hand.npz"
    np.savez(plain, **(model | {"J_regressor": object_array([kind(dense)])}))
    np.testing.assert_array_equal(files.load_body_arrays(plain)["J_regressor"], dense)


def test_kinds_of_arrays_are_read_by_their_values(tmp_path: Path) -> None:
    expected = files.load_body_arrays(written(tmp_path))
    rows = {"weights": np.matrix, "hands_mean": np.matrix, "v_template": lambda a: a.astype(object), "f": np.matrix}
    for name, array in files.load_body_arrays(written(tmp_path, **rows)).items():
        np.testing.assert_array_equal(array, expected[name], strict=True)
    lists = files.load_body_arrays(written(tmp_path, v_template=lambda a: object_array(list(a)), f=np.float64))
    np.testing.assert_array_equal(lists["v_template"], expected["v_template"])
    np.testing.assert_array_equal(lists["f"], expected["f"])
    regressor = expected["J_regressor"].astype(np.float16)
    half = written(tmp_path, posedirs=np.float16, weights=np.float16, J_regressor=regressor)
    for name in ("posedirs", "weights", "J_regressor"):
        np.testing.assert_array_equal(files.load_body_arrays(half)[name], expected[name].astype(np.float16))


def test_the_content_tells_the_kind_of_file(tmp_path: Path, rule_body_dir: Path) -> None:
    expected = files.load_body_arrays(rule_body_dir / "MANO_RIGHT.pkl")
    npz_as_pkl, pkl_as_npz, saved = tmp_path / "a.pkl", tmp_path / "b.npz", tmp_path / "c.npy"
    with npz_as_pkl.open("wb") as stream:
        np.savez(stream, **expected)
    pkl_as_npz.write_bytes((rule_body_dir / "MANO_RIGHT.pkl").read_bytes())
    np.save(saved, expected, allow_pickle=True)
    for path in (npz_as_pkl, pkl_as_npz, saved):
        for name, array in files.load_body_arrays(path).items():
            np.testing.assert_array_equal(array, expected[name])
    levels = rules.hand_mesh_levels()
    (tmp_path / "levels.npz").write_bytes(pickle.dumps(levels))
    held = files.load_object_arrays(tmp_path / "levels.npz", ["U"])["U"]
    np.testing.assert_array_equal(held[0].toarray(), levels["U"][0].toarray())
    np.savez(tmp_path / "regressor.npz", expected["weights"])
    (tmp_path / "regressor.npz").rename(tmp_path / "regressor.npy")
    np.testing.assert_array_equal(files.load_array(tmp_path / "regressor.npy"), expected["weights"])


def test_only_ten_of_many_shape_directions_count(tmp_path: Path) -> None:
    from manopth.manolayer import ManoLayer

    many = written(tmp_path, shapedirs=lambda a: np.concatenate([a, np.ones((778, 3, 290))], -1))
    assert ManoLayer(mano_root=many).th_shapedirs.shape == (778, 3, 10)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"{value} in {name}": ({name: lambda a, value=value: with_one(a, value)}, f"{name} holds 1 numbers that are")
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "f")
        for value in (np.nan, np.inf)
    },
    "millimeters": ({"v_template": lambda a: a * 1000}, "v_template extends over .*no body or hand in meters"),
    "centimeters": ({"v_template": lambda a: a * 100}, "v_template extends over .*no body or hand in meters"),
    "an empty template": ({"v_template": lambda a: a * 0}, "v_template extends over 0"),
    "shape in millimeters": ({"shapedirs": lambda a: a * 1000}, "shapedirs moves a vertex by up to"),
    "pose in millimeters": ({"posedirs": lambda a: a * 1000}, "posedirs moves a vertex by up to"),
    "five directions": ({"shapedirs": lambda a: a[..., :5]}, "shapedirs holds 5 shape directions, fewer than the 10"),
    "whole template": ({"v_template": lambda a: a.astype(np.int32)}, r"v_template holds whole numbers \(int32\)"),
    "whole weights": ({"weights": lambda a: a.astype(int)}, r"weights of vertex \d+ sums to 0, not to 1"),
    "halved weights": ({"weights": lambda a: a / 2}, r"weights of vertex 0 sums to 0\.5, not to 1"),
    "empty regressor": ({"J_regressor": lambda a: a * 0}, "J_regressor of joint 0 sums to 0, not to 1"),
    "complex": ({"v_template": lambda a: a + 1j}, "v_template is no array of numbers"),
    "text": ({"v_template": lambda a: a.astype(str)}, "v_template is no array of numbers"),
    "nothing": ({"weights": None}, "weights is no array of numbers"),
    "faces from 1": ({"f": lambda a: np.concatenate([a + 1, [[1, 2, 778]]])}, "f counts the vertices from 1 to 778"),
    "fractions of faces": ({"f": lambda a: a + 0.5}, "f holds fractions"),
    "no faces": ({"f": lambda a: a[:0]}, "f holds no faces"),
    "bytes of faces": ({"f": lambda a: a.astype(np.uint8)}, "f is stored as uint8, which cannot count to 777"),
    "joints from 1": ({"kintree_table": lambda a: a + [[0], [1]]}, "does not count the joints from 0"),
    "transposed template": ({"v_template": np.transpose}, r"v_template has shape \(3, 778\), not \(778, 3\); its"),
    "transposed weights": ({"weights": np.transpose}, r"weights has shape \(16, 778\), not \(778, 16\).*transpose"),
    "transposed faces": ({"f": np.transpose}, r"f has shape \(3, 1538\), not \(any, 3\).*transpose"),
    "transposed tree": ({"kintree_table": np.transpose}, r"kintree_table has shape \(16, 2\), not \(2, 16\); its"),
    "a number": ({"posedirs": 3.0}, r"posedirs has shape \(\), not \(778, 3, 135\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_numbers_are_refused(tmp_path: Path, case: str) -> None:
    changed, sentence = WRONG[case]
    path = written(tmp_path, **changed)
    with pytest.raises(ValueError, match=sentence) as error:
        files.load_body_arrays(path)
    one_sentence(path, error)


def header_changed(path: Path, old: bytes, new: bytes) -> None:
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"(6, 2)", b"(3, 2)"), (b"(6, 2)", b"(-6,2)"), (b"(6, 2)", b"(9, 9)"), (b"<f8", b"<f4"), (b"'descr'", b"'descry"),
     (b"(6, 2)", b"((6, 2"), (b"False", b"Fa[se"), (b"<f8", b"<q9"), (b"NUMPY\x01", b"NUMPY\x09")],
)  # fmt: skip
def test_damaged_headers_of_arrays(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(12.0).reshape(6, 2))
    header_changed(path, old, new)
    with pytest.raises(ValueError, match="cannot be read as a numpy array") as error:
        files.load_array(path)
    one_sentence(path, error)
