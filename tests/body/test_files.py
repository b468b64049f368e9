"""The allow-list reader: every official kind of file, and what damaged or foreign ones give, in one sentence."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from manopth import files
from manopth.lbs import SkinnedModel
from tests import rules
from tests.body.pickled_calls import Calls, one_sentence
from tests.conftest import object_array, write_levels
from tore.body.files import model_path, needed_files, read_adjacency, read_levels, read_regressor
from tore.body.topology import load_topology
from tore.paths import BODY_FILES, SUPPORT_SITE

OLD_NAMES = {b"numpy._core": b"numpy.core", b"scipy.sparse._csc": b"scipy.sparse.csc"}


def old_pickle(value: object) -> bytes:
    """A protocol 0 pickle with the module paths of older numpy and scipy."""
    raw = pickle.dumps(value, protocol=0)
    for new, old in OLD_NAMES.items():
        raw = raw.replace(new, old)
    return raw


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Classes under chumpy's names, for writing only."""
    made = {}
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("chumpy.ch", "MatVecMult")):
        made[name] = type(name, (), {"__module__": module})
        holder = sys.modules.get(module) or types.ModuleType(module)
        setattr(holder, name, made[name])
        monkeypatch.setitem(sys.modules, module, holder)
    return types.SimpleNamespace(**made)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    value = {
        "matrix": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.uint32).reshape(3, 2)),
        "number": np.float64(2.5),
        "csc": sp.random(5, 7, 0.4, "csc", random_state=0),
        "csr": sp.random(5, 7, 0.4, "csr", random_state=1),
        "coo": sp.random(5, 7, 0.4, "coo", random_state=2),
        "ordered": OrderedDict(a=[1, (2, None)]),
        "words": {"x": b"\xff\x00", "y": "é", "empty": b""},
        "objects": object_array([np.ones(2), sp.eye(3, format="csc")]),
    }
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = files.load_pickle(path)
    np.testing.assert_array_equal(loaded["matrix"], value["matrix"])
    np.testing.assert_array_equal(loaded["fortran"], value["fortran"])
    assert loaded["number"] == 2.5
    for kind in ("csc", "csr", "coo"):
        assert loaded[kind].format == kind
        np.testing.assert_array_equal(loaded[kind].toarray(), value[kind].toarray())
    assert loaded["ordered"] == {"a": [1, (2, None)]}
    assert loaded["words"] == value["words"]
    np.testing.assert_array_equal(loaded["objects"][1].toarray(), np.eye(3))


def test_old_module_paths_without_a_warning(tmp_path: Path) -> None:
    model = rules.mano_model()
    path = tmp_path / "old.pkl"
    path.write_bytes(old_pickle(model))
    assert b"scipy.sparse.csc\n" in path.read_bytes()
    assert b"numpy.core.multiarray\n" in path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = files.load_pickle(path)
    np.testing.assert_array_equal(loaded["J_regressor"].toarray(), model["J_regressor"].toarray())
    np.testing.assert_array_equal(loaded["posedirs"], model["posedirs"])


def test_a_python_2_pickle(tmp_path: Path) -> None:
    """Byte strings as Python 2 wrote them, an array's buffer among them."""
    raw = (
        b"(dp0\nS'bs_style'\np1\nS'lbs'\np2\nsS'v'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\nndarray\np5\n"
        b"(I0\ntp6\nS'b'\np7\ntp8\nRp9\n(I1\n(I2\ntp10\ncnumpy\ndtype\np11\n(S'f8'\np12\nI0\nI1\ntp13\nRp14\n(I3\nS'<'\np15\n"
        b"NNNI-1\nI-1\nI0\ntp16\nbI00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\xe0\\xbf'\np17\ntp18\nbs."
    )
    path = tmp_path / "two.pkl"
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = files.load_pickle(path)
    assert loaded["bs_style"] == "lbs"
    np.testing.assert_array_equal(loaded["v"], [1.0, -0.5])


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_become_their_numbers(tmp_path: Path, chumpy: types.SimpleNamespace, protocol: int) -> None:
    whole, selected = chumpy.Ch(), chumpy.Select()
    whole.x, whole._dirty_vars, whole._itr = np.arange(24.0).reshape(2, 12), {"x"}, None
    selected.a, selected.idxs, selected.preferred_shape = whole, np.array([3, 1, 20, 0]), (2, 2)
    path = tmp_path / "chumpy.pkl"
    path.write_bytes(pickle.dumps({"whole": whole, "selected": selected}, protocol=protocol))
    loaded = files.load_pickle(path)
    np.testing.assert_array_equal(loaded["whole"], whole.x)
    np.testing.assert_array_equal(loaded["selected"], [[3.0, 1.0], [20.0, 0.0]])


def test_chumpy_without_numbers_matters_only_where_it_is_needed(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    path = tmp_path / "product.pkl"
    path.write_bytes(pickle.dumps(rules.mano_model() | {"J_transformed": chumpy.MatVecMult()}, protocol=2))
    assert "J_transformed" not in files.load_body_arrays(path)
    path.write_bytes(pickle.dumps(rules.mano_model() | {"posedirs": chumpy.MatVecMult()}, protocol=2))
    with pytest.raises(ValueError, match=r"posedirs is a chumpy\.ch\.MatVecMult without stored numbers") as error:
        files.load_body_arrays(path)
    one_sentence(path, error)


def test_a_model_as_its_site_gives_it(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    """Chumpy arrays, an unsigned tree whose root's parent is 2^32 - 1, more entries than are needed."""
    model = rules.mano_model()
    wrapped = dict(model, bs_style="lbs", pose=chumpy.Ch())
    for name in ("v_template", "posedirs"):
        wrapped[name] = chumpy.Ch()
        wrapped[name].x = model[name]
    whole = chumpy.Ch()
    whole.x = np.concatenate([model["shapedirs"], np.ones((778, 3, 2))], -1)
    wrapped["shapedirs"] = chumpy.Select()
    wrapped["shapedirs"].__dict__.update(
        a=whole, idxs=np.arange(whole.x.size).reshape(whole.x.shape)[..., :10].ravel(), preferred_shape=(778, 3, 10)
    )
    wrapped["kintree_table"] = model["kintree_table"].astype(np.uint32)
    wrapped["kintree_table"][0, 0] = 2**32 - 1
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(old_pickle(wrapped))
    arrays = files.load_body_arrays(path)
    for name in ("v_template", "posedirs", "shapedirs"):
        np.testing.assert_array_equal(arrays[name], model[name])
    assert arrays["kintree_table"][0, 0] == 2**32 - 1
    assert SkinnedModel(arrays).parents.tolist() == [0, *rules.HAND_PARENTS[1:]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_kind_of_array_comes_back(tmp_path: Path, protocol: int) -> None:
    given = {
        "big-endian": np.arange(6, dtype=">i4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["a", "bcd"]),
        "bytes": np.array([b"a", b"bcd"]),
        "flags": np.array([True, False]),
        "complex": np.array([1 + 2j]),
        "empty": np.zeros((0, 3)),
        "number": np.array(2.5),
        "objects": np.array([np.arange(3), None, {"a": np.ones(2)}], dtype=object),
        "scalar": np.float32(1.5),
        "type": np.dtype("<f4"),
    }
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(given, protocol=protocol))
    held = files.load_pickle(path)
    for name in list(given)[:8]:
        np.testing.assert_array_equal(held[name], given[name], strict=True)
    np.testing.assert_array_equal(held["objects"][0], np.arange(3))
    assert held["objects"][1] is None
    assert held["objects"][2]["a"].tolist() == [1, 1]
    assert (held["scalar"], held["type"]) == (1.5, np.dtype("<f4"))


@pytest.mark.parametrize("content", [b"", b"hello, I am a web page", b"<html>404</html>", b"\x80", b"\x00" * 50])
def test_not_a_pickle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a pickle") as error:
        files.load_pickle(path)
    one_sentence(path, error)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8, 0.9999])
def test_truncated_files(tmp_path: Path, rule_body_dir: Path, share: float) -> None:
    readers = {
        "MANO_RIGHT.pkl": files.load_body_arrays,
        "J_regressor_extra.npy": files.load_array,
        "mano_downsampling.npz": lambda path: files.load_object_arrays(path, ["U"]),
        "mano_195_adjmat_values.pt": files.load_tensor,
    }
    for name, reader in readers.items():
        whole = (rule_body_dir / name).read_bytes()
        path = tmp_path / name
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match="cut short or another file; get it again") as error:
            reader(path)
        one_sentence(path, error)


def write_member(archive: Path, name: str, value: object, payload: bytes | None = None) -> None:
    """An .npz entry; with `payload` an object array of shape (1,) with these bytes behind its header."""
    stream = io.BytesIO()
    if payload is None:
        np.lib.format.write_array(stream, np.asarray(value), allow_pickle=True)
    else:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        stream.write(payload)
    with zipfile.ZipFile(archive, "a") as held:
        held.writestr(f"{name}.npy", stream.getvalue())


def test_entries_not_asked_for_are_never_opened(tmp_path: Path, rule_body_dir: Path) -> None:
    path = tmp_path / "levels.npz"
    path.write_bytes((rule_body_dir / "mesh_downsampling.npz").read_bytes())
    write_member(path, "M", None, payload=b"cpsbody.mesh.mesh\nMesh\n(tR.")
    loaded = files.load_object_arrays(path, ["U", "D"])
    assert [matrix.shape for matrix in loaded["U"]] == [(6890, 1723), (1723, 431)]
    assert [matrix.shape for matrix in loaded["D"]] == [(1723, 6890), (431, 1723)]
    with pytest.raises(ValueError, match=r"asks for psbody\.mesh\.mesh\.Mesh") as error:
        files.load_object_arrays(path, ["M"])
    one_sentence(path, error)
    with pytest.raises(ValueError, match=r"lacks A \(it holds D, M, U\)") as error:
        files.load_object_arrays(path, ["A"])
    one_sentence(path, error)


def test_an_array_of_another_shape_than_announced(tmp_path: Path) -> None:
    path = tmp_path / "levels.npz"
    write_member(path, "U", None, payload=pickle.dumps(object_array([1, 2])))
    with pytest.raises(ValueError, match=r"announces an array \(1,\) and holds \(2,\)") as error:
        files.load_object_arrays(path, ["U"])
    one_sentence(path, error)


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)[:2]), np.float32(3), []])
def test_plain_arrays(tmp_path: Path, array: object) -> None:
    path = tmp_path / "array.npy"
    np.save(path, array)
    np.testing.assert_array_equal(files.load_array(path), array)
    assert files.load_array(path).flags.writeable


def test_sparse_matrices_are_checked(tmp_path: Path) -> None:
    matrix = sp.eye(3, format="csc")
    matrix.indices[1] = 70
    path = tmp_path / "sparse.pkl"
    path.write_bytes(pickle.dumps(matrix, protocol=2))
    with pytest.raises(ValueError, match="cannot be read") as error:
        files.load_pickle(path)
    one_sentence(path, error)


def test_tensor_files(tmp_path: Path) -> None:
    path = tmp_path / "values.pt"
    for value in (torch.arange(4.0), torch.Size([195, 195])):
        torch.save(value, path)
        loaded = files.load_tensor(path)
        assert type(loaded) is type(value)
        assert list(loaded) == list(value)
    torch.save(Calls(os.system, f"touch {tmp_path / 'mark'}"), path)
    with pytest.raises(ValueError, match="holds pickled code") as error:
        files.load_tensor(path)
    one_sentence(path, error)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("reader", [files.load_array, files.load_pickle, files.load_tensor, files.load_body_arrays])
def test_a_missing_file_is_named(tmp_path: Path, reader: object) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        reader(tmp_path / "nowhere.npz")


def test_plain_npz_is_the_same_body(tmp_path: Path, rule_body_dir: Path) -> None:
    from_pickle = files.load_body_arrays(rule_body_dir / "MANO_RIGHT.pkl")
    path = tmp_path / "hand.npz"
    np.savez(path, **from_pickle)
    from_npz = files.load_body_arrays(path)
    assert from_npz.keys() == from_pickle.keys()
    for name, array in from_pickle.items():
        np.testing.assert_array_equal(from_npz[name], array)


BROKEN = {
    "shapedirs": (lambda a: a[:-1], r"shapedirs has shape \(777, 3, 10\), not \(778, 3, any\)"),
    "weights": (lambda a: a[:-1], r"weights has shape \(777, 16\), not \(778, 16\)"),
    "v_template": (lambda a: a[:, :2], r"v_template has shape \(778, 2\), not \(778, 3\)"),
    "J_regressor": (lambda a: a.T, r"J_regressor has shape \(778, 16\), not \(16, 778\)"),
    "posedirs": (lambda a: a[..., 1:], r"posedirs has shape \(778, 3, 134\), not \(778, 3, 135\)"),
    "kintree_table": (lambda a: a[:, ::-1], "names a parent after its child"),
    "f": (lambda a: a + 400, r"f names a vertex outside 0\.\.777"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_wrong_arrays_are_named(tmp_path: Path, name: str) -> None:
    model = rules.mano_model()
    change, sentence = BROKEN[name]
    path = tmp_path / "hand.pkl"
    path.write_bytes(pickle.dumps(model | {name: change(model[name])}, protocol=2))
    with pytest.raises(ValueError, match=sentence) as error:
        files.load_body_arrays(path)
    one_sentence(path, error)
    del model[name]
    path.write_bytes(pickle.dumps(model, protocol=2))
    with pytest.raises(ValueError, match=f"lacks {name}: it is not a body model") as error:
        files.load_body_arrays(path)
    one_sentence(path, error)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list, not a body model") as error:
        files.load_body_arrays(path)
    one_sentence(path, error)
    path.write_bytes(pickle.dumps(rules.mano_model() | {"weights": "heavy"}))
    with pytest.raises(ValueError, match="weights is no array of numbers") as error:
        files.load_body_arrays(path)
    one_sentence(path, error)


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_everything_missing_is_listed_at_once(kind: str, tmp_path: Path, rule_body_dir: Path) -> None:
    licensed = BODY_FILES[kind][0]
    names = set(needed_files(licensed))
    assert all((rule_body_dir / name).is_file() for name in names), "the files that networks read"
    with pytest.raises(FileNotFoundError) as error:
        load_topology(kind, tmp_path / "empty")
    message = str(error.value)
    assert all(name in message for name in names)
    assert licensed.site in message and SUPPORT_SITE in message and str(tmp_path / "empty") in message
    gone = {licensed.mesh_levels, f"{licensed.adjacency}_size.pt"}
    for name in names - gone:
        (tmp_path / name).symlink_to(rule_body_dir / name)
    with pytest.raises(FileNotFoundError, match="is missing, and so is 1 more file") as error:
        load_topology(kind, tmp_path)
    assert {name for name in names if name in str(error.value)} == gone
    assert licensed.site not in str(error.value)


def test_one_missing_file_is_named_alone(tmp_path: Path, rule_body_dir: Path) -> None:
    names = set(needed_files(BODY_FILES["hand"][0])) - {"MANO_RIGHT.pkl"}
    for name in names:
        (tmp_path / name).symlink_to(rule_body_dir / name)
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT\.pkl is missing: get MANO_RIGHT\.pkl from MANO") as error:
        model_path("hand", tmp_path)
    assert not any(name in str(error.value) for name in names)


NAN_LEVELS = {"U": [np.full((778, 195), np.nan)], "D": [np.eye(2)]}
DAMAGED_SUPPORT: dict[str, tuple[Callable[[Path], None], Callable[[Path], object], str]] = {
    "levels that are not finite": (
        lambda folder: write_levels(folder / "mano_downsampling.npz", NAN_LEVELS),
        lambda folder: read_levels("hand", folder),
        "mano_downsampling.npz holds numbers that are not finite",
    ),
    "a transposed regressor": (
        lambda folder: np.save(folder / "J_regressor_h36m_correct.npy", np.ones((6890, 17))),
        lambda folder: read_regressor("J_regressor_h36m_correct.npy", 17, 6890, folder),
        r"has shape \(6890, 17\), not \(17, 6890\); transpose it",
    ),
    "a regressor cut to whole numbers": (
        lambda folder: np.save(folder / "J_regressor_h36m_correct.npy", np.zeros((17, 6890), int)),
        lambda folder: read_regressor("J_regressor_h36m_correct.npy", 17, 6890, folder),
        "an empty row",
    ),
    "adjacency values that are not finite": (
        lambda folder: torch.save(torch.full((3,), torch.nan), folder / "mano_195_adjmat_values.pt"),
        lambda folder: read_adjacency("hand", folder),
        "no finite numbers",
    ),
    "an adjacency of another kind": (
        lambda folder: torch.save({"a": 1}, folder / "mano_195_adjmat_indices.pt"),
        lambda folder: read_adjacency("hand", folder),
        "holds a dict, no tensor",
    ),
}


@pytest.mark.parametrize("case", DAMAGED_SUPPORT)
def test_wrong_support_files(case: str, tmp_path: Path, rule_body_dir: Path) -> None:
    damage, read, sentence = DAMAGED_SUPPORT[case]
    for path in rule_body_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    read(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=sentence) as error:
        read(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
