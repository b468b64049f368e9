"""Official and own checkpoints: there and back, and every way a file can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

import tore
from tests import rules
from tests.conftest import published_keys, rule_state_dict
from tore.modeling.backbones import Backbone, load_backbone_weights
from tore.modeling.build import reduction_of
from tore.modeling.checkpoints import from_official, read_checkpoint
from tore.modeling.official_keys import UNREAD, backbone_names

LISTS = [
    "tore_fastmetro_L_resnet50_keep0.8",
    "tore_fastmetro_L_efficientnet-b0_keep0.8",
    pytest.param("tore_fastmetro_L_hrnet-w64_keep0.8", marks=pytest.mark.slow),
    "tore_metro_resnet50",
    pytest.param("tore_metro_hrnet-w64", marks=pytest.mark.slow),
    "fastmetro_L_resnet50_smpl_regressor",
    "fastmetro_hand_L_resnet50",
    "metro_resnet50",
    "metro_hand_resnet50",
]


@pytest.mark.parametrize("name", LISTS)
def test_official_layout_there_and_back(name: str, rule_body_dir: Path, tmp_path: Path) -> None:
    entries = rule_state_dict(name)
    torch.save(entries, tmp_path / "a.bin")
    first = tore.load_model(tmp_path / "a.bin", rule_body_dir, device="cpu")
    tore.save_published(first, tmp_path / "b.bin")
    written = torch.load(tmp_path / "b.bin", weights_only=True)
    assert set(written) == set(entries)
    for key, (shape, dtype) in published_keys(name).items():
        assert written[key].shape == shape and written[key].dtype == getattr(torch, dtype), key
        # what nothing reads is one stored zero
        same = written[key].untyped_storage().nbytes() == 4 and written[key].flatten()[0] == 0
        assert same if UNREAD.fullmatch(key) else torch.equal(written[key], entries[key]), key
    second = tore.load_model(tmp_path / "b.bin", rule_body_dir, device="cpu")
    images = torch.from_numpy(rules.images(0, 1))
    with torch.no_grad():
        for a, b in zip(first(images), second(images), strict=True):
            assert a is None if b is None else torch.equal(a, b)


def test_facts_of_a_official_file(tmp_path: Path) -> None:
    entries = {f"module.{k}": v for k, v in rule_state_dict("tore_metro_resnet50").items()}
    torch.save(entries, tmp_path / "a.bin")
    checkpoint = read_checkpoint(tmp_path / "a.bin")
    config = checkpoint.config
    assert (config.network, config.arch, config.body, config.widths) == ("metro", "resnet50", "body", (1024, 256, 128))
    assert (config.layers, config.hidden, config.regressor_layers, config.image_tokens) == (4, 3072, 3, 49)
    assert len(checkpoint.dropped) == 21 and not checkpoint.unexpected
    unread = sum(entries["module." + name].numel() for name in checkpoint.dropped)
    assert round(unread / 1e6, 1) == 44.8


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "fastmetro_L_resnet50_smpl_regressor",
            {"body": "body", "layers": 3, "learned_upsampling": 1, "smpl_regressor": True, "kept_tokens": None},
        ),
        ("fastmetro_hand_L_resnet50", {"body": "hand", "learned_upsampling": 0, "smpl_regressor": False}),
        ("metro_resnet50", {"body": "body", "image_mixing": "learned", "camera_points": "vertices"}),
        (
            "metro_hand_resnet50",
            {"body": "hand", "image_mixing": "mean", "camera_points": "all", "camera_hidden": 150},
        ),
    ],
)
def test_baselines_are_told_from_tore_by_their_keys(name: str, facts: dict, tmp_path: Path) -> None:
    checkpoint = from_official(rule_state_dict(name), tmp_path)
    config = checkpoint.config
    assert not checkpoint.unexpected and reduction_of(config) == "none"
    assert {field: getattr(config, field) for field in facts} == facts
    entries = rule_state_dict("tore_" + ("metro_resnet50" if "metro_" in name[:6] else "fastmetro_L_resnet50_keep0.8"))
    assert reduction_of(from_official(entries, tmp_path).config) == "tore"


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("fastmetro", {"token_reduction": "none"}),
        ("fastmetro", {"token_reduction": "none", "size": "S", "smpl_regressor": True}),
        ("fastmetro", {"token_reduction": "none", "geometry_reduction": True, "size": "M"}),
        ("fastmetro", {"geometry_reduction": False, "size": "S", "smpl_regressor": True}),
        ("metro", {"token_reduction": "none", "smpl_regressor": True}),
        ("metro", {"smpl_regressor": True}),
        ("metro", {"token_reduction": "none", "body": "hand"}),
        ("metro", {"token_reduction": "none", "body": "hand", "image_mixing": "learned", "camera_points": "vertices"}),
    ],
)
def test_every_choice_of_reductions_there_and_back(
    network: str, options: dict, rule_body_dir: Path, tmp_path: Path
) -> None:
    narrow = {"widths": (64, 32), "hidden": (64, 48)} if network == "fastmetro" else {"widths": (64, 32, 16)}
    model = tore.create_model(network, arch="resnet10t", body_dir=rule_body_dir, **narrow, **options)
    tore.save_published(model, tmp_path / "a.bin")
    again = tore.load_model(tmp_path / "a.bin", rule_body_dir, device="cpu", arch="resnet10t")
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_what_the_official_layout_cannot_hold(rule_body_dir: Path, tmp_path: Path) -> None:
    options = {"arch": "resnet10t", "body_dir": rule_body_dir, "widths": (64, 32), "hidden": (64, 48)}
    with pytest.raises(ValueError, match=r"no entry for upsampling\.steps\.0\.weight; write it with save_model"):
        tore.save_published(tore.create_model(learned_upsampling=1, **options), tmp_path / "a.bin")
    average = tore.create_model(token_reduction="average", **options)  # its entries are those of "none"
    with pytest.raises(ValueError, match="no token reduction 'average'; write it with save_model"):
        tore.save_published(average, tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())
    tore.save_model(average, tmp_path / "own.pt")
    again = tore.load_model(tmp_path / "own.pt", rule_body_dir, device="cpu")
    assert again.config == average.config and reduction_of(again.config) == "average+gtr"


@pytest.mark.parametrize(
    ("network", "heads"), [("fastmetro", {"heads": 2}), ("metro", {"heads": 2}), ("metro", {"regressor_heads": 4})]
)
def test_official_files_record_unusual_heads(network: str, heads: dict, rule_body_dir: Path, tmp_path: Path) -> None:
    fast = {"widths": (64, 32), "hidden": (64, 48)}
    narrow = fast if network == "fastmetro" else {"widths": (64, 32, 16), "hidden": 64}
    options = {"arch": "resnet10t", "body_dir": rule_body_dir, **narrow}
    model = tore.create_model(network, **options, **heads).eval()
    tore.save_published(model, tmp_path / "a.bin")
    again = tore.load_model(tmp_path / "a.bin", rule_body_dir, device="cpu", arch="resnet10t", **heads)
    assert again.config == model.config == tore.load_model(
        tmp_path / "a.bin", rule_body_dir, device="cpu", arch="resnet10t"
    ).config  # fmt: skip
    images = torch.from_numpy(rules.images(0, 1))
    with torch.no_grad():
        assert torch.equal(model(images).vertices, again(images).vertices)
    name = next(iter(heads))
    with pytest.raises(ValueError, match=f"holds a network with {name} {heads[name]}, not 16"):
        tore.load_model(tmp_path / "a.bin", rule_body_dir, arch="resnet10t", **{name: 16})
    usual = tore.create_model(network, **options)
    tore.save_published(usual, tmp_path / "b.bin")
    assert "attention_heads" not in torch.load(tmp_path / "b.bin", weights_only=True)


def test_a_baseline_without_its_learned_upsampling_is_refused(rule_body_dir: Path, tmp_path: Path) -> None:
    entries = rule_state_dict("fastmetro_L_resnet50_smpl_regressor")
    for part in ("weight", "bias"):
        del entries[f"coarse2intermediate_upsample.{part}"]
    torch.save(entries, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"missing in upsampling \(2\): upsampling\.steps\.0\.bias"):
        tore.load_model(tmp_path / "a.bin", rule_body_dir)


def test_own_layout_remembers_what_shapes_cannot_tell(rule_body_dir: Path, tmp_path: Path) -> None:
    options = {"widths": (64, 32), "hidden": (64, 48), "heads": 2, "dropout": 0.0, "size": "M", "keep_ratio": 0.3}
    model = tore.create_model(arch="resnet10t", body="hand", body_dir=rule_body_dir, **options).eval()
    tore.save_model(model, tmp_path / "own.pt")
    again = tore.load_model(tmp_path / "own.pt", rule_body_dir, device="cpu")
    assert again.config == model.config
    images = torch.from_numpy(rules.images(0, 1))
    with torch.no_grad():
        assert torch.equal(model(images).vertices, again(images).vertices)


def test_a_foreign_backbone_is_named_by_hand(rule_body_dir: Path, tmp_path: Path) -> None:
    options = {"arch": "resnet10t", "widths": (64, 32), "hidden": (64, 48)}
    model = tore.create_model(body_dir=rule_body_dir, **options).eval()
    tore.save_published(model, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="name it with arch="):
        tore.load_model(tmp_path / "a.bin", rule_body_dir)
    again = tore.load_model(tmp_path / "a.bin", rule_body_dir, device="cpu", arch="resnet10t")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_float64_files_make_float64_networks(rule_body_dir: Path, tmp_path: Path) -> None:
    model = tore.create_model(arch="resnet10t", widths=(64, 32), hidden=(64, 48), body_dir=rule_body_dir).double()
    tore.save_model(model, tmp_path / "a.pt")
    assert tore.load_model(tmp_path / "a.pt", rule_body_dir, device="cpu").camera_token.dtype == torch.float64


def test_every_wrong_entry_is_listed_by_part(rule_body_dir: Path, tmp_path: Path) -> None:
    entries = rule_state_dict("tore_fastmetro_L_resnet50_keep0.8")
    del entries["dim_reduce_enc.bias"], entries["transformer_3.encoder.norm.weight"]
    entries["mystery.weight"] = torch.zeros(3)
    entries["cam_predictor.weight"] = torch.zeros(4, 128)
    torch.save(entries, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="does not fit") as caught:
        tore.load_model(tmp_path / "a.bin", rule_body_dir)
    text = str(caught.value)
    assert "missing in reduce_memory (1): reduce_memory.bias" in text
    assert "missing in shape_regressor (1): shape_regressor.transformer.encoder_norm.weight" in text
    assert "unexpected in unknown part (1): mystery.weight" in text
    assert "camera_head.weight (4, 128) instead of (3, 128)" in text


def test_half_precision_file_is_loaded_in_full(rule_body_dir: Path, tmp_path: Path) -> None:
    model = tore.create_model("fastmetro", arch="test_resnet", size="S", body_dir=rule_body_dir).eval()
    model.backbone.trunk.bn1.running_var.fill_(1e6)  # beyond 16 bits
    tore.save_model(model, tmp_path / "full.pt")
    tore.save_model(model, tmp_path / "half.pt", half=True)
    assert (tmp_path / "half.pt").stat().st_size < 0.6 * (tmp_path / "full.pt").stat().st_size
    loaded = tore.load_model(tmp_path / "half.pt", rule_body_dir, device="cpu").state_dict()
    learned = dict(model.named_parameters())
    for name, value in model.state_dict().items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value.half().float() if name in learned else value), name


def test_unknown_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="no checkpoint of FastMETRO or METRO"):
        read_checkpoint(tmp_path / "a.bin")
    torch.save([1, 2], tmp_path / "b.bin")
    with pytest.raises(ValueError, match="no flat dictionary"):
        read_checkpoint(tmp_path / "b.bin")


class Trap:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": Trap(tmp_path / "touched")}, tmp_path / "model.bin")
    with pytest.raises(ValueError, match=r"model\.bin holds pickled code.*state_dict\.bin"):
        read_checkpoint(tmp_path / "model.bin")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.bin")
    with pytest.raises(ValueError, match=r"state_dict\.bin"):
        read_checkpoint(tmp_path / "module.bin")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Trap(tmp_path / "touched")))
    with pytest.raises(ValueError, match=r"plain\.bin"):
        read_checkpoint(tmp_path / "plain.bin")
    assert not (tmp_path / "touched").exists()


def test_damaged_files(tmp_path: Path) -> None:
    torch.save({"transformer_1.a": torch.zeros(1000)}, tmp_path / "a.bin")
    whole = (tmp_path / "a.bin").read_bytes()
    for name, content in {"half": whole[: len(whole) // 2], "empty": b"", "text": b"hi, no checkpoint"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint or is damaged") as caught:
            read_checkpoint(tmp_path / name)
        assert "(105)" not in str(caught.value), "the first byte that torch's reader does not know says nothing"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.bin is missing"):
        read_checkpoint(tmp_path / "nowhere.bin")
    with pytest.raises(FileNotFoundError, match="is a folder without"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("arch", "classifier"), [("resnet50", "fc"), ("efficientnet-b0", "_fc"), ("hrnet", "classifier")]
)
def test_imagenet_files(arch: str, classifier: str, tmp_path: Path) -> None:
    source, target = Backbone(arch), Backbone(arch)
    state = source.trunk.state_dict()
    if arch == "resnet50":  # torchvision's file has timm's names
        entries = dict(state)
    else:
        official = backbone_names(state, to_official=True, arch=arch)
        entries = {official[name]: value for name, value in state.items()}
    entries[f"{classifier}.weight"] = torch.zeros(1000, source.channels)
    torch.save(entries, tmp_path / "w.pth")
    load_backbone_weights(target, tmp_path / "w.pth")
    assert all(torch.equal(state[name], value) for name, value in target.trunk.state_dict().items())
    with pytest.raises(ValueError, match="is no weight file of resnet10t"):
        load_backbone_weights(Backbone("resnet10t"), tmp_path / "w.pth")
