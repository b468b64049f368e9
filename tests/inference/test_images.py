"""Every kind of image becomes the same (H, W, 3) uint8; what cannot is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tore.inference.images import read_image

GREY_MODES = ("1", "L", "LA", "I", "F", "I;16")


def in_mode(photo: np.ndarray, mode: str) -> Image.Image:
    """The photograph as a Pillow image of a mode, 16-bit ones stretched over their range."""
    image = Image.fromarray(photo)
    if mode in ("I;16", "I"):
        return Image.fromarray(np.array(image.convert("L")).astype(np.uint16) * 257).convert(mode)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    if mode in ("P", "PA"):
        return image.quantize(256).convert(mode)
    if mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    return image.convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La", "I;16"],
)
def test_every_mode(mode: str, photo: np.ndarray) -> None:
    read = read_image(in_mode(photo, mode))
    assert read.shape == photo.shape and read.dtype == np.uint8
    grey = mode in (*GREY_MODES, "La")
    expected = np.array(Image.fromarray(photo).convert("1" if mode == "1" else "L" if grey else "RGB").convert("RGB"))
    off = np.abs(read.astype(int) - expected)
    assert np.median(off) <= (0 if mode in ("1", "L", "RGB", "RGBA", "RGBX", "I;16", "I", "F") else 8), np.median(off)


@pytest.mark.parametrize(("name", "largest"), [("x.png", 0), ("x.bmp", 0), ("x.tif", 0), ("x.webp", 40), ("x.jpg", 40)])
def test_files(name: str, largest: int, photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / name, quality=95)
    for source in (tmp_path / name, str(tmp_path / name)):
        assert np.abs(read_image(source).astype(int) - photo).max() <= largest


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, photo: np.ndarray, tmp_path: Path) -> None:
    as_stored = {
        1: photo, 2: photo[:, ::-1], 3: photo[::-1, ::-1], 4: photo[::-1], 5: photo.transpose(1, 0, 2),
        6: np.rot90(photo, 1), 7: photo[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(photo, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(as_stored)).save(tmp_path / "turned.png", exif=exif)
    assert (read_image(tmp_path / "turned.png") == photo).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_metadata_that_cannot_be_read_turn_nothing(photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "odd.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert (read_image(tmp_path / "odd.png") == photo).all()


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    clear = np.zeros((2, 3, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    clear[1, 2] = (0, 0, 0, 51)
    Image.fromarray(clear, "RGBA").save(tmp_path / "clear.png")
    read = read_image(tmp_path / "clear.png")
    assert read[0, 0].tolist() == [10, 20, 30] and read[0, 1].tolist() == [255] * 3 and read[1, 2].tolist() == [204] * 3
    assert (read_image(clear) == read).all()
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    assert read_image(tmp_path / "palette.png").tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_sixteen_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "moving.gif") == (255, 0, 0)).all()


def test_arrays_and_tensors(photo: np.ndarray) -> None:
    grey = photo[:, :, :1]
    unit = photo.astype(np.float32) / 255
    for source in (photo, Image.fromarray(photo), unit, photo.astype(np.int64)):
        assert (read_image(source) == photo).all()
    for source in (torch.from_numpy(photo).permute(2, 0, 1), torch.from_numpy(unit).permute(2, 0, 1).double()):
        assert (read_image(source) == photo).all()
    for source in (grey, grey[:, :, 0], torch.from_numpy(grey[:, :, 0]), torch.from_numpy(grey).permute(2, 0, 1)):
        assert (read_image(source) == grey).all()
    assert read_image(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.full((2, 2), -1.0), "floats count from 0 to 1"),
        (np.full((2, 2), np.nan), "floats count from 0 to 1"),
        (np.full((2, 2), 70000), "count from 0 to 255"),
        (torch.zeros(3, 4, 5, 6), "tensors"),
        (np.array([["a"]]), "array"),
        (7, "is a int"),
    ],
)
def test_what_is_no_image(source: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_image(source)


def test_unreadable_files(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "film.MP4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(32))
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\nshowpage\n")
    Image.fromarray(photo).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    (tmp_path / "folder.jpg").mkdir()
    Image.new("1", (8, 8)).save(tmp_path / "vast.bmp")
    vast = bytearray((tmp_path / "vast.bmp").read_bytes())
    vast[18:26] = (20000).to_bytes(4, "little") * 2
    (tmp_path / "vast.bmp").write_bytes(vast)
    expected = {"empty.jpg": "0 bytes", "text.jpg": "no image of a kind", "cut.jpg": "cannot be decoded .*truncated"}
    expected["film.MP4"] = r"no image of a kind that Pillow reads; save the frames .*ffmpeg -i FILM FOLDER/%05d.jpg\)"
    expected["vast.bmp"] = "cannot be decoded .*400000000 pixels"
    for name, sentence in {**expected, "folder.jpg": "a folder", "script.eps": "no image of a kind"}.items():
        with pytest.raises(ValueError, match=f"{name}.*{sentence}"):
            read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_image(tmp_path / "nowhere.jpg")
