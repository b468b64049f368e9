"""Images in TSV rows come out as inference shows them: upright, opaque, in 8 bits; sizes are those after rotation."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests import rules
from tests.datasets import sources
from tore.datasets.convert.spin import SpinAnnotations
from tore.datasets.convert.writing import convert
from tore.datasets.images import decode_bgr, decode_image, decoded_size
from tore.datasets.inspection.checking import check_set
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import Place
from tore.inference.images import read_image

PLACE = Place("set.img.tsv", 0)
TURNED = 0x0112
ORIENTATIONS = range(1, 9)


def row(data: bytes) -> list[bytes]:
    return [b"key", base64.b64encode(data)]


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(pixels: np.ndarray, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[TURNED] = orientation
    return file_of(Image.fromarray(pixels), kind, exif=exif.tobytes())


def odd_files() -> dict[str, bytes]:
    photo = Image.fromarray(rules.photo(3, 48, 64))
    clear = photo.convert("RGBA")
    clear.putalpha(Image.fromarray(np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)))
    palette = photo.convert("P")
    deep = (np.asarray(photo.convert("L"), np.uint16) * 257)[:, ::-1]
    return {
        "RGBA": file_of(clear, "PNG"),
        "LA": file_of(clear.convert("LA"), "PNG"),
        "palette": file_of(palette, "PNG"),
        "clear palette": file_of(palette, "PNG", transparency=int(np.asarray(palette)[0, 0])),
        "clear color": file_of(photo, "PNG", transparency=photo.getpixel((0, 0))),
        "16 bits": file_of(Image.fromarray(np.ascontiguousarray(deep)), "PNG"),
        "gray": file_of(photo.convert("L"), "PNG"),
        "1 bit": file_of(photo.convert("1"), "PNG"),
        "CMYK": file_of(photo.convert("CMYK"), "TIFF"),
        "clear WebP": file_of(clear, "WEBP", lossless=True),
        "GIF": file_of(palette, "GIF"),
        "BMP": file_of(photo, "BMP"),
    }


@pytest.mark.parametrize("name", odd_files())
def test_rows_are_read_as_inference_reads_files(name: str) -> None:
    data = odd_files()[name]
    expected = read_image(data)
    np.testing.assert_array_equal(decode_image(row(data), PLACE), expected)
    np.testing.assert_array_equal(decode_bgr(row(data), PLACE, rows=5)[:5, :, ::-1], expected[:5])
    assert decoded_size(data) == expected.shape[:2]
    halved = decode_bgr(row(data), PLACE, reduction=2)[:, :, ::-1]
    means = expected.reshape(24, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(halved - means).max() <= 1


def test_transparent_pixels_are_white_and_sixteen_bits_are_scaled() -> None:
    hidden = Image.fromarray(np.full((4, 5, 4), (200, 10, 10, 0), np.uint8))
    assert (decode_image(row(file_of(hidden, "PNG")), PLACE) == 255).all()
    deep = Image.fromarray(np.full((4, 5), 40000, np.uint16))
    assert (decode_image(row(file_of(deep, "PNG")), PLACE) == round(40000 / 257)).all()


def test_cmyk_jpegs_keep_their_colors() -> None:
    photo = rules.photo(3, 48, 64)
    data = file_of(Image.fromarray(photo).convert("CMYK"), "JPEG", quality=95)
    np.testing.assert_array_equal(decode_image(row(data), PLACE), read_image(data))


def test_usual_files_are_read_by_opencv_bit_for_bit() -> None:
    photo = rules.photo(3, 48, 64)
    for image in (photo, photo[:, :, 0]):
        for ending in (".jpg", ".png"):
            data = cv2.imencode(ending, image)[1].tobytes()
            plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(decode_bgr(row(data), PLACE), plain)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    """An image turned away and marked so comes back as the image; its size is that after the rotation."""
    upright = cv2.resize(rules.photo(3, 12, 16), (64, 48), interpolation=cv2.INTER_CUBIC)
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)  # the orientation that undoes it
    marked = Image.fromarray(upright)
    marked.getexif()[TURNED] = back
    stored = np.asarray(ImageOps.exif_transpose(marked))
    data = turned(stored, orientation, kind)
    assert decoded_size(data) == (48, 64)
    for found in (decode_image(row(data), PLACE), read_image(data)):
        assert found.shape == upright.shape and np.abs(found.astype(int) - upright).mean() < 4


def test_an_orientation_in_xmp_alone_counts_too() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    data = file_of(Image.fromarray(rules.photo(3, 48, 64)), "JPEG", xmp=xmp)
    assert decoded_size(data) == (64, 48)
    np.testing.assert_array_equal(decode_image(row(data), PLACE), read_image(data))


def test_our_check_accepts_our_conversion_of_turned_photographs(tmp_path: Path) -> None:
    arrays = sources.spin_arrays(8)
    arrays["imgname"] = np.array([f"photo{orientation}.jpg" for orientation in ORIENTATIONS])
    source = SpinAnnotations(sources.write_spin(tmp_path / "source", arrays))
    (images := tmp_path / "images").mkdir()
    for orientation in ORIENTATIONS:
        stored = rules.photo(orientation, 80, 120)
        (images / f"photo{orientation}.jpg").write_bytes(turned(stored, orientation, "JPEG"))
    convert(source, images, tmp_path / "out", "train", show_progress=False)
    dataset = MeshDataset(tmp_path / "out" / "train.yaml", train=False)
    assert [finding for finding in check_set(dataset).findings if finding.check == "hw row"] == []
    assert [dataset.image(index)[1].shape[:2] for index in range(8)] == [(80, 120)] * 4 + [(120, 80)] * 4
