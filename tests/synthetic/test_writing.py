"""Writing a set: a smaller one is the beginning of a larger one, another one is kept, and wrong orders are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tore.cli import synth
from tore.datasets.mesh_dataset import MeshDataset
from tore.synthetic.scene import draw_background, find_photographs
from tore.synthetic.writing import Recipe, write_images

TABLES = ("img", "hw", "label", "linelist")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_smaller_set_is_the_beginning_of_a_larger_one(folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(kind="hand", split="val", seed=3, size=64, body_dir=str(folder))
    done: list[int] = []
    write_images(recipe, 5, tmp_path / "whole", progress=done.append)
    write_images(recipe, 2, tmp_path / "grown")
    write_images(recipe, 5, tmp_path / "grown")
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole") and sum(done) == 5
    names = [f"val.{table}.{suffix}" for table in TABLES for suffix in ("tsv", "tsv.crc32")]
    names += [f"val.{table}.lineidx" for table in TABLES[:3]]
    assert sorted(contents(tmp_path / "grown")) == sorted([*names, "val.yaml", "val.recipe.json"])


def test_another_set_is_never_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(kind="hand", split="val", seed=3, size=64, body_dir=str(folder))
    write_images(recipe, 3, tmp_path)
    before = contents(tmp_path)
    other = Recipe(kind="hand", split="val", seed=4, size=64, body_dir=str(folder))
    with pytest.raises(ValueError, match="made otherwise"):
        write_images(other, 3, tmp_path)
    with pytest.raises(ValueError, match="has 3 images, 2 are requested"):
        write_images(recipe, 2, tmp_path)
    assert contents(tmp_path) == before
    write_images(other, 2, tmp_path, overwrite=True)
    assert len(MeshDataset(tmp_path / "val.yaml", train=False, body="hand")) == 2
    (tmp_path / "val.recipe.json").unlink()
    with pytest.raises(ValueError, match="was not made here"):
        write_images(recipe, 3, tmp_path)


@pytest.mark.parametrize(
    ("change", "count", "sentence"),
    [
        ({"split": "test"}, 3, "split 'test'"),
        ({}, 0, "0 images make no set"),
        ({"size": 8}, 3, "a side from 32"),
        ({"seed": -1}, 3, "seed -1"),
        ({"kind": "foot"}, 3, "body kind 'foot'"),
    ],
)
def test_impossible_recipes_are_refused(change: dict, count: int, sentence: str, tmp_path: Path) -> None:
    recipe = Recipe(**{"kind": "hand", "split": "val", "seed": 3, "size": 64, "body_dir": str(tmp_path), **change})
    with pytest.raises(ValueError, match=sentence):
        write_images(recipe, count, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_both_splits_and_says_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["images", "--out", str(tmp_path / "set"), "--body", "hand", "--size", "48", "--workers", "1", "--quiet"]
    command += ["--data_dir", str(folder)]
    sheet = tmp_path / "pictures" / "sheet.jpg"
    assert synth.main([*command, "--train", "2", "--val", "1", "--sheet", str(sheet)]) == 0
    assert cv2.imread(str(sheet)) is not None
    assert "2 images of 48 x 48" in capsys.readouterr().out
    train, val = (
        MeshDataset(tmp_path / "set" / f"{split}.yaml", train=False, body="hand") for split in ("train", "val")
    )
    assert (len(train), len(val)) == (2, 1)
    assert synth.main(command) == 2 and "--train N" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert synth.main([*command, "--val", "1", "--overwrite", "--backgrounds", str(empty)]) == 2
    assert "holds no image" in capsys.readouterr().err


def test_photographs_become_backgrounds(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "green.png"), np.full((90, 160, 3), (30, 200, 60), np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    photographs = find_photographs(tmp_path)
    drawn = draw_background(np.random.RandomState(0), 64, photographs)
    assert drawn.shape == (64, 64, 3) and (drawn == (60, 200, 30)).all()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"broken\.jpg cannot be decoded"):
        draw_background(np.random.RandomState(0), 64, (tmp_path / "broken.jpg",))
