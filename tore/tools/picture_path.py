"""The name of a picture that a tool is to write, judged before the work begins."""

from __future__ import annotations

import argparse
from pathlib import Path

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def picture_path(text: str) -> Path:
    """An argparse type: a path whose ending says what kind of picture it will be."""
    path = Path(text)
    if path.suffix.lower() not in ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(ENDINGS)}")
    return path
