"""One evaluation object: its means against a naive loop over the labels, and what its callers rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training_runs import tiny_sets  # noqa: F401 - a fixture
from tore.body import load_body
from tore.body.joints import J14_HIPS, J24_TO_J14
from tore.datasets.mesh_dataset import MeshDataset
from tore.demo.judging import ConstantMesh, rest_mesh
from tore.engine.distributed import Processes
from tore.training.evaluate import ORACLE, Evaluation


@pytest.fixture(scope="module")
def evaluation(tiny_sets: Path, rule_body_dir: Path) -> Evaluation:  # noqa: F811
    data, body = MeshDataset(tiny_sets / "val/set.yaml", False), load_body("body", rule_body_dir)
    where = {"body_dir": rule_body_dir, "processes": Processes(), "batch_size": 3, "workers": 0}
    return Evaluation(data, body, network="fastmetro", **where)


def test_the_means_are_those_of_a_loop_over_the_labels(evaluation: Evaluation) -> None:
    body, vertices = evaluation.body, rest_mesh(evaluation.body)
    found = evaluation(ConstantMesh(body, vertices), collect=True)
    joint_errors, vertex_errors = [], []
    for index in range(len(evaluation.data)):
        sample = evaluation.data[index]
        root = body.root(vertices[None])[0]
        joints = (body.regress_joints(vertices[None])[0] - root).double().numpy()
        if sample["has_3d_joints"]:
            label = sample["joints_3d"].double().numpy()[list(J24_TO_J14)]
            apart = (joints - joints[list(J14_HIPS)].mean(0)) - (label - label[list(J14_HIPS)].mean(0))[:, :3]
            joint_errors.append(np.linalg.norm(apart, axis=1)[label[:, 3] > 0].mean() * 1000)
        if sample["has_smpl"]:
            truth = body.targets(sample["pose"][None], sample["betas"][None]).vertices[-1][0]
            vertex_errors.append((vertices - root - truth).double().norm(dim=1).mean().item() * 1000)
    assert joint_errors and vertex_errors
    assert found.result.metrics["mpjpe"] == pytest.approx(np.mean(joint_errors), rel=1e-5)
    assert found.result.metrics["mpvpe"] == pytest.approx(np.mean(vertex_errors), rel=1e-5)
    assert [row["index"] for row in found.rows] == list(range(len(evaluation.data)))
    assert [row["mpjpe"] for row in found.rows if row["mpjpe"] is not None] == pytest.approx(joint_errors, rel=1e-5)


def test_one_object_measures_network_after_network(evaluation: Evaluation) -> None:
    """Each as an object of its own would; the mode, and torch's generator, stay as they were."""
    body = evaluation.body
    networks = [ConstantMesh(body, factor * rest_mesh(body)) for factor in (1.0, 0.5)]
    state = torch.get_rng_state()
    first, second = (evaluation(network).result for network in networks)
    assert first.metrics["mpvpe"] != second.metrics["mpvpe"]
    assert evaluation.validate(networks[0].train(), lambda: False) == first and networks[0].training
    assert torch.equal(torch.get_rng_state(), state)


def test_meshes_that_are_none_stop_with_a_sentence(tiny_sets: Path, rule_body_dir: Path) -> None:  # noqa: F811
    data, body = MeshDataset(tiny_sets / "val/set.yaml", False), load_body("body", rule_body_dir)
    where = {"body_dir": rule_body_dir, "processes": Processes(), "batch_size": 3, "workers": 0, "fit": True}
    evaluation, vertices = Evaluation(data, body, network="fastmetro", **where), rest_mesh(body).clone()
    for wrong, why in (
        (torch.nan, "not finite; use another"),
        (11.0, r"11 m from its root, .* leave fit \(--fit\) out"),
    ):
        vertices[7, 1] = wrong
        with pytest.raises(ValueError, match=f"mesh for .*{why}"):
            evaluation(ConstantMesh(body, vertices))


def test_a_validation_that_is_given_up_gives_nothing(evaluation: Evaluation) -> None:
    asked = iter([False, True, True])
    network = ConstantMesh(evaluation.body, rest_mesh(evaluation.body))
    assert evaluation.validate(network, lambda: next(asked)) is None
    assert next(asked, None) is None  # after one batch of three


def test_the_protocol_tells_which_joints_are_judged(tiny_sets: Path, rule_body_dir: Path) -> None:  # noqa: F811
    data, body = MeshDataset(tiny_sets / "val/set.yaml", False), load_body("body", rule_body_dir)
    where = {"body_dir": rule_body_dir, "processes": Processes(), "batch_size": 3, "workers": 0}
    direct = Evaluation(data, body, network="fastmetro", oracle=True, **where)
    network = ConstantMesh(body, rest_mesh(body))
    network.joints += 1.0  # away from the mesh by far
    protocol = direct.protocol(network)
    assert protocol.joint_source == ORACLE and protocol.data == str(tiny_sets / "val/set.yaml")
    assert "neutral body model for every sample" in protocol.ground_truth
    joints, vertices = network.joints, network.vertices
    kept: list[torch.Tensor] = []
    direct.measure(network, next(iter(direct.loader)), lambda _, *parts: kept.extend(part[:1] for part in parts))
    assert torch.equal(kept[0], joints - body.root(vertices)) and torch.equal(kept[1], vertices - body.root(vertices))
