"""Readers of MakeHuman's files: points land where the format says, and broken files give their sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.synthetic.small_assets import HAIR, SUIT, base_rows, write_assets, write_piece, write_strip, write_texture
from tore.synthetic.assets import Assets, find_assets, read_panorama, read_texture
from tore.synthetic.cloth_colors import hair_texture
from tore.synthetic.clothes_files import read_clothes, read_material, read_mesh
from tore.synthetic.garments import free_mesh

KINDS = ("skins", "suits", "shoes", "hair", "eyebrows", "panoramas")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_assets(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def assets(folder: Path) -> Assets:
    return find_assets(folder)


def test_vertices_lie_where_the_format_says(folder: Path) -> None:
    base = free_mesh().base * np.array([1.1, 0.9, 1.2])  # another body
    placed = read_clothes(folder / "clothes" / "male_suit01" / "male_suit01.mhclo").hold.place(base)
    rows = base_rows(SUIT)
    decimeters = base * 10
    grown = [
        abs(decimeters[5399, 0] - decimeters[11998, 0]) / 1.4,
        abs(decimeters[791, 1] - decimeters[881, 1]) / 2.3,
        abs(decimeters[962, 2] - decimeters[5320, 2]) / 1.9,
    ]
    assert np.allclose(placed[0], base[rows[0]])
    for vertex, row in zip(placed[1:], rows[1:], strict=True):
        offset = np.array([0.01, 0.02, 0.1]) * grown
        assert np.allclose(vertex, (decimeters[row] + offset) / 10)


def test_ranges_of_hidden_points_are_whole(folder: Path) -> None:
    deleted = read_clothes(folder / "clothes" / "male_suit01" / "male_suit01.mhclo").hold.deleted
    assert deleted.tolist() == [*range(21), 30]


def test_a_face_of_four_becomes_two_and_rows_may_count_backward(tmp_path: Path) -> None:
    path = tmp_path / "quad.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 -1/-1\n")
    mesh = read_mesh(path)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]] == mesh.face_places.tolist()


def test_every_kind_is_found_with_its_wearers(assets: Assets) -> None:
    assert [len(getattr(assets, kind)) for kind in KINDS] == [6, 6, 3, 3, 3, 3]
    assert {(suit.name, suit.gender) for suit in assets.suits} >= {("female_suit01", "female"), ("male_suit01", "male")}
    assert {skin.gender for skin in assets.skins} == {"female", "male"} and {skin.age for skin in assets.skins} == {
        "young"
    }
    assert not assets.notes


def test_one_flat_folder_is_read_alike(folder: Path, tmp_path: Path, assets: Assets) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    flat = find_assets(tmp_path)
    for kind in KINDS:
        assert [entry.name for entry in getattr(flat, kind)] == [entry.name for entry in getattr(assets, kind)]


def test_parts_share_nothing_and_both_hold_every_kind(assets: Assets) -> None:
    train, heldout = assets.part("train"), assets.part("heldout")
    for kind in KINDS:
        mine, held = ({entry.name for entry in getattr(part, kind)} for part in (train, heldout))
        assert mine and held and not mine & held
        assert mine | held == {entry.name for entry in getattr(assets, kind)}
    assert {suit.gender for suit in heldout.suits} == {"female", "male"}


def test_another_part_is_refused(assets: Assets) -> None:
    with pytest.raises(ValueError, match="'val' is not known"):
        assets.part("val")


def test_images_are_read_as_rgba_and_linear_rgb(assets: Assets) -> None:
    texture = read_texture(assets.suits[0].texture, 16)
    assert texture.shape == (16, 16, 4) and texture[0, 0].tolist() == [200, 160, 120, 255]
    panorama = read_panorama(assets.panoramas[0].path)
    assert panorama.shape == (8, 16, 3) and abs(panorama[-1, -1, 0] - 2) < 0.02
    assert panorama[0, 0, 2] <= panorama[0, 0, 0]  # written as BGR, so red is the larger


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


BROKEN: list[tuple[str, str, str, str]] = [
    ("mhclo", "x_scale 5399 11998 1.4", "x_scale 5399 11998", "x_scale needs two base points and a length"),
    ("mhclo", "x_scale 5399 11998 1.4", "x_scale 5399 11998 0", "must be above 0"),
    ("mhclo", "y_scale 791 881", "y_scale 791 19158", "no point of MakeHuman's base mesh"),
    ("mhclo", "0.5 0.5 0.0 0.01 0.02 0.1", "0.5 0.5 0.0 nan 0.02 0.1", "should be finite numbers"),
    ("mhclo", "0.5 0.5 0.0 0.01 0.02 0.1", "0.5 0.5 0.0 one 0.02 0.1", "should be 6 numbers"),
    ("mhclo", "0.5 0.5 0.0 0.01 0.02 0.1", "0.5", "1, 6 or 9 numbers"),
    ("mhclo", "0 - 20 30", "0 -", "has no end"),
    ("obj", "f 1/1 2/2 3/3", "f 1 2 3", "no texture coordinate"),
    ("obj", "f 1/1 2/2 3/3", "f 1/1 2/2 9/3", "names a row"),
    ("obj", "f 1/1 2/2 3/3", "f 1/1 2/2", "three corners"),
    ("obj", "f 1/1 2/2 3/3", "f 1/1 2/2 x/3", "not like 12/7"),
    ("obj", "vt 0.1 0.1", "vt 0.1", "two numbers"),
    ("mhclo", "0 - 20 30", "20 - 10", "ends before it begins"),
    ("mhmat", "diffuseTexture suit.png", "diffuseTexture", "names no file"),
]


@pytest.mark.parametrize(("ending", "old", "new", "sentence"), BROKEN)
def test_a_broken_line_is_named(tmp_path: Path, ending: str, old: str, new: str, sentence: str) -> None:
    write_piece(tmp_path, "suit", SUIT, delete="0 - 20 30")
    path = tmp_path / f"suit.{ending}"
    line = line_of(path, old)
    text = path.read_text().replace(old, new, 1)
    path.write_text(text)
    read: dict[str, Callable[[Path], object]] = {"mhclo": read_clothes, "obj": read_mesh, "mhmat": read_material}
    with pytest.raises(ValueError, match=sentence) as caught:
        read[ending](path)
    assert f"{path}, line {line}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("basemesh hm08", "basemesh hm09", "base mesh 'hm09'"),
        ("obj_file suit.obj", "uuid 1", "no line `obj_file`"),
        ("obj_file suit.obj", "obj_file other.obj", "'other.obj', which is nowhere"),
        ("material suit.mhmat", "material other.mhmat", "'other.mhmat', which is nowhere"),
        ("verts 0", "tag verts", "stands before `verts`"),
    ],
)
def test_an_incomplete_piece_is_left_out_with_a_line(
    folder: Path, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = write_piece(tmp_path / "clothes" / "suit", "suit", SUIT)
    path.write_text(path.read_text().replace(old, new, 1))
    found = find_assets(tmp_path)
    assert len(found.suits) == 6 and len(found.notes) == 1
    assert str(path) in found.notes[0] and sentence in found.notes[0]


def test_a_mesh_of_another_size_and_a_broken_image_are_left_out(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    mesh = tmp_path / "clothes" / "male_suit01" / "male_suit01.obj"
    mesh.write_text("v 0 0 0\n" + mesh.read_text())
    (tmp_path / "clothes" / "male_suit02" / "male_suit02.png").write_bytes(b"")
    (tmp_path / "hdri" / "sky1.hdr").write_bytes((tmp_path / "hdri" / "sky2.hdr").read_bytes()[:90])
    (tmp_path / "hdri" / "sky.exr").write_bytes(b"")
    found = find_assets(tmp_path)
    assert len(found.suits) == 4 and len(found.panoramas) == 2
    assert [word for word in ("holds 5 vertices", "male_suit02.png", "sky1.hdr", "convert it to .hdr")
            if not any(word in note for note in found.notes)] == []  # fmt: skip


def test_missing_textures_of_suits_and_of_hair_are_made(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    strip = write_strip(tmp_path / "hair" / "long", "long", HAIR[0])
    for name in ("clothes/male_suit01/male_suit01", "hair/short01/short01", "hair/long/long"):
        (tmp_path / f"{name}.png").unlink()
    found = find_assets(tmp_path)
    pieces = {piece.name: piece for piece in (*found.suits, *found.hair)}
    assert pieces["male_suit01"].texture is None and pieces["long"].path == strip and pieces["long"].texture is None
    assert "short01" not in pieces  # single faces, which need a texture's alpha
    assert sorted(note.split(": ")[0] == "left out" for note in found.notes) == [False, False, True]
    strands = hair_texture(pieces["long"], np.array([90.0, 60.0, 40.0]))
    assert strands[..., 3].min() == 255 and np.abs(strands[..., :3].mean((0, 1)) - [90, 60, 40]).max() < 3


def test_a_folder_without_a_suit_says_what_it_has(tmp_path: Path) -> None:
    write_texture(tmp_path / "skins", "young_lightskinned_male")
    with pytest.raises(ValueError, match=r"no usable suit \(.mhclo\) of MakeHuman"):
        find_assets(tmp_path)
    (tmp_path / "makehuman_system_assets_cc0.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"makehuman_system_assets_cc0.zip: unzip it there"):
        find_assets(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        find_assets(tmp_path / "missing")
