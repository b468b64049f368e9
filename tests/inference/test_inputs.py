"""Which pictures are meant, which boxes are theirs, and what their outputs are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore.inference.inputs import boxes_for, find_pictures, output_stems, parse_box, read_boxes


def touched(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_folders_patterns_and_files(tmp_path: Path) -> None:
    a, b, drawn, note = touched(tmp_path, "a b.jpg", "ü.PNG", "a b_tore_pred.jpg", "note.txt")
    (tmp_path / "inner.jpg").mkdir()
    inner = tmp_path / "inner.jpg"
    assert find_pictures([tmp_path]) == [a, inner, b]
    assert find_pictures([tmp_path / "*.jpg"]) == [a, inner]
    assert find_pictures([f"{tmp_path}/[ü]*"]) == [b]
    assert find_pictures([b, tmp_path, a, drawn, note]) == [b, a, inner, drawn, note]
    (odd,) = touched(tmp_path, "c[1].jpg")
    assert find_pictures([odd]) == [odd]


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    touched(tmp_path, "note.txt", "own_pred.jpg")
    for name, sentence in ((tmp_path, "holds no picture"), ("no.jpg", "missing"), (tmp_path / "*.jpg", "matches no")):
        with pytest.raises(FileNotFoundError, match=sentence):
            find_pictures([name])


def test_outputs_never_share_a_name(tmp_path: Path) -> None:
    pictures = [Path(p) for p in ("x/a.jpg", "x/a.png", "x/A.gif", "x/b.jpg", "y/b.jpg", "y/a.png.jpg")]
    assert [stem.as_posix() for stem in output_stems(pictures, None)] == [
        "x/a.jpg", "x/a.png", "x/A.gif", "x/b", "y/b", "y/a.png",
    ]  # fmt: skip
    stems = output_stems(pictures, Path("out"))
    assert [stem.as_posix() for stem in stems] == [
        "out/a.jpg", "out/a.png", "out/A.gif", "out/b.jpg", "out/b.jpg_2", "out/a.png_2",
    ]  # fmt: skip
    many = [Path("a.jpg"), Path("b/a.jpg"), Path("c/a.jpg"), Path("a.jpg_2.png"), Path("A.JPG_2.png")]
    names = [str(stem).casefold() for stem in output_stems(many, tmp_path)]
    assert len(set(names)) == len(names)


def test_boxes(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text('{"a.jpg": [[1, 2, 3, 4], [5, 6, 7, 8.5]], "x/b.jpg": [1, 2, 3, 4]}')
    named = read_boxes(path)
    found = boxes_for([Path("somewhere/a.jpg"), Path("x/b.jpg"), Path("y/b.jpg")], named, "boxes.json")
    assert found == [[(1, 2, 3, 4), (5, 6, 7, 8.5)], [(1, 2, 3, 4)], None]
    assert parse_box("1,2.5,3,4") == (1, 2.5, 3, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[1,2,3,4]]", "holds a list"),
        ("{", "is not JSON"),
        ('{"a.jpg": [[1,2,3]]}', r"a\.jpg: boxes have shape"),
        ('{"a.jpg": [[1,2,3,"x"]]}', r"a\.jpg: boxes are lists of four numbers"),
        ('{"a.jpg": [[1,2],[3]]}', r"a\.jpg: boxes are lists of four numbers"),
        ('{"a.jpg": null}', r"a\.jpg: boxes"),
    ],
)
def test_wrong_box_files(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"boxes\.json.*{sentence}"):
        read_boxes(path)


def test_boxes_for_nobody(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        read_boxes(tmp_path / "boxes.json")
    with pytest.raises(ValueError, match=r"names none of the pictures; its first name is 'c\.jpg'"):
        boxes_for([Path("a.jpg")], {"c.jpg": [(1, 2, 3, 4)]}, "boxes.json")
    for text in ("1,2,3", "a,b,c,d", ""):
        with pytest.raises(ValueError, match="give x,y,width,height"):
            parse_box(text)
