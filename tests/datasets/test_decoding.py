"""Reading images faster: base64 and JPEG files cut to the rows that a crop reads give the same bytes and pixels."""

from __future__ import annotations

import base64
import binascii
import io

import cv2
import numpy as np
import pytest
from numpy.random import RandomState
from PIL import Image

from tests import rules
from tests.datasets.data_sets import encode, image_row
from tore.datasets.images import DECODERS, decode_base64, decode_bgr, decode_pure_base64, decoder_complaints, first_rows
from tore.datasets.sets import Place
from tore_runtime.crop import Crop
from tore_runtime.cutting import crop_image, rows_read

HEIGHT, WIDTH = 203, 150


def test_base64_of_every_length_and_letter() -> None:
    rng = RandomState(0)
    for length in [*range(1, 60), 999, 10_000, 100_001]:
        data = rng.bytes(length)
        text = base64.b64encode(data)
        assert decode_pure_base64(text) == data == decode_base64(text)
    letters = np.arange(256, dtype=np.uint8).tobytes() * 3
    assert decode_pure_base64(base64.b64encode(letters)) == letters


def test_torn_and_foreign_base64_is_what_python_makes_of_it() -> None:
    rng = RandomState(1)
    text = base64.b64encode(rng.bytes(500))
    odd = [b"", b"=", b"====", b"QQ==QQ==", b"QUI=QUI=", b"Q=Q=", b"QQ==\n", text[:-1], b" " + text, text[:-3] + b"==="]
    for _ in range(300):
        changed = bytearray(text)
        changed[rng.randint(len(text))] = rng.randint(256)
        odd.append(bytes(changed))
    for case in odd:
        try:
            expected: bytes | None = base64.b64decode(case)
        except binascii.Error:
            expected = None
            with pytest.raises(binascii.Error):
                decode_base64(case)
        else:
            assert decode_base64(case) == expected
        try:
            strict = base64.b64decode(case, validate=True) or None
        except binascii.Error:
            strict = None
        assert decode_pure_base64(case) == strict


def files() -> dict[str, tuple[bytes, bool]]:
    """JPEG files of every kind, and whether they can be cut."""
    image = rules.photo(3, HEIGHT, WIDTH)
    samplings = {
        name: getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}") for name in ("411", "420", "422", "440", "444")
    }
    made = {
        name: (encode(image, ".jpg", [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, value]), True)
        for name, value in samplings.items()
    }
    made["grey"] = encode(image[:, :, 0], ".jpg"), True
    made["optimised"] = encode(image, ".jpg", [cv2.IMWRITE_JPEG_OPTIMIZE, 1]), True
    made["progressive"] = encode(image, ".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), False
    made["restarts"] = encode(image, ".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]), False
    turned = Image.Exif()
    turned[0x112] = 6
    for name, options in (("cmyk", {}), ("turned", {"exif": turned})):
        file = io.BytesIO()
        Image.fromarray(image).convert("CMYK" if name == "cmyk" else "RGB").save(file, "JPEG", **options)
        made[name] = file.getvalue(), name == "cmyk"
    made["two images"] = made["420"][0] + made["444"][0], False
    made["no end"] = made["420"][0][:-2], False
    made["png"] = encode(image), False
    return made


@pytest.mark.parametrize("name", files())
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_the_first_rows_are_the_same_pixels(name: str, reduction: int) -> None:
    data, can_be_cut = files()[name]
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), DECODERS[reduction])
    heights = set()
    for rows in (0, 1, 7, 8, 9, 16, 17, 100, HEIGHT - 17, HEIGHT - 1, HEIGHT, 5000):
        cut = first_rows(data, rows, reduction)
        with decoder_complaints() as complaints:
            part = cv2.imdecode(np.frombuffer(cut, np.uint8), DECODERS[reduction])
        needed = min(-(-rows // reduction), len(whole))
        assert not complaints or name == "no end"
        assert len(part) >= needed and part.shape[1:] == whole.shape[1:]
        np.testing.assert_array_equal(part[:needed], whole[:needed])
        heights.add(len(part))
    assert (len(heights) > 1) == can_be_cut and (min(heights) < len(whole) / 3) == can_be_cut


def test_damaged_files_are_decoded_or_refused_as_without_cutting() -> None:
    data, place = files()["420"][0], Place(path=None, row=0)  # type: ignore[arg-type]
    for seed in range(150):
        rng = RandomState(seed)
        changed = bytearray(data)
        if seed % 3 == 0:
            del changed[rng.randint(len(data)) :]
        elif seed % 3 == 1:
            changed[rng.randint(700)] = rng.randint(256)
        else:
            at = rng.randint(len(data) // 2, len(data))
            del changed[at : at + 200]
        columns = [column.encode() for column in image_row("key", bytes(changed))]
        with decoder_complaints():
            outcomes = []
            for rows in (None, 60):
                try:
                    outcomes.append(decode_bgr(columns, place, rows=rows).shape[1:])
                except ValueError as error:
                    outcomes.append(str(error))
        assert outcomes[0] == outcomes[1], seed


@pytest.mark.parametrize("rotation", [0.0, 90.0, 180.0, 20.0, -77.0, 135.5])
def test_a_crop_reads_no_row_below_those_it_names(rotation: float) -> None:
    rng = RandomState(abs(int(rotation)))
    saved = 0
    for _ in range(12):
        height, width = rng.randint(100, 900, 2)
        image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
        center, scale = rng.uniform(-0.2, 1.2, 2) * [width, height], rng.uniform(0.2, 3)
        crop = Crop.of_label(center, scale, rotation)
        rows = rows_read(crop)
        saved += max(height - rows, 0)
        whole = crop_image(image, crop)
        np.testing.assert_array_equal(crop_image(image[: max(rows, 1)], crop), whole)
        if 0 < rows < height and whole.any():  # and not many more are named than are read
            shortened = crop_image(image[: max(rows - 12, 1)], crop)
            assert (shortened != whole).any() or rotation % 90
    assert saved > 100
