"""Side, mean and deviation of a network's images belong to its configuration, and everything reads them from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tore
from tests import rules
from tests.training_runs import QUICK, data_flags, write_sets
from tore.cli import evaluate, infer
from tore.datasets.mesh_dataset import MeshDataset
from tore.image_format import OFFICIAL_FORMAT, ImageFormat
from tore.inference.predictor import MeshRecovery
from tore.modeling.build import FastMETROConfig, METROConfig
from tore.modeling.checkpoints import save_published
from tore.tools import run_tore_fm_bodymesh
from tore_runtime.crop import Crop
from tore_runtime.crops import crops_of, middle_crop
from tore_runtime.cutting import crop_image

MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.35)
OTHER = ImageFormat(256, MEAN, STD)
OPTIONS: dict[str, Any] = {"image_size": 256, "image_mean": MEAN, "image_std": STD}
FLAGS = ["--image_size", "256", "--image_mean", "0.5,0.45,0.4", "--image_std", "0.25,0.3,0.35"]
NARROW: dict[str, Any] = {"widths": (32, 32), "hidden": (32, 32), "heads": 4}
SMALL = NARROW | {"arch": "mobilenetv3_small_050", "size": "S"}
NETWORK = ["--arch", "mobilenetv3_small_050", "--model_name", "FastMETRO_S", "--transformer_nhead", "4"]
NETWORK += ["--model_dim_1", "32", "--model_dim_2", "32", "--feedforward_dim_1", "32", "--feedforward_dim_2", "32"]
TRAINING = ["--per_gpu_train_batch_size", "4", "--num_train_epochs", "1", "--num_workers", "0", "--logging_steps", "1"]


def expected_image(image: np.ndarray, size: int) -> np.ndarray:
    """A crop (size, size, 3) in 0..255 normalized by MEAN and STD, number by number: (3, size, size)."""
    planes = [(image[:, :, color] / 255 - MEAN[color]) / STD[color] for color in range(3)]
    assert image.shape == (size, size, 3)
    return np.stack(planes)


@pytest.fixture(scope="module")
def synthetic_sets(tmp_path_factory: pytest.TempPathFactory, synthetic_body_dir: Path) -> Path:
    return write_sets(tmp_path_factory.mktemp("sets"), synthetic_body_dir)


@pytest.fixture(scope="module")
def trained(synthetic_sets: Path, synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint of a network of other images, trained for an epoch."""
    output = tmp_path_factory.mktemp("trained")
    flags = [*data_flags(synthetic_sets, synthetic_body_dir, output), *NETWORK, *FLAGS, *QUICK, *TRAINING]
    assert run_tore_fm_bodymesh.main(flags) == 0
    return max(output.glob("checkpoint*"))


def test_a_trained_network_is_reloaded_with_its_images(trained: Path, synthetic_body_dir: Path) -> None:
    model = tore.load_model(trained / "state_dict.bin", synthetic_body_dir, "cpu")
    assert model.config.image_format == OTHER
    assert model.config.kept_tokens == 51  # int(0.8 * 8 * 8)
    with pytest.raises(ValueError, match="image_size 256, not 224"):
        tore.load_model(trained / "state_dict.bin", synthetic_body_dir, "cpu", image_size=224)


def test_a_trained_network_is_evaluated_on_its_images(
    trained: Path, synthetic_sets: Path, synthetic_body_dir: Path, tmp_path: Path
) -> None:
    """What the data set gives is what is cut and normalized here by hand."""
    flags = ["--val_yaml", "val/set.yaml", "--data_dir", str(synthetic_sets), "--body_dir", str(synthetic_body_dir)]
    flags += ["--checkpoint", str(trained), "--device", "cpu", "--num_workers", "0"]
    assert evaluate.main([*flags, "--json", str(tmp_path / "found.json"), *FLAGS]) == 0
    data = MeshDataset(synthetic_sets / "val" / "set.yaml", False, image_format=OTHER)
    image, label = data.image(0)[1], data.label(0)
    by_hand = expected_image(crop_image(image, Crop.of_label(label.center, label.scale), 256), 256)
    np.testing.assert_allclose(data[0]["image"].numpy(), by_hand, atol=1e-5)
    assert np.abs(data[0]["joints_2d"].numpy()[:, :2]).max() < 2  # in [-1, 1] of its own crop


def test_flags_that_contradict_the_file_are_refused(
    trained: Path, synthetic_sets: Path, synthetic_body_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--val_yaml", "val/set.yaml", "--data_dir", str(synthetic_sets), "--body_dir", str(synthetic_body_dir)]
    flags += ["--checkpoint", str(trained), "--device", "cpu", "--image_size", "224"]
    assert evaluate.main(flags) == 2
    assert "--image_size 224, but the file has 256" in capsys.readouterr().err


def test_a_trained_network_recovers_people_from_its_crops(trained: Path, synthetic_body_dir: Path) -> None:
    """By the plain and the optimized network; the reference cuts and normalizes by itself."""
    photo, box = rules.photo(3, 240, 320), (90.0, 40.0, 100.0, 150.0)
    plain, fast = (
        MeshRecovery.from_checkpoint(trained / "state_dict.bin", synthetic_body_dir, "cpu", fast=fast)
        for fast in (False, True)
    )
    middle, person = plain.predict([photo, photo], [None, [box]])
    assert middle.crop.image.shape == person.crop.image.shape == (3, 256, 256)
    assert person.crop.pixels.shape == (256, 256, 3)
    by_hand = expected_image(middle_crop(photo, 256)[0].astype(float), 256)
    np.testing.assert_allclose(middle.crop.image, by_hand, atol=1e-5)
    with torch.no_grad():
        alone = plain.model(torch.from_numpy(by_hand[None]).float())
    np.testing.assert_allclose(middle.vertices, alone.vertices[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(fast.predict(photo)[0].vertices, middle.vertices, atol=1e-4)
    assert middle.heatmap is not None and middle.heatmap.shape == (51, 64)


def test_left_hands_are_mirrored_whatever_the_size(synthetic_body_dir: Path) -> None:
    """The heatmap of a mirror image is turned back over 8 columns, where the official networks have 7."""
    torch.manual_seed(0)
    network = tore.create_model(body="hand", body_dir=synthetic_body_dir, **SMALL, **OPTIONS)
    hands = MeshRecovery(network, tore.body.load_body("hand", synthetic_body_dir))
    photo = rules.photo(4, 256, 256)
    left = hands.predict(photo, left=True)[0]
    right = hands.predict(np.ascontiguousarray(photo[:, ::-1]))[0]
    turned = right.heatmap.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    np.testing.assert_allclose(left.heatmap, turned, atol=1e-5)


def test_crops_for_another_network_are_refused(synthetic_body_dir: Path) -> None:
    network = tore.create_model(body_dir=synthetic_body_dir, **SMALL, **OPTIONS)
    people = MeshRecovery(network, tore.body.load_body("body", synthetic_body_dir))
    crops = crops_of(rules.photo(1, 90, 90))
    with pytest.raises(ValueError, match=r"image, person 1: the crop is made for .*224.* takes .*256"):
        people.recover(crops)
    assert len(people.recover(crops_of(rules.photo(1, 90, 90), image_format=OTHER))) == 1


def test_infer_takes_the_files_images(trained: Path, synthetic_body_dir: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(rules.photo(2, 120, 160)).save(tmp_path / "one.png")
    flags = ["--resume_checkpoint", str(trained), "--image_file_or_path", str(tmp_path / "one.png"), "--no_overlay"]
    flags += ["--save_results", "npz", "--data_dir", str(synthetic_body_dir), "--device", "cpu", "--detector", "none"]
    assert infer.main([*flags, "--output_dir", str(tmp_path / "out")]) == 0
    (written,) = (tmp_path / "out").glob("*.npz")
    people = MeshRecovery.from_checkpoint(trained / "state_dict.bin", synthetic_body_dir, "cpu")
    with np.load(written) as held:
        direct = people.predict(tmp_path / "one.png")[0]
        np.testing.assert_allclose(held["vertices"], direct.vertices, atol=1e-5)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("network", ["fastmetro", "metro"])
def test_our_own_layout_records_the_images(network: str, ending: str, rule_body_dir: Path, tmp_path: Path) -> None:
    small = SMALL if network == "fastmetro" else {"arch": SMALL["arch"], "widths": (64, 32, 16), "layers": 1}
    model = tore.create_model(network, body_dir=rule_body_dir, **small, **OPTIONS)
    assert model.config.image_format == OTHER
    tore.save_model(model, tmp_path / f"own.{ending}")
    assert tore.load_model(tmp_path / f"own.{ending}", rule_body_dir, "cpu").config == model.config


def test_the_official_layout_has_the_official_images(rule_body_dir: Path, tmp_path: Path) -> None:
    """It tells of no others: they are refused there, and a METRO's number of image tokens tells its size."""
    model = tore.create_model(body_dir=rule_body_dir, **(SMALL | {"arch": "resnet50", "heads": 8}))
    save_published(model, tmp_path / "official.bin")
    assert tore.load_model(tmp_path / "official.bin", rule_body_dir, "cpu").config.image_format == OFFICIAL_FORMAT
    other = tore.create_model(body_dir=rule_body_dir, **SMALL, **OPTIONS)
    with pytest.raises(ValueError, match=r"official layout does not tell .*256.* save_model"):
        save_published(other, tmp_path / "other.bin")
    assert not (tmp_path / "other.bin").exists()
    metro = tore.create_model("metro", body_dir=rule_body_dir, arch="resnet50", widths=(64, 32, 16), image_size=96)
    torch.save(metro.state_dict(), tmp_path / "plain.bin")
    assert tore.load_model(tmp_path / "plain.bin", rule_body_dir, "cpu").config.image_format.size == 96


@pytest.mark.parametrize("size", [225, 250, 16, 0, 224.0])
def test_a_size_beside_the_stride_is_refused_in_a_sentence(size: Any, rule_body_dir: Path) -> None:
    with pytest.raises(ValueError, match=f"image_size {size}.* use "):
        tore.create_model(body_dir=rule_body_dir, image_size=size, **SMALL)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_mean": (0.5, 0.5)}, "image_mean .* is not three finite numbers"),
        ({"image_mean": (0.5, 0.5, float("nan"))}, "image_mean .* is not three finite numbers"),
        ({"image_std": (0.2, 0.0, 0.2)}, "image_std .* not above 0"),
        ({"image_std": (0.2, 0.2, "0.2")}, "image_std .* is not three finite numbers"),
    ],
)
def test_mean_and_deviation_that_cannot_be(options: dict[str, Any], sentence: str, rule_body_dir: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        tore.create_model(body_dir=rule_body_dir, **SMALL, **options)


def test_metros_image_tokens_are_those_of_its_images() -> None:
    with pytest.raises(ValueError, match="image_size 256 gives 64 image tokens, but the network mixes 49"):
        METROConfig(image_size=256)
    assert METROConfig(image_size=256, image_tokens=64).image_positions == 64
    assert FastMETROConfig().image_format == ImageFormat(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_pixels_of_a_normalized_image_are_its_own() -> None:
    photo = rules.photo(5, 32, 32)
    image = torch.from_numpy(expected_image(photo.astype(float), 32)).float()
    assert np.array_equal(OTHER.pixels(image.numpy()), photo)
