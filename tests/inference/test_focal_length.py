"""Focal lengths of photographs whose EXIF entries Pillow writes: portrait, rotated, cropped, resized, zero, absurd."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational

from tests import rules
from tests.inference.conftest import KnownNetwork
from tore import cli
from tore.body.body_model import BodyModel
from tore.cli.infer import official_main
from tore.inference.images import read_photograph
from tore.inference.predictor import MeshRecovery
from tore_runtime.focal_length import FocalChoice, FocalLength, Lens, focal_length_of, lens_of, summary

Standing = tuple[np.ndarray, BodyModel]
WIDTH, HEIGHT = 403, 302
PHONE = {Base.FocalLengthIn35mmFilm: 26, Base.ExifImageWidth: WIDTH, Base.ExifImageHeight: HEIGHT}
EXPECTED = 26 / 43.2666 * math.hypot(WIDTH, HEIGHT)  # 302.7 pixels


def photograph(size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int | None = None, **entries: Any) -> bytes:
    """A JPEG file of (width, height) with EXIF entries of these names, of a phone where there are none."""
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update({Base[name]: value for name, value in entries.items()} or PHONE)
    if orientation is not None:
        exif[Base.Orientation] = orientation
    stream = io.BytesIO()
    Image.fromarray(rules.photo(1, size[1], size[0])).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def found(content: bytes) -> tuple[tuple[int, int], FocalLength]:
    """Size (height, width) as it is shown, and what is chosen without flags."""
    image, lens = read_photograph(content)
    size = (image.shape[0], image.shape[1])
    return size, FocalChoice().of(size, lens)


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (HEIGHT, WIDTH)])
def test_landscape_portrait_and_rotated(size: tuple[int, int], orientation: int | None) -> None:
    """(302, 403) with EXIF's 403 x 302 is what programs leave that rotate the pixels only."""
    shown, focal = found(photograph(size, orientation))
    assert shown == (size if orientation in (6, 8) else size[::-1])
    assert (focal.source, focal.detail) == ("exif", "26 mm equivalent") and focal.pixels == pytest.approx(EXPECTED)


def test_a_resized_photograph_has_the_same_field_of_view() -> None:
    focal = found(photograph((1209, 906)))[1]
    assert focal.source == "exif" and focal.pixels == pytest.approx(3 * EXPECTED)


@pytest.mark.parametrize("size", [(200, 300), (403, 200), (250, 250)])
def test_a_part_keeps_the_focal_length_of_the_whole(size: tuple[int, int]) -> None:
    focal = found(photograph(size))[1]
    assert focal.source == "exif" and focal.pixels == pytest.approx(EXPECTED)
    assert f"EXIF says 403 x 302 pixels, the image has {size[0]} x {size[1]}: taken as a part" in focal.detail
    whole = Image.open(io.BytesIO(photograph()))
    assert lens_of(whole.crop((9, 9, 9 + size[0], 9 + size[1]))) == Lens(focal.pixels, focal.detail)


def test_an_image_that_is_no_part_of_exifs_is_not_trusted() -> None:
    (height, width), focal = found(photograph((500, 200)))
    assert focal.source == "diagonal" and focal.pixels == math.hypot(height, width)
    assert focal.detail == "EXIF is not usable: EXIF says 403 x 302 pixels, the image has 500 x 200"


SIZED = {"ExifImageWidth": WIDTH, "ExifImageHeight": HEIGHT}
PLANE = {"FocalLength": 4.25, "FocalPlaneXResolution": 630.0, "FocalPlaneResolutionUnit": 3} | SIZED
BY_PLANE = "4.25 mm and 63 pixels per mm"
LARGER = {"ExifImageWidth": 4 * WIDTH, "ExifImageHeight": 4 * HEIGHT, "FocalPlaneXResolution": 2520.0}


@pytest.mark.parametrize(
    ("entries", "pixels", "detail"),
    [
        (PLANE, 4.25 * 63, BY_PLANE),
        (PLANE | {"FocalPlaneResolutionUnit": 2, "FocalPlaneXResolution": 63 * 25.4}, 4.25 * 63, BY_PLANE),
        (PLANE | LARGER, 4.25 * 63, BY_PLANE),
        (PLANE | {"FocalLengthIn35mmFilm": 0}, 4.25 * 63, BY_PLANE),
        (PLANE | {"FocalLengthIn35mmFilm": 26}, EXPECTED, "26 mm equivalent"),
        (PLANE | {"FocalLengthIn35mmFilm": 65535}, 4.25 * 63, BY_PLANE),
    ],
)
def test_the_resolution_of_the_sensor(entries: dict, pixels: float, detail: str) -> None:
    focal = found(photograph(**entries))[1]
    assert (focal.source, focal.detail) == ("exif", detail) and focal.pixels == pytest.approx(pixels, rel=1e-5)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"ExifImageWidth": WIDTH}, "no EXIF focal length"),
        ({"FocalLength": 4.25}, "no EXIF focal length"),
        ({"FocalLengthIn35mmFilm": 0}, "EXIF is not usable: 0 mm equivalent"),
        ({"FocalLengthIn35mmFilm": 1}, "EXIF is not usable: 1 mm equivalent would be a field of view of 173 degrees"),
        ({"FocalLengthIn35mmFilm": 5000}, "EXIF is not usable: 5000 mm equivalent would be .* of 0.397 degrees"),
        (PLANE | {"FocalLength": 0.0}, "EXIF is not usable: 0 mm and 63 pixels per mm"),
        (PLANE | {"FocalPlaneResolutionUnit": 9}, "EXIF .*: 4.25 mm and nan pixels per mm would be a sensor of nan mm"),
        (PLANE | {"FocalPlaneXResolution": 9600.0}, "EXIF .* 960 pixels per mm would be a sensor of 0.42 mm"),
        (PLANE | {"ExifImageWidth": 0}, f"EXIF is not usable: {BY_PLANE} without the size of the image .*"),
        (PLANE | {"FocalLength": IFDRational(1, 0)}, "EXIF is not usable: nan mm and 63 pixels per mm"),
        ({"FocalLengthIn35mmFilm": "wide"}, "EXIF is not usable: nan mm equivalent"),
    ],
)
def test_missing_zero_and_absurd(entries: dict, reason: str) -> None:
    focal = found(photograph(**entries))[1]
    assert focal.source == "diagonal" and focal.pixels == math.hypot(WIDTH, HEIGHT)
    assert re.fullmatch(reason, focal.detail)


def test_files_without_exif_and_with_a_damaged_one(tmp_path: Path) -> None:
    Image.fromarray(rules.photo(1, 60, 80)).save(tmp_path / "plain.png")
    assert read_photograph(tmp_path / "plain.png").lens == Lens() == read_photograph(rules.photo(1, 60, 80)).lens
    content = photograph()
    damaged = content.replace(b"Exif\0\0II*\0", b"Exif\0\0II*\xff").replace(b"Exif\0\0MM\0*", b"Exif\0\0MM\xff*")
    assert damaged != content and read_photograph(damaged).lens.focal_length is None


def test_given_ones() -> None:
    size, lens = (300, 400), Lens(777.0, "26 mm equivalent")
    assert FocalChoice(500).of(size, lens) == FocalLength(500, "given")
    assert "180 degrees of view; pixels are meant" in FocalChoice(0.26).of(size, lens).detail
    fov = FocalChoice(fov=60).of(size, lens)
    assert fov.pixels == pytest.approx(200 / math.tan(math.pi / 6)) and fov.source == "fov"
    assert FocalChoice("official").of(size, lens).pixels == 1000 * 300 / 224
    assert focal_length_of(90, (300, 400)) == pytest.approx(200)


@pytest.mark.parametrize(
    ("focal_length", "fov", "sentence"),
    [
        (500, 60, "focal length 500 and field of view 60: give one of the two"),
        (-1, None, "focal length -1"),
        ("wide", None, "focal length 'wide'"),
        (None, 0.5, "field of view 0.5: give degrees"),
        (None, 179, "2 to 150"),
        (None, "wide", "field of view 'wide'"),
    ],
)
def test_what_cannot_be(focal_length: Any, fov: Any, sentence: str, recovery: MeshRecovery) -> None:
    for call in (recovery.predict, recovery.iter_predict):
        with pytest.raises(ValueError, match=sentence):
            call("never_read.jpg", focal_length=focal_length, fov=fov)


def test_a_phones_people_are_4_5_times_nearer_than_in_the_official_code(standing: Standing) -> None:
    """And all that is drawn and saved goes by the one camera."""
    people = {}
    for choice in (None, "official"):
        network = MeshRecovery(KnownNetwork(np.array([[0.9, 0, 0]]), standing[0]), standing[1])
        exif = {"FocalLengthIn35mmFilm": 26, "ExifImageWidth": 4032, "ExifImageHeight": 3024}
        (people[choice],) = network.predict(photograph((1008, 756), **exif), focal_length=choice)
    ratio = people["official"].translation[2] / people[None].translation[2]
    assert ratio == pytest.approx(756 / 0.224 / (26 / 43.2666 * 1260)) == pytest.approx(4.457, abs=1e-3)
    assert people[None].image_camera.focal_length == people[None].focal_length.pixels


def test_a_small_object_lies_where_the_weak_camera_says(standing: Standing) -> None:
    """Full perspective of a mesh of a millimeter, at any focal length, in crops anywhere in the image."""
    for length in (150.0, 400.0, 9000.0):
        cameras = np.array([[900.0, 3e-4, -2e-4], [500.0, -1e-4, 4e-4]])
        network = MeshRecovery(KnownNetwork(cameras, standing[0] / 1000), standing[1])
        boxes = [(10, 20, 100, 150), (250, 60, 120, 80)]
        for person in network.predict(rules.photo(5, 240, 320), boxes, focal_length=length):
            seen = person.image_camera.project(person.vertices + person.translation)
            apart = np.ptp(seen, axis=0).max() * np.abs(person.vertices[:, 2]).max() / person.translation[2]
            assert np.abs(seen - person.to_pixels(person.vertices)).max() < 3 * apart + 1e-2


def test_people_of_one_image_share_the_camera(standing: Standing) -> None:
    """The same mesh and crop camera in a box of half the size stands twice as far away."""
    network = MeshRecovery(KnownNetwork(np.array([[0.9, 0, 0]] * 2), standing[0]), standing[1])
    near, far = network.predict(photograph(), [(10, 20, 100, 200), (250, 60, 50, 100)])
    assert near.image_camera == far.image_camera and near.focal_length == far.focal_length
    assert far.translation[2] == pytest.approx(2 * near.translation[2])


def infer(main: Any, checkpoint: Path, folder: Path, *options: str) -> list[dict]:
    """The results of the images of a folder, by a command."""
    call = ["--checkpoint", str(checkpoint), "--images", str(folder), "--device", "cpu", "--no_overlay"]
    call += ["--detector", "none"]
    out = folder.parent / "out"
    assert main([*call, "--save_results", "json", "--output_dir", str(out), "--overwrite", *options]) == 0
    return [json.loads(path.read_text()) for path in sorted(out.iterdir())]


def test_the_command_saves_the_source_and_says_it_once(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "in").mkdir()
    for name, content in (("a.jpg", photograph()), ("b.jpg", photograph()), ("c.jpg", photograph(FocalLength=4.25))):
        (folder / name).write_bytes(content)
    command = lambda argv: cli.main(["infer", *argv])  # noqa: E731
    held = infer(command, small_checkpoint, folder)
    assert [one["focal_length_source"] for one in held] == ["exif", "exif", "diagonal"]
    assert held[0]["focal_length"] == pytest.approx(EXPECTED)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("focal length")] == [
        "focal length of 2 images, of a.jpg 303 pixels, exif (26 mm equivalent)",
        "focal length of c.jpg: 504 pixels, diagonal (no EXIF focal length)",
    ]
    assert {one["focal_length"] for one in infer(command, small_checkpoint, folder, "--focal_length", "700")} == {700}
    (given,) = {one["focal_length"] for one in infer(command, small_checkpoint, folder, "--fov", "90")}
    assert given == pytest.approx(WIDTH / 2)
    official = infer(official_main, small_checkpoint, folder)
    assert official == infer(command, small_checkpoint, folder, "--focal_length", "official")
    for one in official:
        scale, x, y = one["crop_camera"]
        assert np.allclose(one["translation"], [x, y, 2000 / (224 * scale)], atol=2e-3 * one["translation"][2])
    (fov,) = {one["focal_length_source"] for one in infer(official_main, small_checkpoint, folder, "--fov", "90")}
    assert fov == "fov"


def test_both_flags_are_one_too_many(small_checkpoint: Path, tmp_path: Path, capsys) -> None:
    Image.fromarray(rules.photo(1, 60, 60)).save(tmp_path / "one.png")
    call = ["infer", "--checkpoint", str(small_checkpoint), "--images", str(tmp_path), "--fov", "60"]
    assert cli.main([*call, "--focal_length", "500"]) == 2
    assert capsys.readouterr().err == "tore infer: focal length 500.0 and field of view 60.0: give one of the two\n"


def test_a_summary_of_many_origins_stays_short() -> None:
    lengths = [(f"{number}.jpg", FocalLength(100, "exif", f"{number % 9} mm equivalent")) for number in range(20)]
    lines = summary(lengths)
    assert len(lines) == 6 and lines[0] == "focal length of 3 images, of 0.jpg 100 pixels, exif (0 mm equivalent)"
    assert lines[-1] == "focal lengths of 4 more origins: results hold them" and summary([]) == []
