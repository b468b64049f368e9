"""Every kind of input, dtype and layout gives the pixels of the file, or one sentence that says what was given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests import rules
from tore.inference.images import read_image
from tore.inference.predictor import MeshRecovery

DTYPES = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "bfloat16", "float32", "float64"]
ROUNDING = {"bfloat16": 1}  # levels of 255; 8 bits between 0 and 1 do not tell all of them


def image_of(channels: str) -> np.ndarray:
    """(240, 200, n) uint8."""
    photo = rules.photo(3, 240, 200)
    if channels == "gray":
        return photo[:, :, :1]
    return photo if channels == "RGB" else np.dstack([photo, rules.photo(4, 240, 200)[:, :, 0]])


@pytest.mark.parametrize("channels", ["gray", "RGB", "RGBA"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_and_tensors_are_the_file(channels: str, dtype: str, tmp_path: Path) -> None:
    image = image_of(channels)
    Image.fromarray(image.squeeze()).save(tmp_path / "image.png")
    expected = read_image(tmp_path / "image.png").astype(int)
    tensor = torch.from_numpy(image).permute(2, 0, 1).to(getattr(torch, dtype))
    floats = dtype.endswith(("16", "32", "64")) and "float" in dtype
    forms: list[Any] = [tensor, tensor / 255] if floats else [tensor]
    if dtype != "bfloat16":
        forms += [form.permute(1, 2, 0).numpy() for form in list(forms)]
    if channels == "gray":
        forms += [form.squeeze() for form in list(forms)]
    for form in forms:
        assert np.abs(read_image(form) - expected).max() <= ROUNDING.get(dtype, 0)
    stated = read_image(tensor, value_range=(0, 255))
    assert np.abs(stated - expected).max() <= ROUNDING.get(dtype, 0)


@pytest.mark.parametrize("channels", ["gray", "RGB", "RGBA"])
def test_files_bytes_and_pillow_images_are_the_file(channels: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(image_of(channels).squeeze()).save(path)
    expected, content = read_image(path), path.read_bytes()
    later = io.BytesIO(b"before" + content)
    later.seek(6)
    with path.open("rb") as file, Image.open(path) as lazy:
        for source in (str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), file, lazy):
            assert np.array_equal(read_image(source), expected)
        assert file.tell() == 0
    assert np.array_equal(read_image(later), expected) and later.tell() == 6


def test_meshes_of_every_kind(recovery: MeshRecovery, tmp_path: Path) -> None:
    image = image_of("RGB")
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    expected = recovery.predict(path)[0].vertices
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    bgr = cv2.imread(str(path))
    for kind in (path.read_bytes(), image.astype(np.int16), (tensor / 255.0).bfloat16(), tensor.to(torch.uint16)):
        assert np.abs(recovery.predict(kind)[0].vertices - expected).max() < 1e-3
    assert np.array_equal(recovery.predict(bgr, channel_order="bgr")[0].vertices, expected)
    learned = (tensor / 255).requires_grad_()
    assert np.array_equal(recovery.predict(learned)[0].vertices, expected)


def test_channels_in_opencvs_order() -> None:
    image = image_of("RGBA")
    bgra = image[:, :, [2, 1, 0, 3]]
    for form in (bgra, torch.from_numpy(bgra).permute(2, 0, 1), bgra / 255):
        assert np.array_equal(read_image(form, channel_order="bgr"), read_image(image))
    assert np.array_equal(read_image(image[:, :, 0], channel_order="bgr"), read_image(image[:, :, 0]))


def test_a_stated_range() -> None:
    levels = np.arange(256).reshape(16, 16)
    expected = read_image(levels.astype(np.uint8))
    for values, stated in [
        (levels * 257, (0, 65535)),
        (levels / 127.5 - 1, (-1, 1)),
        (levels / 255, (0, 1)),
        ((levels - 128).astype(np.int8), (-128, 127)),
        (levels.astype(np.uint8), (0, 255)),
    ]:
        assert np.array_equal(read_image(values, value_range=stated), expected)
    assert read_image(np.array([[0, 1]]), value_range=(0, 1))[0, :, 0].tolist() == [0, 255]
    overshot = np.array([[-0.0015, 0.5, 1.0015]])  # a resize rounds so
    assert read_image(overshot)[0, :, 0].tolist() == [0, 128, 255]


def closed_image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image


FOUR = np.full((2, 2), 4.0)


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (np.full((2, 2), 256, np.uint16), {}, "values from 256 to 256; whole numbers count from 0 to 255.*value_range"),
        (np.full((2, 2), -1, np.int8), {}, "values from -1 to -1; whole numbers"),
        (np.array([[0, 1]]), {}, "0 and 1; give value_range"),
        (FOUR, {}, "values from 4 to 4; floats count .* these do not tell"),
        (FOUR * 100, {}, "values from 400 to 400; floats count"),
        (np.array([[-2.1, 2.6]]), {}, "before normalization"),
        (np.array([[-80.0, 90.0]]), {}, "values from -80 to 90; .* give value_range"),
        (FOUR * np.inf, {}, "not all finite"),
        (FOUR, {"value_range": (0, 2)}, "beyond the range 0 to 2"),
        (FOUR, {"value_range": (2, 2)}, "value_range is .*numbers that are black and white"),
        (FOUR, {"value_range": 255}, "value_range is 255"),
        (FOUR > 1, {"value_range": (0, 255)}, "booleans"),
        (FOUR, {"channel_order": "BGR"}, "channel_order is 'BGR'; give 'rgb' or 'bgr'"),
        (b"x", {"channel_order": "bgr"}, "is a bytes, which says .* itself"),
        ("a.png", {"value_range": (0, 4095)}, "a.png is a str, which says"),
        (FOUR * 1j, {}, "numbers .dtype complex128"),
        (np.array(["a.jpg", "b.jpg"]), {}, "array of text .*tolist"),
        (np.zeros((3, 20, 30)), {}, r"shape \(3, 20, 30\).*transpose\(1, 2, 0\)"),
        (torch.zeros(20, 30, 3), {}, r"shape \(20, 30, 3\).*permute\(2, 0, 1\)"),
        (torch.zeros(3, 2, 2).to_sparse(), {}, "layout torch.sparse_coo; give a dense one"),
        (torch.nested.nested_tensor([torch.zeros(3, 2, 2)], layout=torch.jagged), {}, "a nested tensor; give .*unbind"),
        (Image.fromarray(np.full((2, 2), 200, np.uint16)), {}, "200 in an image of 16 bits, which is black unless"),
        (torch.zeros(3, 2, 2, dtype=torch.complex64), {}, "complex"),
        (torch.zeros(3, 2, 2, device="meta"), {}, "meta device"),
        ("https://example.org/a.jpg", {}, "https://example.org/a.jpg is a URL"),
        (Path("https://example.org/a.jpg"), {}, "is a URL"),
        ("data:image/png;base64," + "A" * 5000, {}, r"data:image.{,200}\.\.\. \(5022 letters\).*"),
        ("a\0b", {}, "is no path"),
        (io.StringIO("text"), {}, "opened as text"),
        (io.BytesIO(b""), {}, "empty"),
        (b"no image", {}, "no image of a kind"),
        (None, {}, "is a NoneType; give a path"),
        ([[1, 2], [3, 4]], {}, "is a list; give a path"),
        (3.5, {}, "is a float"),
    ],
)  # fmt: skip
def test_one_sentence_for_the_rest(source: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        read_image(source, "" if isinstance(source, (str, Path)) else "image 7", **options)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation.*")
def test_quantized_tensors() -> None:
    with pytest.raises(ValueError, match="tensor is a quantized tensor; give its values"):
        read_image(torch.quantize_per_tensor(torch.ones(3, 2, 2), 0.1, 0, torch.quint8))


def test_files_that_cannot_be_read_any_more(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(image_of("RGB")).save(path)
    with pytest.raises(ValueError, match="image 2 is a closed Pillow image"):
        read_image(closed_image(path), "image 2")
    loaded = Image.open(path)
    loaded.load()
    loaded.close()
    with pytest.raises(ValueError, match="image is a closed Pillow image"):
        read_image(loaded)
    with path.open("rb") as file:
        file.seek(0, io.SEEK_END)
        with pytest.raises(ValueError, match="at its end"):
            read_image(file)
    with pytest.raises(ValueError, match=r"open file that cannot be read .*closed"):
        read_image(file)
