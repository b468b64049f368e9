"""Reads images of every kind, tensors among them, as (H, W, 3) uint8 RGB by one rule (`tore_runtime.images`)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch

from tore_runtime import images
from tore_runtime.image_files import CHANNELS, ValueRange
from tore_runtime.images import Photograph

ImageSource: TypeAlias = images.ImageSource | torch.Tensor
TENSOR_SHAPES = "tensors are (H, W), (1, H, W), (3, H, W) or (4, H, W)"


def read_image(
    source: ImageSource, name: str = "", *, value_range: ValueRange | None = None, channel_order: str = "rgb"
) -> np.ndarray:
    """The pixels of `read_photograph`, (H, W, 3) uint8 RGB."""
    return read_photograph(source, name, value_range=value_range, channel_order=channel_order).pixels


def read_photograph(
    source: ImageSource, name: str = "", *, value_range: ValueRange | None = None, channel_order: str = "rgb"
) -> Photograph:
    """`tore_runtime.images.read_photograph`, for a tensor (H, W) or (1 | 3 | 4, H, W) too, on any device."""
    if isinstance(source, torch.Tensor):
        name = name or "tensor"
        source = array_of(source, name)
    return images.read_photograph(source, name, value_range=value_range, channel_order=channel_order)


def array_of(values: torch.Tensor, name: str) -> np.ndarray:
    """A tensor's numbers, channels last. ValueError with one sentence about what `name` is."""
    if values.is_nested:
        raise ValueError(f"{name} is a nested tensor; give its images one by one: list(tensor.unbind())")
    if values.layout != torch.strided:
        raise ValueError(f"{name} is a tensor of layout {values.layout}; give a dense one: tensor.to_dense()")
    shape = tuple(values.shape)
    if values.is_quantized:
        raise ValueError(f"{name} is a quantized tensor; give its values: tensor.dequantize()")
    if values.is_complex():
        raise ValueError(f"{name} is a tensor of complex numbers ({values.dtype}); give real ones")
    if values.is_meta:
        raise ValueError(f"{name} is a tensor on the meta device, which holds no values")
    if values.ndim not in (2, 3) or (values.ndim == 3 and shape[0] not in CHANNELS):
        turn = values.ndim == 3 and shape[2] in CHANNELS
        fix = ": give tensor.permute(2, 0, 1)" if turn else ""
        raise ValueError(f"{name} has shape {shape}; {TENSOR_SHAPES}{fix}")
    planes = values.detach().cpu().resolve_neg()
    if planes.is_floating_point() and planes.dtype not in (torch.float16, torch.float32, torch.float64):
        planes = planes.float()  # bfloat16 and 8-bit floats, which numpy lacks
    return (planes.movedim(0, -1) if planes.ndim == 3 else planes).numpy()
