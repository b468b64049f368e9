"""The predictor's numbers are the library call's, whatever the images come as."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import tore
from tests import rules
from tests.conftest import assert_agrees, rule_state_dict
from tests.inference.conftest import SMALL
from tore.body.joints import HAND_NAMES, J14_NAMES
from tore.detection import MoveNetDetector
from tore.inference.predictor import MeshRecovery
from tore.modeling.build import add_smpl_regressor
from tore.modeling.evaluation_mode import evaluating
from tore_runtime import outputs
from tore_runtime.crop import Crop
from tore_runtime.crops import crops_of
from tore_runtime.result import BodyParameters, Recovery

NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def same(one: Recovery, other: Recovery, tolerance: float = 1e-5) -> None:
    for name in ("camera", "joints", "mesh_joints", "vertices", "translation"):
        assert_agrees(getattr(one, name), getattr(other, name), tolerance)


def test_rule_made_weights_give_the_library_calls_numbers(tmp_path: Path, rule_body_dir: Path) -> None:
    """An official checkpoint, the official preprocessing written out, and the network called by hand."""
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
    assert [person.crop.source for person in expected] == ["image 1", "image 2", "image 3"]
    tensors = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
    forms = [
        paths, [str(path) for path in paths], [Image.open(path) for path in paths], np.stack(photos), tensors,
        tensors.double() / 255, (photo for photo in photos), [paths[0], photos[1], tensors[2]],
    ]  # fmt: skip
    for images in forms:
        for one, other in zip(recovery.predict(images), expected, strict=True):
            same(one, other)
    for image in (paths[1], str(paths[1]), Image.open(paths[1]), photos[1], tensors[1]):
        (alone,) = recovery.predict(image)
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


def test_an_empty_list_of_boxes_means_nobody(recovery: MeshRecovery, photo: np.ndarray) -> None:
    assert recovery.predict(photo, []) == []
    people = recovery.predict([photo, photo, photo], [[], None, np.zeros((0, 4))])
    assert [person.crop.source for person in people] == ["image 2"]


def test_images_are_taken_batch_by_batch(recovery: MeshRecovery) -> None:
    """What has been read of a generator when each result comes; and the results before an image that fails."""
    taken = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal taken
        for seed in range(7):
            taken += 1
            yield rules.photo(seed, 60, 60) if seed != 5 else np.zeros((4, 5, 2), np.uint8)

    results = recovery.iter_predict(frames(), batch_size=2)
    assert taken == 0
    assert [(next(results).crop.source, taken) for _ in range(5)] == [
        ("image 1", 2), ("image 2", 2), ("image 3", 4), ("image 4", 4), ("image 5", 6),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"image 6 has shape \(4, 5, 2\)"):
        next(results)
    with pytest.raises(ValueError, match="batch size"):
        recovery.iter_predict([], batch_size=0)


def test_crops_that_are_let_go(recovery: MeshRecovery, photo: np.ndarray) -> None:
    (kept,) = recovery.predict(photo, (20, 10, 150, 200))
    (small,) = recovery.predict(photo, (20, 10, 150, 200), keep_crop=False)
    same(small, kept)
    assert np.array_equal(small.joints_2d, kept.joints_2d) and small.crop.region == kept.crop.region
    stored = pickle.dumps(small)
    assert len(stored) < 0.15 * len(pickle.dumps(kept))
    for person in (small, pickle.loads(stored), copy.deepcopy(small)):
        with pytest.raises(ValueError, match="image 1, person 1: the crop's pixels were not kept"):
            outputs.crop_overlay(person, recovery.faces)
        with pytest.raises(ValueError, match="keep_crop=True"):
            recovery.recover([person.crop])


def test_results_compare_and_print_on_one_line(recovery: MeshRecovery, photo: np.ndarray) -> None:
    one, other = recovery.predict([photo, photo], [None, (20, 10, 150, 200)])
    assert one.crop == one.crop and one.crop != other.crop and one.crop in [other.crop, one.crop]
    assert len({one, other, one}) == 2 and len({one.crop, other.crop, one.crop}) == 2
    assert repr(other.crop) == "PersonCrop('image 2', person 1, box (20, 10, 150, 200))"
    for value in (one, one.crop, recovery, BodyParameters(np.zeros(72), np.zeros(10), np.zeros(3))):
        assert "\n" not in repr(value) and len(repr(value)) < 200


def test_the_network_is_never_run_in_training_mode(small_checkpoint: Path, photo: np.ndarray) -> None:
    people = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu")
    (expected,) = people.predict(photo)
    people.model.train()
    for module in people.model.modules():  # as in fine-tuning with the backbone's statistics frozen
        if isinstance(module, nn.BatchNorm2d):
            module.training = False
    modes = [module.training for module in people.model.modules()]
    state = {name: value.clone() for name, value in people.model.state_dict().items()}
    seen: list[bool] = []
    people.model.register_forward_pre_hook(lambda *_: seen.append(any(m.training for m in people.model.modules())))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: people.predict(photo)[0], range(12)))
    assert not any(seen) and len(seen) == 12
    for person in found:
        same(person, expected)
    assert [module.training for module in people.model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in people.model.state_dict().items())
    people.model.train()
    people.model.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        people.predict(photo)
    assert all(module.training for module in people.model.modules())


def test_threads_that_overlap_put_the_modes_back_once() -> None:
    """One leaves while the other is still inside: the network stays in evaluation mode for it."""
    network = nn.Sequential(nn.Linear(1, 1), nn.Dropout()).train()
    outer, inner = evaluating(network), evaluating(network[1])
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert not network[1].training and network[0].training
    inner.__exit__(None, None, None)
    assert network[1].training


def test_the_network_may_change_its_numbers_and_place(small_checkpoint: Path, photo: np.ndarray) -> None:
    people = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu")
    (expected,) = people.predict(photo)
    assert people.dtype == torch.float32
    people.model.double()
    assert people.dtype == torch.float64
    same(people.predict(photo)[0], expected)
    people.model.float()
    autocast = torch.autocast("cpu", torch.bfloat16)
    for surrounding in (torch.no_grad(), torch.inference_mode(), torch.enable_grad(), torch.device("meta"), autocast):
        with surrounding:
            same(people.predict(photo)[0], expected)
    try:
        torch.set_default_dtype(torch.float64)
        same(people.predict(photo)[0], expected)
        loaded = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu")
        assert loaded.dtype == torch.float32
        same(loaded.predict(photo)[0], expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_wrapped_network_is_the_network(wrap: Callable[[nn.Module], nn.Module], photo: np.ndarray) -> None:
    """Also where its configuration decides: the place of people, their detector, and what refinement looks at."""
    people = MeshRecovery.from_pretrained(device="cpu")
    add_smpl_regressor(people.model)
    wrapped, crop = MeshRecovery(wrap(people.model), people.body), [Crop((150, 100), 180)]
    assert wrapped.prunes_tokens and wrapped.regresses_parameters
    assert type(wrapped.own_detector()) is type(people.own_detector()) is MoveNetDetector
    for refine in (False, True):
        (expected,), (found,) = (one.predict(photo, crop, refine=refine) for one in (people, wrapped))
        same(found, expected)
        assert np.array_equal(found.translation, expected.translation) and found.refinement == expected.refinement


def test_numbers_that_move_keypoints_are_refused(photo: np.ndarray) -> None:
    hands = MeshRecovery.from_pretrained(body="hand", device="cpu")
    crop = [Crop((150, 100), 180)]
    (expected,) = hands.predict(photo, crop, left=False)
    hands.model.half()
    (found,) = hands.predict(photo, crop, left=False)
    assert np.abs(found.vertices - expected.vertices).max() < 2e-3  # meters
    hands.model.bfloat16()
    with pytest.raises(ValueError, match=r"takes keypoints from its backbone, which bfloat16 moves .* amp=True"):
        hands.predict(photo, crop, left=False)


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        ([[0.1, 0.2, 0.5, 0.5]], "not shares of the image"),
        ([["a", "b", "c", "d"]], "four numbers"),
        ([[0, 0, -1, 4]], "no area"),
    ],
)
def test_wrong_boxes(boxes: list, sentence: str, recovery: MeshRecovery, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match=sentence):
        recovery.predict(photo, boxes)


def test_wrong_calls(recovery: MeshRecovery, photo: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 lists of boxes for 2 images"):
        recovery.predict([photo, photo], [None])
    with pytest.raises(ValueError, match="batch size 0"):
        recovery.predict(photo, batch_size=0)
    with pytest.raises(ValueError, match="focal length -1"):
        recovery.predict(photo, focal_length=-1)
    with pytest.raises(ValueError, match="image 2 has shape"):
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
def test_hands_and_metro(network: str, tmp_path: Path, synthetic_body_dir: Path) -> None:
    narrow = SMALL if network == "fastmetro" else {"arch": "resnet10t", "widths": (64, 32, 16), "hidden": 64}
    narrow = narrow if network == "fastmetro" else {**narrow, "regressor_heads": 4, "regressor_hidden": 64}
    tore.save_model(
        tore.create_model(network, body="hand", body_dir=synthetic_body_dir, **narrow), tmp_path / "hand.pt"
    )
    recovery = MeshRecovery.from_checkpoint(tmp_path / "hand.pt", device="cpu")
    (hand,) = recovery.predict(rules.photo(4, 300, 260))
    assert hand.vertices.shape == (778, 3) and hand.joints.shape == (21, 3) and recovery.faces.max() == 777
    assert hand.joint_names == HAND_NAMES
    assert (hand.heatmap is None) == (network == "metro") != recovery.prunes_tokens


def test_double_precision_checkpoints_stay_double(tmp_path: Path, synthetic_body_dir: Path, photo: np.ndarray) -> None:
    tore.save_model(tore.create_model(body_dir=synthetic_body_dir, **SMALL).double(), tmp_path / "double.pt")
    recovery = MeshRecovery.from_checkpoint(tmp_path / "double.pt", device="cpu")
    assert recovery.dtype == torch.float64 and recovery.predict(photo)[0].finite


def test_a_network_without_numbers_is_refused(
    recovery: MeshRecovery, photo: np.ndarray, synthetic_body_dir: Path
) -> None:
    with torch.device("meta"):
        empty = MeshRecovery(tore.create_model(body_dir=synthetic_body_dir, **SMALL), recovery.body)
    with pytest.raises(ValueError, match="meta device, which holds no numbers"):
        empty.predict(photo)


def test_a_prediction_compares_and_prints(recovery: MeshRecovery) -> None:
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        one, other = recovery.model(images), recovery.model(images)
    assert one == one and one != other and other in [one, other] and len({one, other, one}) == 2
    assert repr(one).startswith("MeshPrediction(camera=(2, 3), joints=(2, 14, 3), ") and "rotations=None" in repr(one)
