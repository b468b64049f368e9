"""Files of networks as other programs and broken disks leave them: the same weights, or one sentence."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tore
from manopth.torch_files import read_torch_file
from tore.engine.state import CheckpointFolder
from tore.paths import default_checkpoint

ARCH = "mobilenetv3_small_100"


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return tore.create_model("fastmetro", arch=ARCH, size="S", body_dir="synthetic")


def same(path: Path, network: Any, **options: Any) -> bool:
    """Whether the file gives the network's weights, step counters of batch norms aside."""
    loaded = tore.load_model(path, "synthetic", "cpu", **options).state_dict()
    held = network.state_dict()
    assert loaded.keys() == held.keys()
    return all(torch.equal(loaded[name], held[name]) for name in held)


@pytest.fixture(scope="module")
def official(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    path = tmp_path_factory.mktemp("official") / "state_dict.bin"
    tore.save_published(network, path)
    return torch.load(path, weights_only=True)


WRAPPINGS = {
    "compiled": lambda held: {"_orig_mod." + name: value for name, value in held.items()},
    "compiled in parallel": lambda held: {"module._orig_mod." + name: value for name, value in held.items()},
    "parallel and compiled": lambda held: {"_orig_mod.module.module." + name: value for name, value in held.items()},
    "a compiled part": lambda held: {name.replace("backbone.", "backbone._orig_mod."): v for name, v in held.items()},
    "of a framework": lambda held: {"state_dict": {"model." + name: value for name, value in held.items()}, "epoch": 3},
    "averaged": lambda held: {"ema": {"n_averaged": torch.tensor(3), **{"module." + n: v for n, v in held.items()}}},
    "deep": lambda held: {"net": {"model_state_dict": held}, "optimizer": {"state": {}, "param_groups": []}},
    "numpy numbers": lambda held: {"model": held, "best": np.float64(3), "n": np.int32(2), "curve": np.arange(3.0)},
    "without counters": lambda held: {n: v for n, v in held.items() if not n.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_wrapped_checkpoints_give_the_same_weights(
    name: str, official: dict[str, Tensor], network: Any, tmp_path: Path
) -> None:
    torch.save(WRAPPINGS[name](official), tmp_path / "x.bin")
    assert same(tmp_path / "x.bin", network, arch=ARCH)


def test_a_network_beside_its_average_is_asked_about(official: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": official, "ema": official}, tmp_path / "x.bin")
    with pytest.raises(ValueError, match=r"x\.bin holds several sets of tensors \(model, ema\)"):
        tore.load_model(tmp_path / "x.bin", "synthetic", "cpu", arch=ARCH)


def test_a_plain_state_dict_loads_with_the_arguments_it_lacks(network: Any, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "plain.bin")
    with pytest.raises(ValueError, match=r"plain\.bin is a plain state_dict.*arch=.*tore\.save_model"):
        tore.load_model(tmp_path / "plain.bin", "synthetic", "cpu")
    assert same(tmp_path / "plain.bin", network, arch=ARCH)


def test_a_reduction_without_weights_is_asked_about(tmp_path: Path) -> None:
    model = tore.create_model("fastmetro", arch=ARCH, size="S", body_dir="synthetic", token_reduction="tome")
    torch.save(model.state_dict(), tmp_path / "plain.bin")
    with pytest.raises(ValueError, match=r"image_reduction='none', or the name"):
        tore.load_model(tmp_path / "plain.bin", "synthetic", "cpu", arch=ARCH)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_wrapped_networks_are_saved_bare(network: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    wrapped = [
        nn.DataParallel(network),
        torch.compile(network),
        nn.DataParallel(torch.compile(network)),
        torch.optim.swa_utils.AveragedModel(nn.DataParallel(network)),
    ]
    for model in wrapped:
        tore.save_model(model, path)
        assert same(path, network)
    with pytest.raises(ValueError, match="a Linear is no FastMETRO or METRO network"):
        tore.save_model(nn.DataParallel(nn.Linear(2, 2)), path)


def test_a_changed_network_is_not_written(tmp_path: Path) -> None:
    model = tore.create_model("fastmetro", arch=ARCH, size="S", body_dir="synthetic")
    model.point_head = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"changed after it was made .*point_head"):
        tore.save_model(model, tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()


def test_numbers_that_are_not_finite_are_refused(network: Any, official: dict[str, Tensor], tmp_path: Path) -> None:
    name = "backbone.conv_stem.weight"
    for value in (float("nan"), float("inf")):
        torch.save(official | {name: torch.full_like(official[name], value)}, tmp_path / "x.bin")
        with pytest.raises(ValueError, match=r"x\.bin holds numbers that are not finite in 1 entries, such as b"):
            tore.load_model(tmp_path / "x.bin", "synthetic", "cpu", arch=ARCH)
    wide = copy.deepcopy(network)
    next(wide.parameters()).data.fill_(1e5)
    tore.save_model(wide, tmp_path / "wide.bin")
    assert same(tmp_path / "wide.bin", wide)
    with pytest.raises(ValueError, match=r"1 entries, such as .* not finite; leave half out"):
        tore.save_model(wide, tmp_path / "wide.bin", half=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantized_network_is_not_written(network: Any, tmp_path: Path) -> None:
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(network), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match="as in a quantized network"):
        tore.save_model(small, tmp_path / "x.bin")


def test_a_network_beside_other_modules_is_asked_about(official: dict[str, Tensor], tmp_path: Path) -> None:
    inside = {f"recovery.{name}": value for name, value in official.items()} | {"loss.weight": torch.ones(3)}
    torch.save({"state_dict": inside}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"with recovery, loss; .* save the network's own state_dict"):
        tore.load_model(tmp_path / "x.ckpt", "synthetic", "cpu")


def flipped(data: bytes, bit: int) -> bytes:
    held = bytearray(data)
    held[bit // 8] ^= 1 << bit % 8
    return bytes(held)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_no_flipped_bit_becomes_another_weight(network: Any, tmp_path: Path, ending: str) -> None:
    source, path = tmp_path / f"whole.{ending}", tmp_path / f"x.{ending}"
    tore.save_model(network, source)
    data, draw, refused = source.read_bytes(), random.Random(0), 0
    ends = [draw.randrange(8 * 4096) for _ in range(6)]
    for bit in ends + [8 * len(data) - 1 - bit for bit in ends] + [draw.randrange(8 * len(data)) for _ in range(8)]:
        path.write_bytes(flipped(data, bit))
        try:
            assert same(path, network), bit
        except ValueError as error:
            assert str(path) in str(error) or "x." in str(error)
            refused += 1
    assert refused >= 8  # in the middle there are weights alone


def test_a_damaged_record_is_named_and_switched_off_checksums_pass(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    torch.save({"a": torch.zeros(1000)}, path)
    middle = path.read_bytes().index(b"\0" * 4000) + 100
    path.write_bytes(flipped(path.read_bytes(), 8 * middle))
    with pytest.raises(ValueError, match=r"x\.bin is damaged: the record .*data/0"):
        read_torch_file(path)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(1000)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_torch_file(path)["a"], torch.arange(1000))


@pytest.mark.parametrize("cut", [slice(0, 100), slice(0, -50), slice(1, None), slice(4, None), slice(3000, None)])
@pytest.mark.parametrize("name", ["x.safetensors", "x.bin"])
def test_parts_of_the_shipped_file_are_refused(cut: slice, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(default_checkpoint("body").read_bytes()[cut])
    with pytest.raises(ValueError, match=r"x\.\w+ is not a \w+( file)? or is damaged"):
        tore.load_model(tmp_path / name, "synthetic", "cpu")


def test_the_older_checkpoint_is_taken_in_place_of_a_damaged_one(tmp_path: Path) -> None:
    folder, said = CheckpointFolder(tmp_path, keep=5), []
    for iteration in (1, 2, 3):
        state = {"iteration": iteration, "x": torch.zeros(5000)}
        folder.save(state, lambda path: path.write_bytes(b"x"), epoch=0, iteration=iteration)
    for number, name in ((3, "training.pt"), (2, "complete.json")):
        file = tmp_path / f"checkpoint-0-{number}" / name
        file.write_bytes(flipped(file.read_bytes(), 8 * (file.stat().st_size // 2 if number == 3 else 0)))
    assert folder.newest_sound(said.append) == tmp_path / "checkpoint-0-1"
    assert "complete.json is damaged" in said[0] and "training.pt is damaged: the record" in said[1]
    (tmp_path / "checkpoint-0-1" / "training.pt").unlink()
    with pytest.raises(ValueError, match="none of 3 checkpoints"):
        folder.newest_sound(said.append)
