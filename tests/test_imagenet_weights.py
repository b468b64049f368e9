"""ImageNet files of timm's networks: the features are those of timm's own network with these weights."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants as hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import _builder

from tests.training_runs import data_flags
from tore.modeling import create_model
from tore.modeling.backbones import Backbone, load_backbone_weights
from tore.modeling.timm_trunks import pretrained
from tore.tools.run_tore_fm_bodymesh import main as train
from tore.training.build import imagenet_file


@pytest.mark.parametrize("arch", ["mobilenetv3_small_100", "regnetx_002", "convnext_atto"])
def test_timms_own_files_give_timms_features(arch: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, images = timm.create_model(arch).eval(), torch.randn(1, 3, 64, 64)
    held = whole.state_dict()
    save_file(held, str(tmp_path / "a.safetensors"))
    torch.save({"state_dict": {f"module._orig_mod.{name}": value for name, value in held.items()}}, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        backbone = Backbone(arch).eval()
        load_backbone_weights(backbone, tmp_path / name)
        wanted = whole.forward_intermediates(images, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone(images), wanted)


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    cases = {
        ("efficientnet_b0", "efficientnet-b0"): "use --arch efficientnet_b0",
        ("mobilenetv3_small_075", "mobilenetv3_small_100"): "is no weight file of mobilenetv3_small_100",
        ("resnet34", "resnet18"): "unexpected or of another shape",
    }
    for (theirs, ours), sentence in cases.items():
        torch.save(timm.create_model(theirs).state_dict(), tmp_path / "x.pth")
        with pytest.raises(ValueError, match=sentence):
            load_backbone_weights(Backbone(ours), tmp_path / "x.pth")
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="use --arch efficientnet-b0 with it"):
        load_backbone_weights(Backbone("efficientnet_b0"), tmp_path / "x.pth")


ARCH = "mobilenetv3_small_100"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, torch.Tensor]]:
    """Stands in for the Hugging Face hub: what timm downloads, by the name of the repository asked for."""
    made: dict[str, dict[str, torch.Tensor]] = {}

    def fetch(model_id: str, *rest: object, **options: object) -> dict[str, torch.Tensor]:
        name = model_id.removeprefix("timm/").split(".")[0]
        torch.manual_seed(len(made) + 5)
        made[model_id] = timm.create_model(name).state_dict()
        return dict(made[model_id])

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", fetch)
    return made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache in this folder."""
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def features(whole: torch.nn.Module, state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    whole.load_state_dict(state)
    return whole.eval().forward_intermediates(images, intermediates_only=True)[-1]


def test_timms_own_weights(downloads: dict[str, dict[str, torch.Tensor]], rule_body_dir: Path) -> None:
    images = torch.randn(1, 3, 64, 64)
    model = create_model(arch=ARCH, size="S", body_dir=rule_body_dir, backbone_weights="timm").eval()
    (asked,) = downloads
    assert asked.startswith(f"timm/{ARCH}.")
    wanted = features(timm.create_model(ARCH), downloads[asked], images)
    torch.testing.assert_close(model.backbone(images), wanted)
    official = Backbone("resnet50").eval()
    load_backbone_weights(official, "timm")
    assert list(downloads)[1].startswith("timm/resnet50.")
    plain = timm.create_model("resnet50")
    plain.load_state_dict(downloads[list(downloads)[1]])
    torch.testing.assert_close(official(images), plain.eval().forward_features(images))


def test_which_weights_a_run_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORE_MODELS_DIR", str(tmp_path))
    assert imagenet_file(ARCH, None) == imagenet_file("resnet50", "timm") == "timm"
    assert imagenet_file(ARCH, "none") is None and imagenet_file("resnet50", "none") is None
    with pytest.raises(FileNotFoundError, match=r"resnet50-0676ba61\.pth.*--backbone_weights timm"):
        imagenet_file("resnet50", None)
    (tmp_path / "resnet50-0676ba61.pth").touch()
    assert imagenet_file("resnet50", None) == tmp_path / "resnet50-0676ba61.pth"


def test_none_leaves_the_random_start(offline: Path) -> None:
    backbone = Backbone(ARCH)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    load_backbone_weights(backbone, "none")
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_without_a_network_one_sentence_says_what_to_do(offline: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"pretrained weights of {ARCH} are not in its cache") as error:
        load_backbone_weights(Backbone(ARCH), "timm")
    message = str(error.value)
    assert str(offline) in message and "\n" not in message
    assert "--backbone_weights FILE" in message and "--backbone_weights none" in message
    with pytest.raises(ValueError, match="timm has no pretrained weights of mobilenetv3_small_wrong"):
        pretrained("mobilenetv3_small_wrong")


def test_a_command_without_a_network(
    offline: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """The default of a network by timm's name, from the command line."""
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "run"), "--per_gpu_train_batch_size", "4"]
    assert train(["--arch", ARCH, *flags, "--num_workers", "0", "--device", "cpu"]) != 0
    assert f"timm's pretrained weights of {ARCH} are not in its cache" in capfd.readouterr().err


def test_an_older_layout_goes_through_timms_table(tmp_path: Path) -> None:
    """ConvNeXt's own files name the stem, stages and blocks otherwise."""
    torch.manual_seed(0)
    arch, images = "convnext_atto_ols", torch.randn(1, 3, 64, 64)
    whole = timm.create_model(arch)
    table = timm.models.convnext.checkpoint_filter_fn
    called: list[bool] = []

    def older(state: dict[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
        called.append(True)
        return table({name.removeprefix("old."): value for name, value in state.items()}, model)

    torch.save({f"old.{name}": value for name, value in whole.state_dict().items()}, tmp_path / "old.pth")
    backbone = Backbone(arch).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm.models.convnext, "checkpoint_filter_fn", older)
        load_backbone_weights(backbone, tmp_path / "old.pth")
    assert called
    torch.testing.assert_close(backbone(images), features(whole, whole.state_dict(), images))
