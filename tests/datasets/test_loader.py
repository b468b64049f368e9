"""Samplers cover what they should; loaders give the same batches for any number of workers."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests import rules
from tests.datasets.data_sets import write_set
from tests.processes import environment
from tore.datasets import loader as loader_module
from tore.datasets.loader import (
    EvalSampler,
    ReadByThreads,
    TrainSampler,
    begin_epoch,
    eval_loader,
    network_fills_cores,
    train_loader,
)
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import BadSample
from tore.engine.distributed import Processes
from tore.training.evaluate import validation_loader


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 12, 100])
def test_evaluation_shares_are_each_index_once(size: int, world: int) -> None:
    shares = [list(EvalSampler(size, rank, world)) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(size))
    assert [len(share) for share in shares] == [len(EvalSampler(size, rank, world)) for rank in range(world)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("world", [1, 2, 3])
def test_training_shares_are_disjoint_and_global_batches_do_not_depend_on_ranks(world: int) -> None:
    size, global_batch = 50, 6
    samplers = [TrainSampler(size, global_batch // world, 7, rank, world) for rank in range(world)]
    epochs = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        steps = [list(itertools.chain(*parts)) for parts in zip(*samplers, strict=True)]
        assert len(steps) == len(samplers[0]) == size // global_batch
        flat = list(itertools.chain(*steps))
        assert len(set(flat)) == len(flat)
        assert set(flat) <= set(range(size))
        epochs.append(steps)
    whole = TrainSampler(size, global_batch, 7)
    assert [sorted(step) for step in epochs[0]] == [sorted(step) for step in whole]
    assert epochs[0] != epochs[1]
    assert list(TrainSampler(size, global_batch, 8)) != list(whole)


def test_training_position_is_resumed() -> None:
    sampler = TrainSampler(40, 4, 1, 1, 2)
    sampler.set_epoch(3)
    whole = list(sampler)
    again = TrainSampler(40, 4, 1, 1, 2)
    again.set_epoch(3, 2)
    assert (list(again), len(again)) == (whole[2:], 3)
    assert list(sampler) == whole
    with pytest.raises(ValueError, match="iteration 6 does not lie in an epoch of 5"):
        again.set_epoch(0, 6)


def test_shares_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        EvalSampler(3, 2, 2)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        TrainSampler(3, 1, 0, 2, 2)
    with pytest.raises(ValueError, match="3 samples do not fill one batch of 2 on each of 2 processes"):
        TrainSampler(3, 2, 0, 0, 2)


@pytest.fixture(scope="module")
def spoiled_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [(seed, 60 + seed, 80) for seed in range(9)]
    labels = [rules.label(*source) for source in sources]
    del labels[4][0]["pose"]
    return write_set(tmp_path_factory.mktemp("spoiled"), sources, labels)


def two_epochs(yaml: Path, workers: int) -> tuple[list[dict], MeshDataset]:
    dataset = MeshDataset(yaml, train=True, seed=5, on_bad_sample="skip")
    loader, sampler = train_loader(dataset, batch_size=3, workers=workers)
    batches = []
    for epoch in range(2):
        begin_epoch(dataset, sampler, epoch)
        batches += list(loader)
    return batches, dataset


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_batches_do_not_depend_on_workers(spoiled_yaml: Path) -> None:
    expected, dataset = two_epochs(spoiled_yaml, 0)
    assert [len(batch["index"]) for batch in expected] == [3] * 6
    assert dataset.bad_samples.indices() == [4]
    for workers in (1, 4):
        batches, dataset = two_epochs(spoiled_yaml, workers)
        assert dataset.bad_samples.indices() == [4]
        assert "field 'pose' is missing" in dataset.bad_sample_summary()
        for batch, other in zip(batches, expected, strict=True):
            assert batch.keys() == other.keys()
            for name, value in batch.items():
                same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
                assert same, (workers, name)


def test_rows_that_another_process_passed_over_are_counted_too(spoiled_yaml: Path) -> None:
    met, unmet = (MeshDataset(spoiled_yaml, train=True, on_bad_sample="skip") for _ in range(2))
    _ = met[4]
    unmet.bad_samples.merge(lambda marks: torch.maximum(marks, torch.eye(9, dtype=marks.dtype)[4]))
    assert unmet.bad_samples.indices() == met.bad_samples.indices() == [4]
    assert unmet.bad_sample_summary() == met.bad_sample_summary()


def test_workers_start_after_opencv_has_used_threads(spoiled_yaml: Path) -> None:
    """A forked copy of OpenCV's thread pool would wait for ever."""
    cv2.setNumThreads(2)
    cv2.resize(np.zeros((2000, 2000, 3)), (900, 900))
    dataset = MeshDataset(spoiled_yaml, train=True, on_bad_sample="skip")
    loader, _ = train_loader(dataset, batch_size=3, workers=1)
    loader.timeout = 60
    assert len(list(loader)) == 3


def test_a_process_that_leaves_with_a_loader_open_ends(spoiled_yaml: Path) -> None:
    """The workers ignore SIGTERM, by which Python ends its children before it waits for them."""
    script = (
        "import sys\n"
        "from tore.datasets.loader import train_loader\n"
        "from tore.datasets.mesh_dataset import MeshDataset\n"
        "loader, _ = train_loader(MeshDataset(sys.argv[1], train=True, on_bad_sample='skip'), 3, workers=1)\n"
        "batches = iter(loader)\n"
        "print(len(next(batches)['index']), flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(spoiled_yaml)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_epochs_differ_in_order_and_draws(spoiled_yaml: Path) -> None:
    batches, _ = two_epochs(spoiled_yaml, 0)
    indices = torch.stack([batch["index"] for batch in batches])
    assert indices[:3].flatten().tolist() != indices[3:].flatten().tolist()
    one = {int(i): image for batch in batches[:3] for i, image in zip(batch["index"], batch["image"], strict=True)}
    two = {int(i): image for batch in batches[3:] for i, image in zip(batch["index"], batch["image"], strict=True)}
    assert one.keys() == two.keys() == set(range(9)) - {4}
    assert not any(torch.equal(one[i], two[i]) for i in one)


@pytest.mark.parametrize("train", [False, True])
def test_batches_read_by_threads_are_the_same(tmp_path: Path, train: bool) -> None:
    """Nine images in batches of four."""
    yaml = write_set(tmp_path, [(seed, 60 + seed, 80) for seed in range(9)])
    expected = list(eval_loader(MeshDataset(yaml, train), batch_size=4, workers=0))
    loader = eval_loader(MeshDataset(yaml, train), batch_size=4, workers=2, threads=True)
    assert isinstance(loader.dataset, ReadByThreads) and loader.num_workers == 0
    assert loader.dataset.pool._max_workers == min(2, loader_module.cores())
    for batch, other in zip(loader, expected, strict=True):
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]


def test_where_the_network_has_all_cores_threads_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [network_fills_cores(cpu, workers) for workers in (0, 4, 5)] == [False, False, True]
    assert not network_fills_cores(cuda, 5)
    yaml = write_set(tmp_path, [(1, 40, 50)])
    for workers, kind in ((4, MeshDataset), (5, ReadByThreads)):
        processes = Processes(device=cpu)
        loader = validation_loader(MeshDataset(yaml, False), batch_size=1, workers=workers, processes=processes)
        assert isinstance(loader.dataset, kind)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert [network_fills_cores(cpu, workers) for workers in (0, 1)] == [False, True]


def test_evaluation_never_skips(spoiled_yaml: Path) -> None:
    dataset = MeshDataset(spoiled_yaml, train=False)
    with pytest.raises(ValueError, match=r"set\.label\.tsv row 4 \(key 'pictures/4\.png'\): field 'pose' is missing"):
        list(eval_loader(dataset, batch_size=4, workers=0))
    with pytest.raises(BadSample, match=r"^/.*row 4 \(key 'pictures/4\.png'\): field 'pose' is missing$"):
        list(eval_loader(dataset, batch_size=4, workers=1))
    with pytest.raises(BadSample, match=r"^/.*row 4 \(key 'pictures/4\.png'\): field 'pose' is missing$"):
        list(eval_loader(dataset, batch_size=4, workers=2, threads=True))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_loaders_cover_the_set(tmp_path: Path, world: int) -> None:
    dataset = MeshDataset(write_set(tmp_path, [(seed, 40, 50) for seed in range(7)]), train=False)
    loaders = [eval_loader(dataset, batch_size=2, workers=0, rank=rank, world_size=world) for rank in range(world)]
    indices = [int(index) for loader in loaders for batch in loader for index in batch["index"]]
    assert sorted(indices) == list(range(7))
