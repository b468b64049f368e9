"""Run as a program: what of this process `import tore`, loading, predicting and making synthetic images changes.

Writes one line for each thing that is no longer as it was, and "nothing else" at the end. Arguments: a folder of
body model files, a checkpoint, an image, a folder to write to.
"""

from __future__ import annotations

import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from typing import Any

import cv2
import numpy as np
import scipy.sparse  # these imports add warnings filters
import scipy.spatial  # noqa: F401
import timm  # noqa: F401
import torch
import torchvision  # noqa: F401
from PIL import Image, ImageFile


def state() -> dict[str, Any]:
    """Everything of the process that a library should leave alone, by name."""
    return {
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": str(np.random.get_state()[1:]) + str(np.random.get_state()[1].tolist()),
        "python random": random.getstate(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.get_float32_matmul_precision()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "mkldnn": torch.backends.mkldnn.enabled,
        "numpy": (np.geterr(), str(np.get_printoptions())),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "loggers": [
            (name, one.level, list(one.handlers), one.propagate)
            for name, one in sorted(logging.root.manager.loggerDict.items())
            if isinstance(one, logging.Logger) and (one.level or one.handlers)
        ],
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, sys.getrecursionlimit()),
        "path": list(sys.path),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "OpenCV": (cv2.getNumThreads(), cv2.useOptimized(), cv2.ocl.useOpenCL()),
        "matplotlib": "matplotlib.pyplot" in sys.modules,
        "child processes and threads": threading.active_count(),
    }


def main(body_dir: str, checkpoint: str, image: str, folder: str) -> None:
    """Writes what changed after each step."""
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    before = state()

    def compare(step: str) -> None:
        after = state()
        for name, value in before.items():
            if after[name] != value:
                sys.stdout.write(f"{step} changes {name}: {str(value)[-200:]} -> {str(after[name])[-200:]}\n")

    import tore

    compare("import tore")
    _ = [getattr(tore, name) for name in dir(tore)]
    compare("looking at every name")
    tore.load_model(checkpoint, body_dir, "cpu")
    compare("load_model")
    people = tore.MeshRecovery.from_checkpoint(checkpoint, body_dir, "cpu")
    people.predict([image, image], batch_size=1)
    list(people.iter_predict(image, keep_crop=False))
    compare("predict")
    tore.MeshRecovery.from_pretrained(device="cpu").predict(image, refine=True)
    compare("finding people")
    from tore.synthetic.writing import Recipe, write_images

    write_images(Recipe("body", "val", 0, 64, body_dir), 2, folder)
    compare("synth")
    sys.stdout.write("nothing else\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
