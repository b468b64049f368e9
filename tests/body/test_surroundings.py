"""Body layers inside somebody else's autocast, default dtype and default device: the same numbers as without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tore
from manopth.manolayer import ManoLayer
from manopth.rotations import nearest_rotation, rotation_6d_to_matrix
from manopth.tensors import WithConstants
from tore.body.body_model import MANO, SMPL, load_body
from tore.geometry.alignment import align_similarity
from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_quaternion
from tore.modeling.heads import signed_rotation
from tore.modeling.transformer import sine_position_code


@pytest.fixture(scope="module")
def smpl(rule_body_dir: Path) -> SMPL | MANO:
    return load_body("body", rule_body_dir)


@pytest.fixture(scope="module")
def mano(rule_body_dir: Path) -> SMPL | MANO:
    return load_body("hand", rule_body_dir)


@pytest.fixture(scope="module")
def calls(smpl: SMPL, mano: MANO, rule_body_dir: Path) -> dict[str, Callable[..., object]]:
    """Every call that users make, of a random tensor (2, 100) of the dtype that they have."""

    layer = ManoLayer(mano_root=rule_body_dir, center_idx=0)
    of_matrices = ManoLayer(mano_root=rule_body_dir, use_pca=False, joint_rot_mode="rotmat")

    def mesh(x: Tensor) -> Tensor:
        return smpl(x[:, :72], x[:, 72:82])

    return {
        "body": mesh,
        "targets": lambda x: smpl.targets(x[:, :72], x[:, 72:82]).vertices,
        "joints": lambda x: smpl.regress_joints(mesh(x)),
        "label joints": lambda x: smpl.joints24(mesh(x)),
        "h36m joints": lambda x: smpl.joints_h36m(mesh(x)),
        "levels": lambda x: smpl.levels.upsample(smpl.levels.downsample(mesh(x))[-1]),
        "hand": lambda x: mano.targets(x[:, :48], x[:, 48:58]),
        "layer": lambda x: layer(x[:, :9], x[:, 9:19], x[:, 19:22]),
        "matrices": lambda x: of_matrices(axis_angle_to_matrix(x[:, :48].unflatten(1, (16, 3)))),
        "signed rotation": lambda x: signed_rotation(x[:, :9].unflatten(1, (3, 3))),
        "nearest rotation": lambda x: nearest_rotation(x[:, :9].unflatten(1, (3, 3))),
        "six numbers": lambda x: rotation_6d_to_matrix(x[:, :6], robust=True),
        "axis angle": lambda x: matrix_to_axis_angle(axis_angle_to_matrix(x[:, :3])),
        "quaternion": lambda x: matrix_to_quaternion(axis_angle_to_matrix(x[:, :3])),
        "alignment": lambda x: align_similarity(x[:, :30].unflatten(1, (10, 3)), x[:, 30:60].unflatten(1, (10, 3))),
    }


NAMES = [
    *("body", "targets", "joints", "label joints", "h36m joints", "levels", "hand", "layer", "matrices"),
    *("signed rotation", "nearest rotation", "six numbers", "axis angle", "quaternion", "alignment"),
]


def tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value or () for tensor in tensors(part)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_number(calls: dict[str, Callable[..., object]], name: str, dtype: torch.dtype) -> None:
    """Half precision from a network is taken by its value, float32 as it is; the result is float32."""
    torch.manual_seed(0)
    x = 0.3 * torch.randn(2, 100)
    for given in (x, x.to(dtype)):
        expected = tensors(calls[name](given.float()))
        with torch.autocast("cpu", dtype):
            found = tensors(calls[name](given))
        assert expected and len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.float(), b)
            assert a.dtype == torch.float32


def test_autocast_leaves_double_precision(rule_body_dir: Path) -> None:
    body = load_body("body", rule_body_dir).double()
    pose, betas = torch.randn(2, 72).double(), torch.randn(2, 10).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(body(pose, betas), body.skin(pose, betas)[0]) and body(pose, betas).dtype == torch.float64
    torch.testing.assert_close(body(pose, betas), body.skin(pose, betas)[0], rtol=0, atol=0)


def test_autocast_carries_gradients(smpl: SMPL) -> None:
    pose = torch.randn(1, 72).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        smpl(pose, torch.zeros(1, 10)).square().sum().backward()
    assert pose.grad is not None and pose.grad.dtype == torch.bfloat16 and bool((pose.grad != 0).any())


def test_a_body_compiles_under_autocast(smpl: SMPL) -> None:
    compiled = torch.compile(smpl, fullgraph=True, backend="aot_eager")
    pose, betas = torch.randn(1, 72), torch.randn(1, 10)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        torch.testing.assert_close(compiled(pose, betas), smpl(pose, betas))


def fixed(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The buffers and constants of a model."""
    parts = [part for part in model.modules() if isinstance(part, WithConstants)]
    held = [(name, getattr(part, name)) for part in parts for name in part.constants]
    assert held
    return [*model.named_buffers(), *held]


@contextmanager
def defaults(dtype: torch.dtype, device: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_defaults_of_the_process_are_not_assumed(rule_body_dir: Path, smpl: SMPL, dtype: torch.dtype) -> None:
    with defaults(dtype, "meta"):
        layer = ManoLayer(mano_root=rule_body_dir)
        body, code = load_body("body", rule_body_dir), sine_position_code(7, 7, 16)
    plain = ManoLayer(mano_root=rule_body_dir)
    for module, expected in ((layer, plain), (body, smpl)):
        for (name, a), (_, b) in zip(fixed(module), fixed(expected), strict=True):
            assert a.dtype == b.dtype and torch.equal(a, b), name
    assert code.dtype == torch.float32 and torch.equal(code, sine_position_code(7, 7, 16))
    x = torch.randn(2, 9)
    with defaults(dtype, "meta"):
        assert torch.equal(layer(x)[0], plain(x)[0])


OPTIONS = {"arch": "mobilenetv4_conv_small", "image_size": 64}


@pytest.mark.parametrize("network", ["fastmetro", "metro"])
def test_a_network_is_made_on_the_meta_device(rule_body_dir: Path, network: str) -> None:
    """Its weights come with `assign`; what it knows of the body is there from the start."""
    options = OPTIONS | ({"size": "S"} if network == "fastmetro" else {"hidden": 64, "layers": 1})
    with torch.device("meta"):
        empty = tore.create_model(network, body_dir=rule_body_dir, **options).eval()
    assert all(parameter.is_meta for parameter in empty.parameters())
    full = tore.create_model(network, body_dir=rule_body_dir, **options).eval()
    empty.load_state_dict(full.state_dict(), assign=True)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(empty(images).vertices, full(images).vertices)


@pytest.mark.parametrize("reduction", ["tore", "none", "average"])
def test_a_network_under_a_default_of_double_precision(rule_body_dir: Path, reduction: str) -> None:
    with defaults(torch.float64, "cpu"):
        model = tore.create_model("fastmetro", body_dir=rule_body_dir, size="S", token_reduction=reduction, **OPTIONS)
        prediction = model.eval()(torch.randn(1, 3, 64, 64))
    assert prediction.vertices.dtype == torch.float64
