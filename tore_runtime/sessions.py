"""The runtimes that run an exported ONNX file, numpy in and numpy out. Nothing here needs torch.

One image runs on all threads; many run in one stream per thread, a few images each, which is faster than one call over
all threads: small products and convolutions do not fill several cores.
"""

from __future__ import annotations

import functools
import importlib
import math
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

RUNTIMES = ("openvino", "onnxruntime")
PRECISIONS = ("float32", "bfloat16")
STREAM_BATCH = 4  # most images of one call of a stream
Engine = Callable[[np.ndarray], list[np.ndarray]]


def import_runtime(name: str) -> ModuleType:
    """The package of a runtime. ImportError with what to install, ValueError for an unknown name."""
    if name not in RUNTIMES:
        raise ValueError(f"runtime {name!r} is not known; use {' or '.join(RUNTIMES)}")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed ({error}); pip install {name}") from None


class Session:
    """An ONNX file in a runtime: images (B, 3, n, n) float32 -> its outputs by name, (B, ...) float32 each.

    threads: of the CPU. precision: "bfloat16" computes in 16 bits, which OpenVINO does on processors that have it.
    Several threads may call one session at once.

    Raises ImportError where the runtime is not installed, ValueError for a precision that cannot be.
    """

    def __init__(
        self, path: str | Path, runtime: str = "openvino", *, threads: int = 1, precision: str = "float32"
    ) -> None:
        import_runtime(runtime)
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not known; use {' or '.join(PRECISIONS)}")
        self.path, self.runtime, self.threads, self.precision = Path(path), runtime, threads, precision
        self._engines = _OpenVINO(self.path, precision) if runtime == "openvino" else _OnnxRuntime(self.path, precision)
        self.outputs = self._engines.outputs
        self._pool = ThreadPoolExecutor(threads, "stream")

    @functools.cached_property
    def _whole(self) -> Engine:
        return self._engines.engine(self.threads, 1)

    @functools.cached_property
    def _streams(self) -> Engine:
        return self._whole if self.threads == 1 else self._engines.engine(self.threads, self.threads)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images (B, 3, n, n) -> the outputs by name."""
        images = np.ascontiguousarray(images, np.float32)
        if len(images) == 1:
            found = self._whole(images)
        else:
            streams = self._streams
            calls = max(math.ceil(len(images) / STREAM_BATCH), min(len(images), self.threads))
            parts = list(self._pool.map(streams, np.array_split(images, calls)))
            found = [np.concatenate(values) for values in zip(*parts, strict=True)]
        return dict(zip(self.outputs, found, strict=True))


class _OnnxRuntime:
    def __init__(self, path: Path, precision: str) -> None:
        if precision != "float32":
            raise ValueError(f"onnxruntime computes in float32, not in {precision}; use the runtime openvino")
        self.package: Any = import_runtime("onnxruntime")
        self.path = path
        self.outputs = [output.name for output in self._session(1).get_outputs()]

    def _session(self, threads: int) -> Any:
        options = self.package.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors alone
        return self.package.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])

    def engine(self, threads: int, streams: int) -> Engine:
        """A session of one thread computes in the thread that calls it, so that one serves every stream."""
        session = self._session(threads // streams)
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})


class _OpenVINO:
    def __init__(self, path: Path, precision: str) -> None:
        package: Any = import_runtime("openvino")
        self.core = package.Core()
        if precision == "bfloat16" and "BF16" not in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this processor does not compute in bfloat16; leave half precision out")
        # It takes bfloat16 by itself where the processor has it, unless the precision is said.
        self.hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        self.model = self.core.read_model(path)
        self.outputs = [output.get_any_name() for output in self.model.outputs]

    def engine(self, threads: int, streams: int) -> Engine:
        """Requests of a compiled model, of which each call takes a free one."""
        options = {"INFERENCE_PRECISION_HINT": self.hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
        compiled = self.core.compile_model(self.model, "CPU", options)
        free: queue.Queue[Any] = queue.Queue()
        for _ in range(streams):
            free.put(compiled.create_infer_request())

        def call(images: np.ndarray) -> list[np.ndarray]:
            with _borrowed(free) as request:
                request.infer([images], share_inputs=True)
                return [np.array(request.get_output_tensor(i).data) for i in range(len(self.outputs))]

        return call


@contextmanager
def _borrowed(free: queue.Queue[Any]) -> Iterator[Any]:
    request = free.get()
    try:
        yield request
    finally:
        free.put(request)
