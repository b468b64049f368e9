"""ImageNet files of timm's networks: the features are those of timm's own network with these weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tore.modeling.backbones import Backbone, load_backbone_weights


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
