"""ONNX files of networks: written by torch's exporter, checked, with weights in 16 bits where that is wanted."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OPSET = 20
STORED = ("float16", "bfloat16")  # dtypes of stored weights beside float32
MIDDLE_AXIS, LAST_AXIS = "axis.middle", "axis.last"  # constants of `reduce_four_axes`
LARGE = 1024  # numbers, from which on a constant is stored in 16 bits
NOISE = ("torch.onnx", "onnxscript", "onnx_ir")  # loggers of what the exporter tells of itself


def import_onnx() -> Any:
    """The packages that write ONNX. ImportError with what to install."""
    try:
        importlib.import_module("onnxscript")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ImportError(f"{error}; pip install 'tore[export]' brings what writes ONNX") from None


def write_onnx(
    graph: nn.Module, file: Path, sample: Tensor, outputs: Sequence[str], *, stride: int | None = None
) -> None:
    """Writes `graph`, from images to a tuple of `outputs`, with a free batch; `sample` (2, 3, H, W).

    stride: the images' sides are free as well, as multiples of it.
    Raises ValueError for a network with operations that ONNX does not have, and for one that fixes the batch.
    """
    onnx = import_onnx()
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if stride is not None:
        free |= {axis: stride * torch.export.Dim(name) for axis, name in ((2, "rows"), (3, "columns"))}
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                (sample,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(outputs),
                dynamic_shapes={"images": free},
                external_data=False,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ValueError(f"this network cannot be exported to ONNX ({reason}); use the format torch") from error
    assert program is not None
    program.save(file, external_data=False)
    written = onnx.load(file)
    for value in (*written.graph.input, *written.graph.output):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ValueError(f"the export is refused: {value.name} has a batch of fixed size; use .shape[0], not len()")
    if reduce_four_axes(written):
        onnx.save(written, file)
    onnx.checker.check_model(file, full_check=True)


def reduce_four_axes(model: Any) -> int:
    """Gives tensors of three axes that are reduced over the last one another axis meanwhile; returns how many.

    OpenVINO (2026.4) computes wrong numbers, from a batch's second sample on and without an error, where the result of
    such a reduction meets a constant that has a number for each place of the middle axis.
    """
    onnx = import_onnx()
    graph = model.graph
    axes = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    numbers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.dims == [1]}
    last = {name for name, value in numbers.items() if value.dtype == np.int64 and value[0] in (-1, 2)}
    nodes: list[Any] = []
    changed = 0
    for node in graph.node:
        if not (node.op_type.startswith("Reduce") and axes.get(node.input[0]) == 3 and last & set(node.input[1:])):
            nodes.append(node)
            continue
        wider, reduced, result = f"{node.output[0]}_wider", f"{node.output[0]}_reduced", node.output[0]
        nodes.append(onnx.helper.make_node("Unsqueeze", [node.input[0], MIDDLE_AXIS], [wider]))
        node.input[0], node.input[1], node.output[0] = wider, LAST_AXIS, reduced
        nodes += [node, onnx.helper.make_node("Squeeze", [reduced, MIDDLE_AXIS], [result])]
        changed += 1
    if changed:
        for name, axis in ((MIDDLE_AXIS, 1), (LAST_AXIS, -1)):
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([axis]), name))
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
    return changed


def with_stored_weights(file: Path, rounded: Path, dtype: str) -> None:
    """Stores the large constants of an ONNX file in `dtype`, and writes one with the same numbers in float32.

    A cast to float32 follows each of them, which a runtime does once where it loads the file.
    Raises ValueError for a number that `dtype` does not hold.
    """
    onnx = import_onnx()
    stored, same = onnx.load(file), onnx.load(file)
    kind = np.float16 if dtype == "float16" else importlib.import_module("ml_dtypes").bfloat16
    casts = []
    for tensor, twin in zip(stored.graph.initializer, same.graph.initializer, strict=True):
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(kind)
        if not (np.isfinite(halves.astype(np.float32)) == np.isfinite(values)).all():
            raise ValueError(f"{dtype} does not hold the numbers of {tensor.name}; use bfloat16 or float32 weights")
        name = tensor.name
        twin.CopyFrom(onnx.numpy_helper.from_array(halves.astype(np.float32), name))
        tensor.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name}_{dtype}"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    for index, node in enumerate(casts):
        stored.graph.node.insert(index, node)
    onnx.save(same, rounded)
    onnx.save(stored, file)
    onnx.checker.check_model(file, full_check=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says of deprecations and of its own steps is not the user's."""
    loggers = [logging.getLogger(name) for name in NOISE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
