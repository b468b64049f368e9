"""The documented names import, and networks go by names as in timm."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tore
from tore.evaluation import mpjpe, pa_mpjpe
from tore.modeling.model_names import named_options
from tore.visualize import contact_sheet

NAMES = {
    "tore": ["MeshRecovery", "create_model", "export_model", "for_inference", "list_models", "load_model",
             "save_model", "save_official", "save_published"],
    "tore.body": ["MANO", "SMPL", "load_body", "load_topology"],
    "tore.datasets": ["MeshDataset", "TSVSet", "TSVWriter"],
    "tore.evaluation": ["Evaluator", "mpjpe", "pa_mpjpe"],
    "tore.export": ["export_model", "for_inference"],
    "tore.geometry": ["Crop", "PinholeCamera", "align_similarity", "axis_angle_to_matrix"],
    "tore.inference": ["Crop", "MeshRecovery", "PersonCrop", "Recovery", "read_image"],
    "tore.losses": ["LossRecipe", "itp_loss", "loss_terms", "weighted_sum"],
    "tore.motion": ["Motion", "read_motions", "rig_of", "save_bvh", "save_glb"],
    "tore.visualize": ["overlay", "render", "save_mesh"],
}  # fmt: skip


@pytest.mark.parametrize("package", NAMES)
def test_documented_names_import(package: str) -> None:
    module = importlib.import_module(package)
    assert set(NAMES[package]) <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_renamed_keywords_are_taken_by_their_old_names() -> None:
    shades = [np.full((8, 8, 3), shade, np.uint8) for shade in (10, 60)]
    with pytest.warns(DeprecationWarning, match=r"pictures= of contact_sheet is now images="):
        assert np.array_equal(contact_sheet(pictures=shades), contact_sheet(images=shades))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="got images and its old name pictures"):
        contact_sheet(images=shades, pictures=shades)  # type: ignore[call-arg]


def test_importing_tore_imports_no_torch() -> None:
    code = "import sys, tore; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_recovering_people_imports_neither_timm_nor_torchs_compiler() -> None:
    """They take longer than torch itself, and only networks with a backbone of timm's need them."""
    code = (
        "import sys, numpy, tore, tore.cli.infer\n"
        "tore.MeshRecovery.from_pretrained(device='cpu').predict(numpy.zeros((64, 64, 3), numpy.uint8))\n"
        "sys.exit(', '.join(sys.modules.keys() & {'timm', 'torchvision', 'torch._dynamo'}) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=240, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_name_says_what_the_options_say(rule_body_dir: Path) -> None:
    sizes = {"widths": (32, 16), "hidden": (24, 8), "heads": 4, "body_dir": rule_body_dir}
    by_name = tore.create_model("fastmetro_tore_s_test_resnet", keep_ratio=0.5, **sizes)
    by_options = tore.create_model("fastmetro", arch="test_resnet", size="S", keep_ratio=0.5, **sizes)
    assert by_name.config == by_options.config
    hand = tore.create_model("fastmetro_s_test_resnet_hand", **sizes)
    other = tore.create_model("fastmetro", arch="test_resnet", size="S", token_reduction="none", body="hand", **sizes)
    assert hand.config == other.config
    assert replace(hand.config, body="body") != by_name.config


def test_listed_names_are_understood() -> None:
    names = tore.list_models()
    assert names == sorted(set(names)) and "fastmetro_tore_l_efficientnet_b0" in names
    assert tore.list_models("metro_*_hrnet_w64") == ["metro_tore_hrnet_w64"]
    said = [tuple(sorted(named_options(name).items())) for name in names]
    assert len(set(said)) == len(names)
    assert named_options("metro_hrnet_w64_hand") == {
        "network": "metro", "token_reduction": "none", "body": "hand", "arch": "hrnet-w64"
    }  # fmt: skip


def test_unknown_names_give_the_nearest() -> None:
    with pytest.raises(ValueError, match="fastmetro_tore_l_resnet50"):
        tore.create_model("fastmetro_tore_l_resnet5")
    with pytest.raises(ValueError, match="arch='resnet50' beside 'fastmetro_tore_l_hrnet'"):
        tore.create_model("fastmetro_tore_l_hrnet", arch="resnet50")


def test_data_dir_is_an_old_name_of_body_dir(rule_body_dir: Path) -> None:
    from tore.body import load_body, load_topology

    with pytest.warns(DeprecationWarning, match="data_dir= of load_body is now body_dir="):
        assert load_body("body", data_dir=rule_body_dir).num_joints == 14
    with pytest.warns(DeprecationWarning):
        assert load_topology("hand", data_dir=rule_body_dir).num_joints == 21
    with pytest.raises(TypeError, match="body_dir and its old name data_dir"):
        load_body("body", body_dir=rule_body_dir, data_dir=rule_body_dir)


def test_a_checkpoint_folder_is_its_file(rule_body_dir: Path, tmp_path: Path) -> None:
    sizes = {"widths": (32, 16), "hidden": (24, 8), "heads": 4, "body_dir": rule_body_dir}
    model = tore.create_model("fastmetro_tore_s_test_resnet", **sizes).eval()
    (tmp_path / "checkpoint-1-2").mkdir()
    tore.save_model(model, tmp_path / "checkpoint-1-2" / "state_dict.bin")
    loaded = tore.load_model(tmp_path / "checkpoint-1-2", rule_body_dir, "cpu")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(FileNotFoundError, match="name a checkpoint folder in it: checkpoint-1-2"):
        tore.load_model(tmp_path, rule_body_dir)


def test_mpjpe_is_the_mean_of_distances() -> None:
    torch.manual_seed(0)
    predicted, target = torch.randn(4, 14, 3).double(), torch.randn(4, 14, 3).double()
    mask = torch.rand(4, 14) < 0.7
    mask[:, :3] = True
    per_sample = [
        sum(float((predicted[b, j] - target[b, j]).norm()) for j in range(14) if mask[b, j]) / int(mask[b].sum())
        for b in range(4)
    ]
    assert float(mpjpe(predicted, target, mask)) == pytest.approx(sum(per_sample) / 4)
    rotation = torch.linalg.qr(torch.randn(3, 3).double())[0]
    rotation *= torch.det(rotation).sign()
    assert float(pa_mpjpe(1.7 * target @ rotation + 2, target)) == pytest.approx(0, abs=1e-9)
    assert float(mpjpe(target + 5, target, center=(2, 3))) == pytest.approx(0, abs=1e-9)


def test_mpjpe_gives_no_number_of_nothing() -> None:
    points = torch.zeros(2, 14, 3)
    with pytest.raises(ValueError, match="labeled joints"):
        mpjpe(points, points, torch.zeros(2, 14))
    with pytest.raises(ValueError, match="3 labeled joints"):
        pa_mpjpe(points, points, torch.arange(14).expand(2, 14) < 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        mpjpe(points, points[:1])


def test_the_api_page_lists_what_packages_export() -> None:
    page = (Path(__file__).parents[1] / "docs" / "API.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(tore\.\w+)` \| (.*) \|$", page, re.MULTILINE))
    folder = Path(tore.__file__).parent
    packages = [f"tore.{path.parent.name}" for path in sorted(folder.glob("*/__init__.py"))]
    exported = {name: getattr(importlib.import_module(name), "__all__", []) for name in packages}
    listed = {name: re.findall(r"`(\w+)`", names) for name, names in rows.items()}
    assert listed == {name: sorted(names) for name, names in exported.items() if names}
    (first,) = re.findall(r"^(`.*) import from `tore`\.$", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", first) == sorted(tore.__all__)
