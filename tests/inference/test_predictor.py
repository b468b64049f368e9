"""The predictor's numbers are the library call's, whatever the pictures come as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import tore
from tests import rules
from tests.conftest import assert_agrees, rule_state_dict
from tests.inference.conftest import SMALL
from tore.body.joints import HAND_NAMES, J14_NAMES
from tore.inference.crops import crops_of
from tore.inference.predictor import MeshRecovery
from tore.inference.recovery import Recovery

NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def same(one: Recovery, other: Recovery, tolerance: float = 1e-5) -> None:
    for name in ("camera", "joints", "mesh_joints", "vertices", "translation"):
        assert_agrees(getattr(one, name), getattr(other, name), tolerance)


def test_rule_made_weights_give_the_library_calls_numbers(tmp_path: Path, rule_body_dir: Path) -> None:
    """A published checkpoint, the published preprocessing written out, and the network called by hand."""
    path = tmp_path / "state_dict.bin"
    torch.save(rule_state_dict("tore_fastmetro_L_efficientnet-b0_keep0.8"), path)
    photos = [rules.photo(1, 480, 640), rules.photo(2, 300, 224)]
    prepare = transforms.Compose([transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(), NORMALISE])
    images = torch.stack([prepare(Image.fromarray(photo)) for photo in photos])
    with torch.no_grad():
        expected = tore.load_model(path, rule_body_dir, "cpu")(images)
    people = tore.MeshRecovery.from_checkpoint(path, rule_body_dir, "cpu").predict(photos)
    for i, person in enumerate(people):
        assert_agrees(person.camera, expected.camera[i].numpy(), 1e-6)
        assert_agrees(person.joints, expected.joints[i].numpy(), 1e-6)
        assert_agrees(person.vertices, expected.vertices[i].numpy(), 1e-6)
        assert_agrees(person.heatmap, expected.heatmap[i].numpy(), 1e-6)
        assert person.joint_names == J14_NAMES and person.checkpoint == str(path)


def test_batches_are_filled_up_for_a_compiled_network(recovery: MeshRecovery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which sizes the network sees, and that the people are the same."""
    seen: list[int] = []
    hook = recovery.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    monkeypatch.setattr(recovery.model, "_compiled_call_impl", recovery.model._call_impl)  # what `compile` leaves
    filling = MeshRecovery(recovery.model, recovery.body)
    photos = [rules.photo(seed, 224, 224) for seed in range(5)]
    try:
        people = filling.predict(photos, batch_size=3) + filling.predict(photos[:1], batch_size=3)
    finally:
        hook.remove()
    assert seen == [3, 3, 3] and len(people) == 6
    for person, expected in zip(people, recovery.predict([*photos, photos[0]]), strict=True):
        same(person, expected)


def test_one_or_many_of_every_kind(recovery: MeshRecovery, tmp_path: Path) -> None:
    photos = [rules.photo(seed, 224, 224) for seed in (1, 2, 3)]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for photo, path in zip(photos, paths, strict=True):
        Image.fromarray(photo).save(path)
    expected = recovery.predict(photos)
    assert [person.crop.source for person in expected] == ["picture 1", "picture 2", "picture 3"]
    tensors = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
    forms = [
        paths, [str(path) for path in paths], [Image.open(path) for path in paths], np.stack(photos), tensors,
        tensors.double() / 255, (photo for photo in photos), [paths[0], photos[1], tensors[2]],
    ]  # fmt: skip
    for pictures in forms:
        for one, other in zip(recovery.predict(pictures), expected, strict=True):
            same(one, other)
    for picture in (paths[1], str(paths[1]), Image.open(paths[1]), photos[1], tensors[1]):
        (alone,) = recovery.predict(picture)
        same(alone, expected[1])


def test_batches_do_not_change_the_result(recovery: MeshRecovery) -> None:
    photos = [rules.photo(seed, 250, 230) for seed in range(5)]
    for one, other in zip(recovery.predict(photos, batch_size=2), recovery.predict(photos, batch_size=8), strict=True):
        same(one, other)
        assert one.crop.source == other.crop.source


def test_people_come_in_the_order_of_their_boxes(recovery: MeshRecovery, photo: np.ndarray) -> None:
    boxes = [(10, 20, 100, 150), (150, 60, 80, 80)]
    people = recovery.predict([photo, photo, photo], [boxes, None, [boxes[1]]], batch_size=2)
    assert [person.crop.person for person in people] == [1, 2, 1, 1]
    assert [person.crop.box for person in people] == [*boxes, None, boxes[1]]
    (middle,) = recovery.predict(photo)
    (alone,) = recovery.predict(photo, boxes[1])
    same(people[2], middle)
    same(people[1], alone)
    same(people[3], alone)
    direct = recovery.recover(crops_of(photo, [boxes[1]]))
    same(direct[0], alone)


def test_nothing_in_nothing_out(recovery: MeshRecovery) -> None:
    assert recovery.predict([]) == [] and recovery.recover([]) == []


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        ([], "shape"),
        ([["a", "b", "c", "d"]], "four numbers"),
        ([[0, 0, -1, 4]], "no area"),
    ],
)
def test_wrong_boxes(boxes: list, sentence: str, recovery: MeshRecovery, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match=sentence):
        recovery.predict(photo, boxes)


def test_wrong_calls(recovery: MeshRecovery, photo: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 lists of boxes for 2 pictures"):
        recovery.predict([photo, photo], [None])
    with pytest.raises(ValueError, match="batch size 0"):
        recovery.predict(photo, batch_size=0)
    with pytest.raises(ValueError, match="focal length -1"):
        recovery.predict(photo, focal_length=-1)
    with pytest.raises(ValueError, match="picture 2 has shape"):
        recovery.predict([photo, photo[:, :, :2]])
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        MeshRecovery.from_checkpoint(tmp_path / "none.bin")


def test_half_precision_is_close(small_checkpoint: Path, recovery: MeshRecovery, photo: np.ndarray) -> None:
    half = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu", amp=True)
    (one,), (other,) = half.predict(photo), recovery.predict(photo)
    assert one.vertices.dtype == np.float32
    same(one, other, 0.1)
    assert not np.array_equal(one.vertices, other.vertices)


@pytest.mark.parametrize("network", ["fastmetro", "metro"])
def test_hands_and_metro(network: str, tmp_path: Path, standin_dir: Path) -> None:
    narrow = SMALL if network == "fastmetro" else {"arch": "resnet10t", "widths": (64, 32, 16), "hidden": 64}
    narrow = narrow if network == "fastmetro" else {**narrow, "regressor_heads": 4, "regressor_hidden": 64}
    tore.save_model(tore.create_model(network, body="hand", data_dir=standin_dir, **narrow), tmp_path / "hand.pt")
    recovery = MeshRecovery.from_checkpoint(tmp_path / "hand.pt", device="cpu")
    (hand,) = recovery.predict(rules.photo(4, 300, 260))
    assert hand.vertices.shape == (778, 3) and hand.joints.shape == (21, 3) and recovery.faces.max() == 777
    assert hand.joint_names == HAND_NAMES
    assert (hand.heatmap is None) == (network == "metro") != recovery.prunes_tokens


def test_double_precision_checkpoints_stay_double(tmp_path: Path, standin_dir: Path, photo: np.ndarray) -> None:
    tore.save_model(tore.create_model(data_dir=standin_dir, **SMALL).double(), tmp_path / "double.pt")
    recovery = MeshRecovery.from_checkpoint(tmp_path / "double.pt", device="cpu")
    assert recovery.dtype == torch.float64 and recovery.predict(photo)[0].finite
