"""Evaluation mode for a while: networks predict in it, and are afterwards as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_lock = threading.Lock()
_switched: dict[nn.Module, int] = {}  # modules kept out of training mode, and by how many `evaluating`


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module of `model` is in evaluation mode inside; afterwards each is again in the mode in which it was.

    Threads may share the network: the last one that leaves puts the modes back. Only `training` is set, so that
    modules with a `train` of their own (a batch norm that is kept frozen) are not asked.
    """
    with _lock:
        held = [module for module in model.modules() if module.training or module in _switched]
        for module in held:
            _switched[module] = _switched.get(module, 0) + 1
            module.training = False
    try:
        yield
    finally:
        with _lock:
            for module in held:
                _switched[module] -= 1
                if not _switched[module]:
                    del _switched[module]
                    module.training = True
