"""Samples against the official values, and their independence of order and workers."""

from __future__ import annotations

import base64
import io
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.random import RandomState

from tests import rules
from tests.conftest import reference
from tests.datasets.data_sets import BODY_SOURCES, HAND_SOURCES, consistent_person, encode, image_row, write_set
from tore.datasets.augmentation import Draw, draw_augmentation, finish_image
from tore.datasets.images import first_rows
from tore.datasets.mesh_dataset import LAYOUTS, MeshDataset
from tore.datasets.sets import BadSample
from tore.datasets.tsv import TSVReader, TSVWriter
from tore.image_format import IMAGENET_MEAN, IMAGENET_STD
from tore_runtime.crop import Crop
from tore_runtime.cutting import crop_image

CASES = [("body", BODY_SOURCES), ("hand", HAND_SOURCES)]
EXACT = {"joints_2d": "joints_2d", "mjm_mask": "joint_mask"}
TIGHT = ("pose", "betas", "joints_3d", "scale")


@pytest.fixture(scope="module", params=CASES, ids=["body", "hand"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    kind, sources = request.param
    return kind, write_set(tmp_path_factory.mktemp(kind), sources)


@pytest.mark.parametrize("split", ["eval", "train"])
def test_official_values(case: tuple[str, Path], split: str) -> None:
    kind, yaml = case
    values = reference(f"dataset_{kind}")
    dataset = MeshDataset(yaml, train=split == "train", body=kind)
    turned = 0
    cases = sorted({tuple(map(int, key.split("_")[1:3])) for key in values if key.startswith(split)})
    assert cases
    for item, k in cases:
        expected = {key.split("_", 3)[3]: values[key] for key in values if key.startswith(f"{split}_{item}_{k}_")}
        seed = 1000 + 10 * item + k
        sample = dataset.sample(item, RandomState(seed))
        for theirs, ours in EXACT.items():
            np.testing.assert_array_equal(sample[ours].numpy(), expected.pop(theirs))
        assert int((sample["vertex_mask"] == 0).sum()) == expected.pop("mvm_masked")
        for name in TIGHT:
            np.testing.assert_allclose(np.asarray(sample[name]), expected.pop(name), rtol=1e-6, atol=1e-7)
        image, official = sample["image"][:, ::9, ::9].numpy(), expected.pop("image_every_9")
        assert not expected
        difference = np.abs(image - official) * np.array(IMAGENET_STD)[:, None, None]
        rotated = split == "train" and draw_augmentation(RandomState(seed), LAYOUTS[kind].ranges).rotation != 0
        turned += rotated
        assert difference.max() <= 1e-6
    assert turned or split == "eval"


def test_a_sample_depends_on_seed_epoch_and_index_alone(case: tuple[str, Path]) -> None:
    kind, yaml = case
    first, second = (MeshDataset(yaml, train=True, body=kind, seed=3) for _ in range(2))
    in_order = [first[i]["image"] for i in range(len(first))]
    for i in reversed(range(len(first))):
        assert torch.equal(second[i]["image"], in_order[i])
    second.set_epoch(1)
    assert not torch.equal(second[0]["image"], in_order[0])
    second.set_epoch(0)
    assert torch.equal(pickle.loads(pickle.dumps(second))[1]["image"], in_order[1])
    assert not torch.equal(MeshDataset(yaml, train=True, body=kind, seed=4)[0]["image"], in_order[0])


def test_fields_of_a_sample(case: tuple[str, Path]) -> None:
    kind, yaml = case
    sample = MeshDataset(yaml, train=False, body=kind)[1]
    shapes = {name: tuple(value.shape) for name, value in sample.items() if isinstance(value, torch.Tensor)}
    joints, vertices = LAYOUTS[kind].joint_tokens, LAYOUTS[kind].coarse_vertices
    assert shapes == {
        "image": (3, 224, 224),
        "pose": (72,),
        "betas": (10,),
        "joints_3d": (24, 4),
        "joints_2d": (24, 3),
        "joint_mask": (joints, 1),
        "vertex_mask": (vertices, 1),
        "center": (2,),
    }
    assert all(value.dtype == torch.float32 for value in sample.values() if isinstance(value, torch.Tensor))
    assert (sample["key"], sample["index"], sample["gender"]) == ("pictures/1.png", 1, "neutral")
    assert sample["joints_3d"][LAYOUTS[kind].root, :3].abs().max() == 0
    assert (sample["joint_mask"] == 1).all()
    assert (sample["vertex_mask"] == 1).all()


def test_the_old_name_of_an_image_still_works(case: tuple[str, Path]) -> None:
    kind, yaml = case
    dataset = MeshDataset(yaml, train=False, body=kind)
    with pytest.warns(DeprecationWarning, match=r"MeshDataset\.picture is now MeshDataset\.image"):
        key, pixels = dataset.picture(0)
    assert key == dataset.image(0)[0] and np.array_equal(pixels, dataset.image(0)[1])


def _cmyk_jpeg(image: np.ndarray) -> bytes:
    pillow = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    pillow.fromarray(image).convert("CMYK").save(out, "JPEG", quality=95)
    return out.getvalue()


def test_views_are_further_crops_of_an_evaluation_image(case: tuple[str, Path]) -> None:
    kind, yaml = case
    views = (Draw(rotation=30.0), Draw(scale=0.7, rotation=-90.0), Draw())
    plain, viewed = MeshDataset(yaml, False, kind), MeshDataset(yaml, False, kind, views=views)
    sample, label, (_, image) = viewed[1], plain.label(1), plain.image(1)
    assert "views" not in plain[1] and sample["views"].shape == (3, 3, 224, 224)
    for view, found in zip(views, sample["views"], strict=True):
        crop = crop_image(image, Crop.of_label(label.center, view.scale * label.scale, view.rotation))
        assert np.array_equal(found.numpy(), finish_image(crop, Draw()))
    for name in ("image", "joints_2d", "joints_3d", "pose"):
        assert torch.equal(sample[name], plain[1][name]), name
    assert torch.equal(sample["views"][2], sample["image"])
    with pytest.raises(ValueError, match="leave views out"):
        MeshDataset(yaml, True, kind, views=views)


def test_grey_alpha_deep_and_cmyk_images_decode_as_color(tmp_path: Path) -> None:
    color = rules.photo(2, 300, 300)
    grey = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
    alpha = np.dstack([color, np.arange(90_000, dtype=np.uint8).reshape(300, 300)])
    files = {
        "color": encode(color),
        "grey": encode(grey),
        "alpha": encode(alpha),
        "deep": encode(color.astype(np.uint16) * 257),
        "cmyk": _cmyk_jpeg(color),
    }
    yaml = write_set(tmp_path, [(2, 300, 300)] * len(files))
    for table in ("hw", "label"):
        rows = [TSVReader(tmp_path / f"set.{table}.tsv").columns(row) for row in range(len(files))]
        with TSVWriter(tmp_path / f"set.{table}.tsv") as writer:
            for key, columns in zip(files, rows, strict=True):
                writer.write([key.encode(), *columns[1:]])
    with TSVWriter(tmp_path / "set.img.tsv") as writer:
        for key, data in files.items():
            writer.write(image_row(key, data))
    dataset = MeshDataset(yaml, train=False)
    images = {key: image for key, image in (dataset.image(i) for i in range(len(files)))}
    for i, (key, data) in enumerate(files.items()):
        official = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        if key not in ("alpha", "cmyk"):  # the official code leaves transparency out, and rounds CMYK otherwise
            np.testing.assert_array_equal(images[key], official)
        assert dataset[i]["image"].shape == (3, 224, 224)
    opacity = alpha[:, :, 3:] / 255
    assert np.abs(images["alpha"] - (color * opacity + 255 * (1 - opacity))).max() < 1  # on white paper
    np.testing.assert_array_equal(images["deep"], color)
    np.testing.assert_array_equal(images["grey"], np.repeat(grey[:, :, None], 3, 2))
    assert np.abs(images["cmyk"].astype(int) - color).mean() < 8


def test_the_fast_crop_is_close_to_the_official_one(case: tuple[str, Path]) -> None:
    """Same draws and labels; the images differ by interpolation alone."""
    body, yaml = case
    plain, fast = (MeshDataset(yaml, True, body=body, fast_crop=choice) for choice in (False, True))
    for index in range(len(plain)):
        one, other = plain[index], fast[index]
        difference = (one.pop("image") - other.pop("image")).abs()
        assert 0 < difference.mean() < 0.1 and one.keys() == other.keys()
        assert all(
            torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name]))
            for name in one
            if not isinstance(one[name], str)
        )


@pytest.mark.parametrize("fast_crop", [False, True])
def test_images_are_decoded_only_as_far_as_crops_read(
    fast_crop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = consistent_person(4, 500, 400) | {"center": [190.0, 170.0], "scale": 1.2}
    yaml = write_set(tmp_path, [(4, 500, 400)], [[person]], ".jpg")
    train = MeshDataset(yaml, train=True, fast_crop=fast_crop)
    views = (Draw(rotation=25.0), Draw(scale=1.6))
    viewed = MeshDataset(yaml, train=False, fast_crop=fast_crop, views=views)

    def images() -> list[np.ndarray]:
        drawn = [train.sample(0, RandomState(seed))["image"].numpy() for seed in range(12)]
        return [*drawn, viewed.sample(0)["image"].numpy(), viewed.sample(0)["views"].numpy()]

    heights = []

    def watch(data: bytes, rows: int, reduction: int) -> bytes | bytearray:
        cut = first_rows(data, rows, reduction)
        heights.append(len(cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_COLOR)))
        return cut

    monkeypatch.setattr("tore.datasets.images.first_rows", watch)
    cut = images()
    assert min(heights) < 330 and np.mean(np.array(heights) < 500) > 0.7
    monkeypatch.setattr("tore.datasets.images.first_rows", lambda data, rows, reduction: data)
    for one, other in zip(cut, images(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("flip", [False, True])
def test_whole_colors_are_finished_by_a_table(flip: bool) -> None:
    crop = RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)
    draw = Draw(flip=flip, color=(0.7, 1.4, 1.0))
    np.testing.assert_array_equal(finish_image(crop, draw), finish_image(crop.astype(np.float64), draw))


def test_crop_outside_the_image_is_black(tmp_path: Path) -> None:
    person = rules.label(1, 480, 640)
    person[0]["center"] = [-2000.0, 100.0]
    sample = MeshDataset(write_set(tmp_path, [(1, 480, 640)], [person]), train=False)[0]
    black = -np.array(IMAGENET_MEAN, np.float32) / np.array(IMAGENET_STD, np.float32)
    np.testing.assert_array_equal(sample["image"].numpy(), np.broadcast_to(black[:, None, None], (3, 224, 224)))


def damaged_label(change: dict) -> str:
    return json.dumps([{k: v for k, v in (rules.label(1, 480, 640)[0] | change).items() if v is not ...}])


PHOTO = base64.b64encode(encode(rules.photo(1, 480, 640))).decode()


@pytest.mark.parametrize(
    ("table", "text", "finding"),
    [
        ("img", None, "the row has no image column"),
        ("img", "", "is not base64"),
        ("img", PHOTO[:-3], "is not base64"),
        ("img", PHOTO[:500] + "!" + PHOTO[501:], "is not base64"),
        ("img", base64.b64encode(b"no image").decode(), "its 8 bytes are no image"),
        ("label", None, "the row has no label column"),
        ("label", "[{", "the label is not JSON"),
        ("label", "{}", "not a list that holds one person"),
        ("label", "[{}, {}]", "the label holds 2 people; give each a row of its own"),
        ("label", "[" * 100_000, "the label is not JSON"),
        ("label", damaged_label({"pose": ...}), "field 'pose' is missing"),
        ("label", damaged_label({"pose": [0.0] * 71}), r"field 'pose' has shape \(71,\), expected \(72,\)"),
        ("label", damaged_label({"2d_joints": [[1, 2, 3]] * 23 + [[1]]}), "rows of different lengths"),
        ("label", damaged_label({"betas": ["a"] * 10}), "field 'betas' holds something other than numbers"),
        ("label", damaged_label({"3d_joints": [[float("nan")] * 4] * 24}), "not finite"),
        ("label", damaged_label({"has_smpl": 2}), "field 'has_smpl' is 2, expected 0 or 1"),
        ("label", damaged_label({"scale": 0}), "field 'scale' is 0"),
        ("label", damaged_label({"scale": 1e-6}), "span a box of 0 x 0 pixels"),
        ("label", damaged_label({"scale": 1e6}), "span a box beyond"),
        ("label", damaged_label({"center": [1e300, 0]}), "span a box beyond"),
    ],
)
def test_bad_rows_are_named_or_replaced(tmp_path: Path, table: str, text: str | None, finding: str) -> None:
    yaml = write_set(tmp_path, [(1, 480, 640), (2, 300, 300), (1, 480, 640)])
    dataset = MeshDataset(yaml, train=False)
    rows = [dataset.rows.columns(table, i) for i in range(3)]
    rows[1] = ["käse.jpg".encode()] + ([] if text is None else [text.encode()])
    with TSVWriter(tmp_path / f"set.{table}.tsv") as writer:
        for row in rows:
            writer.write(row)
    with pytest.raises(BadSample, match=rf"set\.{table}\.tsv row 1 \(key 'käse\.jpg'\): .*{finding}") as caught:
        MeshDataset(yaml, train=False)[1]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    training = MeshDataset(yaml, train=True, on_bad_sample="skip")
    assert torch.equal(training[1]["image"], training[2]["image"])
    assert training[1]["index"] == 2
    assert training.bad_samples.indices() == [1]
    assert "1 of 3 samples" in training.bad_sample_summary()
    assert str(caught.value).split(": ")[0] in training.bad_sample_summary()


def test_a_set_without_a_usable_row_and_wrong_arguments(tmp_path: Path) -> None:
    yaml = write_set(tmp_path, [(2, 300, 300)] * 2, [[], []])
    with pytest.raises(ValueError, match="none of its 2 samples can be used"):
        MeshDataset(yaml, train=True, on_bad_sample="skip")[0]
    with pytest.raises(ValueError, match="evaluation, which never skips"):
        MeshDataset(yaml, train=False, on_bad_sample="skip")
    with pytest.raises(ValueError, match="'foot' is not known"):
        MeshDataset(yaml, train=True, body="foot")
    with pytest.raises(ValueError, match="'ignore' is not known"):
        MeshDataset(yaml, train=True, on_bad_sample="ignore")
    with pytest.raises(IndexError, match="has 2 samples"):
        MeshDataset(yaml, train=True)[2]
    good = MeshDataset(write_set(tmp_path), train=True, on_bad_sample="skip")
    assert good.bad_sample_summary() == "all 3 samples could be used"
