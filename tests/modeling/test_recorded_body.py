"""A checkpoint knows its body model: recorded in every kind of file, and refused on another one."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tore
from tests import rules
from tore.body import load_body
from tore.inference.predictor import MeshRecovery
from tore.modeling.checkpoints import read_checkpoint
from tore.modeling.initialization import load_parts
from tore.modeling.official_layout import official_state
from tore.modeling.recorded_body import RECORD
from tore.paths import SMPL_FILES, default_checkpoint

SMALL = {"arch": "test_resnet", "size": "S", "widths": (32, 32), "hidden": (32, 32), "heads": 16, "keep_ratio": 0.2}
BOTH = r"'synthetic' \(\w{8}-\w{8}\), and the one in use is '(?:SMPL|MANO)' \(\S+-\w{8}\): use --body_dir synthetic"


def network(body_dir: str | Path, kind: str = "body", **options):
    return tore.create_model("fastmetro", body=kind, body_dir=body_dir, **{**SMALL, **options})


def written(model: torch.nn.Module, way: str, folder: Path) -> Path:
    """A file of the model in one of the kinds that there are."""
    path = folder / ("a.safetensors" if way.endswith("safetensors") else "a.bin")
    if way == "wrapped official":
        torch.save(
            {"model": {f"module.{name}": value for name, value in official_state(model, model.state_dict()).items()}},
            path,
        )
    else:
        (tore.save_official if way.startswith("official") else tore.save_model)(model, path)
    return path


@pytest.mark.parametrize("way", ["own", "own safetensors", "official", "official safetensors", "wrapped official"])
@pytest.mark.parametrize("kind", ["body", "hand"])
def test_every_kind_of_file_records_the_body(way: str, kind: str, rule_body_dir: Path, tmp_path: Path) -> None:
    model = network("synthetic", kind)
    path = written(model, way, tmp_path)
    again = tore.load_model(path, None, "cpu", arch="test_resnet")  # its body model is taken from the record
    assert again.trained_on == model.trained_on == load_body(kind, "synthetic").identity
    assert tore.for_inference(again).trained_on == model.trained_on
    with pytest.raises(ValueError, match=f"a.* was trained on the body model {BOTH}"):
        tore.load_model(path, rule_body_dir, "cpu", arch="test_resnet")
    with pytest.raises(ValueError, match=BOTH):
        MeshRecovery.from_checkpoint(path, rule_body_dir, "cpu", arch="test_resnet")
    assert MeshRecovery.from_checkpoint(path, device="cpu", arch="test_resnet").body.identity == model.trained_on


def test_a_licensed_body_is_recorded_and_asked_for(rule_body_dir: Path, tmp_path: Path) -> None:
    tore.save_model(network(rule_body_dir), tmp_path / "a.bin")
    assert tore.load_model(tmp_path / "a.bin", rule_body_dir, "cpu").trained_on.name == "SMPL"
    with pytest.raises(ValueError, match=r"'SMPL' .*'synthetic' .*name the folder of SMPL's files with --body_dir"):
        tore.load_model(tmp_path / "a.bin", "synthetic", "cpu")


@pytest.mark.parametrize("way", ["official", "own of before"])
def test_a_file_without_a_record_is_one_of_the_licensed_body(way: str, rule_body_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    entries = official_state(model := network(rule_body_dir), model.state_dict())
    del entries[RECORD]
    torch.save(entries, path)
    if way == "own of before":
        tore.save_model(tore.load_model(path, rule_body_dir, "cpu", arch="test_resnet"), path)
        content = torch.load(path, weights_only=True)
        del content[RECORD]
        torch.save(content | {"config": content["config"] | {"stand_in": False}}, path)
    model = tore.load_model(path, rule_body_dir, "cpu", arch="test_resnet")
    assert RECORD not in official_state(model, model.state_dict()), "saving does not make up what nobody recorded"
    with pytest.raises(ValueError, match=r"records no fingerprint and counts as trained on .*'SMPL'.*synthetic"):
        tore.load_model(path, "synthetic", "cpu", arch="test_resnet")
    told = tore.load_model(path, None, "cpu", arch="test_resnet", trained_on="synthetic")
    assert told.trained_on.name == "synthetic"
    with pytest.raises(ValueError, match=r"'synthetic'.*'SMPL'"):
        tore.load_model(path, rule_body_dir, "cpu", arch="test_resnet", trained_on="synthetic")


def test_what_is_recorded_cannot_be_told_otherwise(tmp_path: Path) -> None:
    tore.save_model(network("synthetic"), tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"records the body model 'synthetic' .*leave trained_on='SMPL' out"):
        read_checkpoint(tmp_path / "a.bin", trained_on="SMPL")
    held = read_checkpoint(tmp_path / "a.bin", trained_on="synthetic").trained_on
    assert held is not None and held.is_known


@pytest.mark.parametrize("way", ["record", "mark"])
def test_a_network_of_a_body_model_that_is_gone_is_refused(way: str, tmp_path: Path) -> None:
    tore.save_model(network("synthetic"), tmp_path / "a.bin")
    content = torch.load(tmp_path / "a.bin", weights_only=True)
    if way == "record":
        content[RECORD] |= {"name": "capsules"}
    else:
        del content[RECORD]
        content["config"] |= {"stand_in": True}
    torch.save(content, tmp_path / "a.bin")
    for body_dir in (None, "synthetic"):
        with pytest.raises(ValueError, match=r"a\.bin is of the body model 'capsules', .* gone .*: use it with ver"):
            tore.load_model(tmp_path / "a.bin", body_dir, "cpu")


def test_a_plain_state_dict_tells_nothing(rule_body_dir: Path, tmp_path: Path) -> None:
    torch.save(network("synthetic").state_dict(), tmp_path / "a.bin")
    for folder in ("synthetic", rule_body_dir):
        assert tore.load_model(tmp_path / "a.bin", folder, "cpu", arch="test_resnet", heads=16).trained_on is None


@pytest.mark.parametrize("content", [b"no JSON", b'["SMPL"]', b'{"name": 3}'])
def test_a_damaged_record_is_refused(content: bytes, tmp_path: Path) -> None:
    entries = official_state(model := network("synthetic"), model.state_dict())
    save_file({n: v.contiguous().clone() for n, v in entries.items()}, tmp_path / "whole.safetensors")
    torch.save(entries | {RECORD: torch.tensor(list(content), dtype=torch.uint8)}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"a\.bin is damaged: its record of the body model"):
        tore.load_model(tmp_path / "a.bin", "synthetic", "cpu", arch="test_resnet")
    tore.load_model(tmp_path / "whole.safetensors", "synthetic", "cpu", arch="test_resnet")


def test_a_network_meets_no_other_body_model(rule_body_dir: Path) -> None:
    model = network("synthetic", "hand")
    with pytest.raises(ValueError, match="the network was trained on the body model 'synthetic'"):
        MeshRecovery(model, load_body("hand", rule_body_dir))
    MeshRecovery(torch.nn.DataParallel(model), load_body("hand", "synthetic"))
    people = network(rule_body_dir)
    assert MeshRecovery(people, load_body("body", rule_body_dir)).body.identity == people.trained_on


def test_only_the_image_side_starts_from_a_network_of_another_body(rule_body_dir: Path, tmp_path: Path) -> None:
    tore.save_model(network(rule_body_dir), tmp_path / "a.bin")
    model = network("synthetic")
    load_parts(model, tmp_path / "a.bin", ["backbone", "image_projection", "token_reduction"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"a\.bin was trained on the body model 'SMPL'"):
        load_parts(model, tmp_path / "a.bin", ["backbone", "rest"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_the_shipped_networks_are_refused_on_another_body(kind: str, rule_body_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"trained on the body model 'synthetic' .*use --body_dir synthetic"):
        tore.load_model(default_checkpoint(kind), rule_body_dir, "cpu")
    assert tore.load_model(default_checkpoint(kind), device="cpu").trained_on == load_body(kind, "synthetic").identity


@pytest.mark.parametrize("network_name", ["metro", "fastmetro"])
def test_a_network_with_a_template_asks_for_the_whole_mesh(
    network_name: str, rule_body_dir: Path, tmp_path: Path
) -> None:
    """Another mesh with the same levels: METRO, which reads a template, is refused at once, FastMETRO with the body."""
    narrow = {"widths": (64, 32, 16), "hidden": 64} if network_name == "metro" else {"widths": (32, 32)}
    model = tore.create_model(network_name, arch="test_resnet", body_dir=rule_body_dir, layers=1, **narrow)
    tore.save_model(model, tmp_path / "a.bin")
    other = Path(shutil.copytree(rule_body_dir, tmp_path / "other"))
    (other / SMPL_FILES.model).write_bytes(pickle.dumps(rules.smpl_model(seed=70), protocol=2))
    if network_name == "fastmetro":
        tore.load_model(tmp_path / "a.bin", other, "cpu")
    load = tore.load_model if network_name == "metro" else MeshRecovery.from_checkpoint
    with pytest.raises(ValueError, match=r"a\.bin was trained on .* these are other files of that name"):
        load(tmp_path / "a.bin", other, "cpu")
