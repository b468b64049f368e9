"""The layer in networks that were made, saved and compiled with the official one."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manopth.files import load_body_arrays
from manopth.manolayer import ManoLayer
from manopth.rotations import axis_angle_to_matrix
from tore.body.body_model import MANO

# What the official layer registers, from the model's arrays: name -> array and shape.
ARRAYS = {
    "th_betas": ("betas", (1, 10)),
    "th_shapedirs": ("shapedirs", (778, 3, 10)),
    "th_posedirs": ("posedirs", (778, 3, 135)),
    "th_v_template": ("v_template", (1, 778, 3)),
    "th_J_regressor": ("J_regressor", (16, 778)),
    "th_weights": ("weights", (778, 16)),
    "th_faces": ("f", (1538, 3)),
}
FINGERS = {"th_hands_mean": (1, 45), "th_comps": (45, 45), "th_selected_comps": (6, 45)}
LAYERS: dict[str, dict[str, Any]] = {
    "pca": {"center_idx": 9, "flat_hand_mean": False},
    "six": {"root_rot_mode": "rot6d", "use_pca": False, "robust_rot": True},
    "matrices": {"joint_rot_mode": "rotmat", "use_pca": False, "center_idx": 0},
}


class Network(nn.Module):
    """Somebody's network with the layer inside."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.head, self.mano = nn.Linear(4, 9), layer

    def forward(self, x: Tensor) -> Tensor:
        return self.mano(self.head(x))[0]


class OfficialBuffers(nn.Module):
    """The official layer's buffers of a model file and nothing else."""

    def __init__(self, path: Path, scale: float = 1.0) -> None:
        super().__init__()
        arrays = load_body_arrays(path)
        for name, (key, shape) in ARRAYS.items():
            kept = torch.zeros(shape) if key not in arrays else torch.from_numpy(arrays[key]).reshape(shape)
            self.register_buffer(name, kept if name == "th_faces" else scale * kept.float())
        self.register_buffer("th_hands_mean", torch.zeros(1, 45))
        self.register_buffer("th_comps", torch.from_numpy(arrays["hands_components"]).float())
        self.register_buffer("th_selected_comps", self.th_comps[:6].clone())


def pose_of(layer: ManoLayer, batch: int = 3) -> Tensor:
    torch.manual_seed(0)
    if layer.takes_matrices:
        return axis_angle_to_matrix(torch.randn(batch, 16, 3))
    return torch.randn(batch, layer.rot + layer.ncomps)


@pytest.mark.parametrize("assign", [False, True])
def test_states_are_exchanged_with_the_official_layer(rule_body_dir: Path, assign: bool) -> None:
    official = Network(OfficialBuffers(rule_body_dir / "MANO_RIGHT.pkl", scale=2.0))
    network = Network(ManoLayer(mano_root=rule_body_dir))
    pose = torch.randn(2, 9)
    before = network.mano(pose)[0]
    network.load_state_dict(official.state_dict(), assign=assign)
    torch.testing.assert_close(network.mano.th_shapedirs, official.mano.th_shapedirs)
    assert network.mano(pose)[0].abs().max() > 2 * before.abs().max(), "the loaded mesh is twice as large"
    official.load_state_dict(network.state_dict())
    state = network.state_dict()
    assert all(tensor.is_contiguous() for tensor in state.values())
    torch.save(state, stream := io.BytesIO())
    assert stream.tell() < 2_500_000, "each number is stored once"


def test_names_and_shapes_are_the_official_ones(rule_body_dir: Path) -> None:
    state = ManoLayer(mano_root=rule_body_dir, use_pca=False).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        **{name: shape for name, (_, shape) in ARRAYS.items() if name != "th_faces"},
        "th_faces": tuple(state["th_faces"].shape),
        **FINGERS,
    }
    matrices = ManoLayer(mano_root=rule_body_dir, **LAYERS["matrices"]).state_dict()
    assert set(matrices) == {*ARRAYS, "th_hands_mean_rotmat"} and matrices["th_hands_mean_rotmat"].shape == (15, 3, 3)


def test_states_without_the_layer_load_and_others_do_not(rule_body_dir: Path) -> None:
    network = Network(ManoLayer(mano_root=rule_body_dir))
    state = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("head")}
    network.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"head\.bias"):
        network.load_state_dict({"head.weight": state["head.weight"]})
    with pytest.raises(RuntimeError, match=r"mano\.th_other"):
        network.load_state_dict(state | {"mano.th_other": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"size mismatch for mano\.th_selected_comps"):
        network.load_state_dict(state | {"mano.th_selected_comps": torch.zeros(45, 45)})
    assert not MANO(rule_body_dir).state_dict(), "a body model adds nothing to a network's file"


def copies(layer: ManoLayer) -> dict[str, ManoLayer]:
    return {
        "itself": layer,
        "moved": copy.deepcopy(layer).double().float(),
        "copied": copy.deepcopy(layer),
        "pickled": pickle.loads(pickle.dumps(layer)),
    }


def test_writing_into_a_buffer_changes_the_hand(rule_body_dir: Path) -> None:
    """The usual mend of a left hand's first shape direction, in place and by assignment."""
    betas = torch.tensor([[1.0] + 9 * [0.0]])
    for how, layer in copies(ManoLayer(mano_root=rule_body_dir)).items():
        expected = layer(torch.zeros(1, 9), -betas)[0]
        layer.th_shapedirs[..., 0] *= -1
        torch.testing.assert_close(layer(torch.zeros(1, 9), betas)[0], expected, msg=how)
        layer.th_shapedirs = -layer.th_shapedirs
        torch.testing.assert_close(layer(torch.zeros(1, 9), -betas)[0], expected, msg=how)
    with pytest.raises(ValueError, match=r"th_shapedirs takes numbers of shape \(778, 3, 10\)"):
        layer.th_shapedirs = torch.zeros(3)


def test_zero_translations(rule_body_dir: Path) -> None:
    """As officially it counts as none and gets no gradient; with the flag it counts, and its gradient is the sum."""
    pose = torch.zeros(2, 9)
    for ignore in (True, False):
        layer = ManoLayer(mano_root=rule_body_dir, center_idx=4, ignore_zero_trans=ignore)
        trans = torch.zeros(2, 3, requires_grad=True)
        joints = layer(pose, th_trans=trans)[1]
        joints.sum().backward()
        assert (trans.grad == (0 if ignore else 21_000)).all()
        assert bool((joints[:, 4].abs() < 1e-4).all()) == ignore
        centered = layer(pose, th_trans=torch.zeros(1))[1]
        torch.testing.assert_close(centered[:, 4], torch.zeros(2, 3))
        moved = layer(pose, th_trans=torch.ones(2, 3))[1] - ManoLayer(mano_root=rule_body_dir)(pose)[1]
        torch.testing.assert_close(moved, torch.full_like(moved, 1000.0), rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", LAYERS)
def test_every_call_compiles_and_exports(rule_body_dir: Path, name: str) -> None:
    layer = ManoLayer(mano_root=rule_body_dir, **LAYERS[name])
    pose, betas, trans = pose_of(layer), torch.randn(3, 10), torch.randn(3, 3)
    calls: list[dict[str, Any]] = [
        {},
        {"th_betas": torch.zeros(1), "th_trans": torch.zeros(1)},
        {"th_betas": betas, "th_trans": trans, "root_palm": True, "share_betas": True},
        {"th_betas": betas, "th_trans": 0 * trans, "root_palm": torch.Tensor([1]), "share_betas": torch.Tensor([0])},
        {"th_betas": betas, "share_betas": torch.Tensor([1]), "root_palm": torch.Tensor([0])},
    ]
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for call in calls:
        torch.testing.assert_close(compiled(pose, **call), layer(pose, **call))
    for call in calls:
        exported = torch.export.export(layer, (pose,), call).module()
        torch.testing.assert_close(exported(pose, **call), layer(pose, **call))


def test_an_exported_layer_takes_any_batch(rule_body_dir: Path) -> None:
    layer = ManoLayer(mano_root=rule_body_dir, center_idx=0)
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    shapes = {"th_pose_coeffs": free, "th_betas": free, "th_trans": free}
    example = torch.randn(2, 9), torch.randn(2, 10), torch.randn(2, 3)
    exported = torch.export.export(layer, example, dynamic_shapes=shapes)
    for batch in (1, 5):
        for trans in (torch.randn(batch, 3), torch.zeros(batch, 3)):
            given = torch.randn(batch, 9), torch.randn(batch, 10), trans
            torch.testing.assert_close(exported.module()(*given), layer(*given))


def test_attributes(rule_body_dir: Path) -> None:
    layer = ManoLayer(mano_root=rule_body_dir, root_rot_mode="rot6d", use_pca=False)
    assert (layer.rot, layer.ncomps, layer.side, layer.center_idx) == (6, 45, "right", None)
    assert layer.kintree_parents == layer.kintree_table[0].tolist() and layer.kintree_parents[1:4] == [0, 1, 2]
    assert layer.mano_path == str(rule_body_dir / "MANO_RIGHT.pkl")
