"""Fingerprints of body models: the same for the same body however it is stored, another one for another body."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from manopth.files import load_body_arrays
from tests import rules
from tests.conftest import write_levels
from tore.body.body_model import load_body
from tore.body.identity import BodyIdentity, body_identity
from tore.body.topology import load_topology
from tore.paths import MANO_FILES, SMPL_FILES

FILES = {"body": SMPL_FILES, "hand": MANO_FILES}
Arrays = dict[str, np.ndarray]


def stored(arrays: Arrays, dtype: type) -> Arrays:
    return {name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def shaken(arrays: Arrays, size: float) -> Arrays:
    random = np.random.default_rng(0)
    return {
        name: array + size * random.standard_normal(array.shape) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }


def turned(arrays: Arrays, name: str) -> Arrays:
    return arrays | {name: arrays[name][::-1].copy()}


@pytest.fixture
def rewritten(rule_body_dir: Path, tmp_path: Path) -> Callable[[str, Callable[[Arrays], Arrays]], BodyIdentity]:
    """The identity of the rule-made body whose arrays went through a function before they were stored."""

    def identity(kind: str, change: Callable[[Arrays], Arrays]) -> BodyIdentity:
        folder = Path(shutil.copytree(rule_body_dir, tmp_path / "changed"))
        arrays = change(load_body_arrays(rule_body_dir / FILES[kind].model))
        (folder / FILES[kind].model).write_bytes(pickle.dumps(arrays, protocol=2))
        return body_identity(kind, folder)

    return identity


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_the_loaded_model_the_files_and_the_topology_agree(kind: str, rule_body_dir: Path) -> None:
    found = body_identity(kind, rule_body_dir)
    assert load_body(kind, rule_body_dir).identity == found and found.is_known
    topology = load_topology(kind, rule_body_dir).identity
    assert topology == BodyIdentity(found.name, None, found.levels) and topology.agrees_with(found)
    assert found.name == {"body": "SMPL", "hand": "MANO"}[kind]
    assert BodyIdentity.from_plain(found.described(), "x") == found


@pytest.mark.parametrize("kind", ["body", "hand"])
@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: stored(arrays, np.float32),
        lambda arrays: stored(stored(arrays, np.float32), np.float64),
        lambda arrays: shaken(arrays, 1e-10),
        lambda arrays: arrays | {"f": arrays["f"].astype(np.uint32)},
        lambda arrays: arrays | {"shapedirs": np.concatenate([arrays["shapedirs"], arrays["shapedirs"] * 2], 2)},
    ],
    ids=["float32", "float32 as float64", "last digits", "uint32 faces", "more shape directions"],
)
def test_another_way_of_storing_changes_nothing(kind: str, change, rewritten, rule_body_dir: Path) -> None:
    assert rewritten(kind, change) == body_identity(kind, rule_body_dir)


@pytest.mark.parametrize("kind", ["body", "hand"])
@pytest.mark.parametrize("name", ["v_template", "f", "weights", "shapedirs"])
def test_each_array_counts(kind: str, name: str, rewritten, rule_body_dir: Path) -> None:
    found, held = rewritten(kind, lambda arrays: turned(arrays, name)), body_identity(kind, rule_body_dir)
    assert found.levels == held.levels and found.mesh != held.mesh and not found.agrees_with(held)


def test_a_millimeter_everywhere_counts(rewritten, rule_body_dir: Path) -> None:
    moved = rewritten("body", lambda arrays: shaken(arrays, 0.0) | {"v_template": arrays["v_template"] * 1.001})
    assert moved.mesh != body_identity("body", rule_body_dir).mesh


def test_mesh_levels_count_by_themselves(rule_body_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rule_body_dir, tmp_path / "changed"))
    levels = rules.mesh_levels()
    levels["U"] = [matrix * 0.5 for matrix in levels["U"]]
    write_levels(folder / SMPL_FILES.mesh_levels, levels)
    found, held = body_identity("body", folder), body_identity("body", rule_body_dir)
    assert found.mesh == held.mesh and found.levels != held.levels and not found.agrees_with(held)
    (folder / SMPL_FILES.model).unlink()
    alone = body_identity("body", folder)
    assert alone.mesh is None and alone.agrees_with(found) and not alone.agrees_with(held)


def test_the_projects_own_models_differ_from_others_in_every_part(rule_body_dir: Path) -> None:
    folders = ("synthetic", rule_body_dir)
    found = {(folder, kind): body_identity(kind, folder) for folder in folders for kind in ("body", "hand")}
    assert [identity.name for identity in found.values()] == ["synthetic", "synthetic", "SMPL", "MANO"]
    for half in ("mesh", "levels"):
        assert len({getattr(identity, half) for identity in found.values()}) == 4


def test_the_sentence_names_both_and_the_fix() -> None:
    smpl, mine = BodyIdentity("SMPL", "0a", "0b"), BodyIdentity("synthetic", "1a", "1b")
    with pytest.raises(ValueError, match=r"^a\.bin was trained on the body model 'synthetic' \(1a-1b\), and "):
        mine.refuse_another(smpl, "a.bin was trained on")
    with pytest.raises(ValueError, match=r"is 'SMPL' \(0a-0b\): use --body_dir synthetic \(in Python body_dir="):
        mine.refuse_another(smpl, "a.bin was trained on")
    with pytest.raises(ValueError, match="name the folder of SMPL's files with --body_dir"):
        smpl.refuse_another(mine, "a.bin was trained on")
    with pytest.raises(ValueError, match="other files of that name"):
        smpl.refuse_another(BodyIdentity("SMPL", "2a", "0b"), "a.bin was trained on")
    with pytest.raises(
        ValueError, match=r"'capsules', and .*: that was one of .* gone .* again with --body_dir synthetic"
    ):
        BodyIdentity("capsules").refuse_another(mine, "a.yaml has labels of")
    smpl.refuse_another(BodyIdentity("a copy", "0a", "0b"), "a.bin was trained on")
    with pytest.raises(ValueError, match=r"x\.bin is damaged: its record of the body model is \['SMPL'\]"):
        BodyIdentity.from_plain(["SMPL"], "x.bin")
