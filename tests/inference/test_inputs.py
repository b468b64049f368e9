"""Which images are meant, in which order, and what their outputs are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore_runtime.inputs import find_images, output_stems


def touched(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_folders_patterns_and_files(tmp_path: Path) -> None:
    a, b, drawn, note = touched(tmp_path, "a b.jpg", "ü.PNG", "a b_tore_pred.jpg", "note.txt")
    (tmp_path / "inner.jpg").mkdir()
    inner = tmp_path / "inner.jpg"
    assert find_images([tmp_path]) == [a, inner, b]
    assert find_images([tmp_path / "*.jpg"]) == [a, inner]
    assert find_images([f"{tmp_path}/[ü]*"]) == [b]
    assert find_images([b, tmp_path, a, drawn, note]) == [b, a, inner, drawn, note]
    (odd,) = touched(tmp_path, "c[1].jpg")
    assert find_images([odd]) == [odd]


def test_negative_numbers_lie_below_all_others(tmp_path: Path) -> None:
    names = ("-100.jpg", "-20.jpg", "-12.jpg", "-3.jpg", "0.jpg", "2.jpg", "10.jpg", "a-1.jpg", "a-2.jpg")
    paths = touched(tmp_path, *names)
    assert find_images([tmp_path]) == paths


def test_a_url_is_told_as_one() -> None:
    with pytest.raises(ValueError, match=r"https://a\.org/a\.jpg is a URL; fetch it"):
        find_images(["https://a.org/a.jpg"])


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    touched(tmp_path, "note.txt", "own_pred.jpg")
    for name, sentence in (
        (tmp_path, "holds no image but 1 with 'pred' in the name, as results have it: 'own_pred.jpg'"),
        ("no.jpg", "missing"),
        (tmp_path / "*.png", "holds no image$"),
    ):
        with pytest.raises(FileNotFoundError, match=sentence):
            find_images([name])


def test_outputs_never_share_a_name(tmp_path: Path) -> None:
    images = [Path(p) for p in ("x/a.jpg", "x/a.png", "x/A.gif", "x/b.jpg", "y/b.jpg", "y/a.png.jpg")]
    assert [stem.as_posix() for stem in output_stems(images, None)] == [
        "x/a.jpg", "x/a.png", "x/A.gif", "x/b", "y/b", "y/a.png",
    ]  # fmt: skip
    stems = output_stems(images, Path("out"))
    assert [stem.as_posix() for stem in stems] == [
        "out/a.jpg", "out/a.png", "out/A.gif", "out/b.jpg", "out/b.jpg_2", "out/a.png_2",
    ]  # fmt: skip
    many = [Path("a.jpg"), Path("b/a.jpg"), Path("c/a.jpg"), Path("a.jpg_2.png"), Path("A.JPG_2.png")]
    names = [str(stem).casefold() for stem in output_stems(many, tmp_path)]
    assert len(set(names)) == len(names)


def test_frames_come_in_natural_order(tmp_path: Path) -> None:
    """However they are named: by a folder, a pattern, or the list that a shell makes of an unquoted pattern."""
    frames = ["frame1.jpg", "frame1-2.jpg", "frame1-10.jpg", "frame02.jpg", "frame10.jpg", "frame0100.jpg"]
    frames += ["frame" + "9" * 40 + ".jpg", "frame-1.jpg", "frame-2.jpg", "frame-10.jpg"]
    paths = touched(tmp_path, *frames)
    assert find_images([tmp_path]) == paths and find_images([tmp_path / "*.jpg"]) == paths
    said: list[str] = []
    assert find_images(sorted(paths), said.append) == paths
    assert said == ["the 10 images are taken in natural order, frame1-2.jpg after frame1.jpg"]
    chosen = [paths[9], paths[0], paths[3]]
    assert find_images(chosen, said.append) == chosen and len(said) == 1


def test_images_that_may_be_no_results_are_named(tmp_path: Path) -> None:
    plain, unpredictable, _ = touched(tmp_path, "a.jpg", "unpredictable.jpg", "a_tore_pred.jpg")
    said: list[str] = []
    assert find_images([tmp_path], said.append) == [plain]
    (line,) = said
    assert "left out 1 with 'pred' in the name" in line and "'unpredictable.jpg'" in line and "a_tore" not in line
    assert find_images([unpredictable], said.append) == [unpredictable] and len(said) == 1
