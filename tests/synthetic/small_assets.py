"""Small files in MakeHuman's formats, which the tests write themselves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tore.synthetic.garments import free_mesh

SCALES = "x_scale 5399 11998 1.4\nz_scale 962 5320 1.9\ny_scale 791 881 2.3\n"
SUIT = ((0.0, 0.28, 0.08), (0.1, 0.1, 0.08), (-0.1, 0.1, 0.08), (0.08, -0.5, 0.05), (-0.08, -0.5, 0.05))
HAIR = ((0.0, 0.54, -0.02), (0.05, 0.5, -0.02), (-0.05, 0.5, -0.02), (0.0, 0.45, -0.1), (0.0, 0.52, 0.05))
SHOES = ((0.1, -1.05, 0.05), (0.12, -1.03, -0.03), (0.08, -1.03, 0.0), (-0.1, -1.05, 0.05), (-0.1, -1.03, -0.03))


def base_rows(places: tuple[tuple[float, ...], ...]) -> list[int]:
    """The base points that lie nearest to places on the mean person."""
    base = free_mesh().base[:13380]
    return [int(np.linalg.norm(base - place, axis=1).argmin()) for place in places]


def write_piece(
    folder: Path, name: str, places: tuple[tuple[float, ...], ...], *, tags: str = "", delete: str = ""
) -> Path:
    """Five vertices at the base points of `places`, two triangles, a material and its texture; returns the mhclo."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = base_rows(places)
    held = [str(rows[0]), *(f"{row} {row} {rows[0]} 0.5 0.5 0.0 0.01 0.02 0.1" for row in rows[1:])]
    head = f"# made by a test\nbasemesh hm08\nname {name}\n{tags}obj_file {name}.obj\n{SCALES}material {name}.mhmat\n"
    path = folder / f"{name}.mhclo"
    deleted = f"delete_verts\n{delete}\n" if delete else ""
    path.write_text(f"{head}verts 0\n" + "\n".join(held) + "\n" + deleted)
    vertices = "".join(f"v {x} {y} {z}\n" for x, y, z in places)
    uv = "vt 0.1 0.1\nvt 0.9 0.1\nvt 0.5 0.9\n"
    (folder / f"{name}.obj").write_text(f"{vertices}{uv}f 1/1 2/2 3/3\nf 3/1 4/2 5/3\n")
    write_texture(folder, name)
    return path


def write_strip(folder: Path, name: str, place: tuple[float, ...], length: int = 32) -> Path:
    """A strip of 2 x `length` vertices at one base point, with material and texture; returns the mhclo."""
    folder.mkdir(parents=True, exist_ok=True)
    row = base_rows((place,))[0]
    head = f"basemesh hm08\nname {name}\nobj_file {name}.obj\n{SCALES}material {name}.mhmat\n"
    path = folder / f"{name}.mhclo"
    path.write_text(f"{head}verts 0\n" + f"{row}\n" * (2 * length))
    corners = "v 0 0 0\n" * (2 * length) + "vt 0 0\nvt 1 0\nvt 1 1\n"
    faces = "".join(f"f {k}/1 {k + 1}/2 {k + 2}/3\n" for k in range(1, 2 * length - 1))
    (folder / f"{name}.obj").write_text(corners + faces)
    write_texture(folder, name)
    return path


def write_texture(folder: Path, name: str) -> None:
    """A material and the texture that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.mhmat").write_text(f"name {name}\ndiffuseColor 1 1 1\ndiffuseTexture {name}.png\n")
    image = np.full((16, 16, 3), (120, 160, 200), np.uint8)
    image[4:8] = 90
    cv2.imwrite(str(folder / f"{name}.png"), image)


def write_panorama(path: Path) -> None:
    """A small Radiance image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.linspace(0, 2, 8 * 16 * 3, dtype=np.float32).reshape(8, 16, 3)
    cv2.imwrite(str(path), image)


def write_assets(folder: Path) -> Path:
    """A folder laid out as MakeHuman's own, with a little of each kind."""
    for number in (1, 2, 3):
        for gender in ("female", "male"):
            name = f"{gender}_suit0{number}"
            write_piece(folder / "clothes" / name, name, SUIT, tags=f"tag {gender}\n", delete="0 - 20 30")
            skin = f"young_lightskinned_{gender}{number}"
            write_texture(folder / "skins" / skin, skin)
        write_piece(folder / "clothes" / f"shoes0{number}", f"shoes0{number}", SHOES)
        write_piece(folder / "hair" / f"short0{number}", f"short0{number}", HAIR)
        write_piece(folder / "eyebrows" / f"eyebrow00{number}", f"eyebrow00{number}", HAIR)
        write_panorama(folder / "hdri" / f"sky{number}.hdr")
    return folder
