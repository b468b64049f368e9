"""A small checkpoint on the synthetic body, and a network that says what it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tore
from tests import rules
from tore.body.body_model import BodyModel, load_body
from tore.body.topology import template_points
from tore.inference.predictor import MeshRecovery
from tore.modeling.heads import MeshPrediction
from tore.modeling.initialization import start_from_template
from tore_runtime.drawing import overlay_crop

SMALL = {"arch": "resnet10t", "widths": (64, 32), "hidden": (64, 64), "heads": 4}


HAND_SIDE = 240  # pixels of the drawn hand's image
SKIN = (0.86, 0.66, 0.55)
SCALE = 5.0  # of the camera that it is drawn with


class KnownNetwork(nn.Module):
    """Answers every batch with the cameras (B, 3) and the one mesh (V, 3) that it holds."""

    def __init__(self, cameras: np.ndarray, vertices: np.ndarray, joints: int = 14) -> None:
        super().__init__()
        self.cameras = nn.Parameter(torch.from_numpy(cameras).float())
        self.vertices = torch.from_numpy(vertices).float()
        self.asked, self.joints = 0, joints

    def forward(self, images: torch.Tensor) -> MeshPrediction:
        cameras = self.cameras[self.asked : self.asked + len(images)]
        self.asked += len(images)
        mesh = self.vertices.expand(len(images), -1, -1)
        return MeshPrediction(cameras, mesh[:, : self.joints], mesh[:, :431], None, mesh, None)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory, synthetic_body_dir: Path) -> Path:
    """A small FastMETRO in our own layout whose camera looks at the mesh."""
    path = tmp_path_factory.mktemp("checkpoints") / "small.pt"
    torch.manual_seed(0)
    model = tore.create_model(body_dir=synthetic_body_dir, **SMALL)
    with torch.no_grad():
        model.camera_head.bias.copy_(torch.tensor([0.9, 0.0, 0.0]))
    tore.save_model(model, path)
    return path


@pytest.fixture(scope="session")
def recovery(small_checkpoint: Path) -> MeshRecovery:
    return MeshRecovery.from_checkpoint(small_checkpoint, device="cpu")


@pytest.fixture(scope="session")
def standing(synthetic_body_dir: Path) -> tuple[np.ndarray, BodyModel]:
    """The synthetic body upright before the camera (V, 3), root-centered, and a body to draw it with."""
    body = load_body("body", synthetic_body_dir)
    pose = torch.zeros(1, 72)
    pose[0, 0] = torch.pi
    pose[0, 50] = 0.9  # an arm, so that left and right differ
    with torch.no_grad():
        vertices = body.targets(pose, torch.zeros(1, 10)).vertices[-1][0].numpy()
    return vertices, body


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """(240, 320, 3) uint8."""
    return rules.photo(5, 240, 320)


@pytest.fixture(scope="session")
def drawn_hand() -> tuple[np.ndarray, np.ndarray]:
    """(240, 240, 3) uint8: the back of a right hand that points down, and its joints (21, 2) in pixels."""
    body = load_body("hand", "synthetic")
    targets = body.targets(torch.zeros(1, 48), torch.zeros(1, 10))
    turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])  # the resting hand points to -x
    vertices, joints = targets.vertices[-1][0].numpy() @ turn.T, targets.joints[0].numpy() @ turn.T
    middle = (joints[:, :2].min(0) + joints[:, :2].max(0)) / 2
    gray = np.full((HAND_SIDE, HAND_SIDE, 3), 70, np.uint8)
    image = overlay_crop(gray, vertices, body.faces.numpy(), np.array([SCALE, *-middle]), color=SKIN)
    return image, (SCALE * (joints[:, :2] - middle) + 1) * HAND_SIDE / 2


@pytest.fixture(scope="session")
def upright_checkpoint(tmp_path_factory: pytest.TempPathFactory, synthetic_body_dir: Path) -> Path:
    """A small untrained network of upright hands, which follows MediaPipe's joints."""
    path = tmp_path_factory.mktemp("upright") / "hand.safetensors"
    torch.manual_seed(0)
    small = {"widths": (32, 32), "hidden": (32, 32), "heads": 4}
    model = tore.create_model("fastmetro_tore_xs_mediapipe_hand", body_dir=synthetic_body_dir, **small)
    joints, vertices = template_points("hand", synthetic_body_dir)
    start_from_template(model, vertices, joints)
    tore.save_model(model, path)
    return path


@pytest.fixture(scope="session")
def upright_hands(upright_checkpoint: Path) -> MeshRecovery:
    return MeshRecovery.from_checkpoint(upright_checkpoint, device="cpu")
