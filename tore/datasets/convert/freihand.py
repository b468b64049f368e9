"""FreiHAND as its site gives it: `{training,evaluation}/rgb/%08d.jpg` with one JSON file per kind of label.

The training images repeat each of n hands with four backgrounds: image i shows hand i modulo n (n = 32560).
`training_mano.json` holds 61 numbers per hand: 48 pose (PCA off, mean hand subtracted: a layer that adds the mean hand
pose gives the labeled mesh), 10 shape, 2 root position, 1 scale. Evaluation labels were released later and only as
joints and vertices; without them the rows say has_* = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tore.datasets.convert.entries import Entry, Person, project_pinhole, with_confidence
from tore.datasets.convert.reading import array, file_stamp, items, load_json, require

BACKGROUNDS = {"training": 4, "evaluation": 1}
SIDE = 224  # pixels of every image
CENTER = np.array([SIDE / 2, SIDE / 2])
TRUTH_FILES = ("evaluation_xyz.json", "evaluation_verts.json")
SCALE = 0.9  # Official: a box of 180 of the image's 224 pixels
POSE, SHAPE = slice(0, 48), slice(48, 58)


def evaluation_truth(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 21, 3) and vertices (N, 778, 3) of the released evaluation annotations, meters, camera frame.

    Raises FileNotFoundError or ValueError naming the file.
    """
    joints_file, vertices_file = (root / name for name in TRUTH_FILES)
    joints = array(load_json(joints_file), (-1, 21, 3), str(joints_file))
    return joints, array(load_json(vertices_file), (len(joints), 778, 3), str(vertices_file))


class FreiHand:
    """The images of one split ("training" or "evaluation") by number."""

    def __init__(self, root: str | Path, split: str) -> None:
        if split not in BACKGROUNDS:
            raise ValueError(f"split {split!r} of FreiHAND is not known; use one of {', '.join(BACKGROUNDS)}")
        self.split = split
        root = require(Path(root))
        paths = {name: root / f"{split}_{name}.json" for name in ("K", "xyz", "mano")}
        optional = ("xyz", "mano") if split == "evaluation" else ()
        used = {name: path for name, path in paths.items() if name not in optional or path.is_file()}
        self._intrinsics = array(load_json(paths["K"]), (-1, 3, 3), str(paths["K"]))
        count = len(self._intrinsics)
        self._joints, self._mano = None, None
        if "xyz" in used:
            self._joints = array(load_json(paths["xyz"]), (count, 21, 3), str(paths["xyz"]))
        if "mano" in used:
            where = str(paths["mano"])
            hands = items(load_json(paths["mano"]), where)  # each [[61 numbers]]
            self._mano = array([array(hand, (61,), where, flat=True) for hand in hands], (count, 61), where)
        annotations = [file_stamp(path) for path in used.values()]
        self.description: dict[str, Any] = {"source": "freihand", "split": split, "annotations": annotations}

    def __len__(self) -> int:
        return BACKGROUNDS[self.split] * len(self._intrinsics)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """One entry per image, in the order of their numbers."""
        for image in range(start, len(self)):
            label = self._person(image % len(self._intrinsics)).label()
            yield Entry(f"{self.split}/rgb/{image:08d}.jpg", label)

    def _person(self, hand: int) -> Person:
        joints = self._joints[hand] if self._joints is not None else None
        mano = self._mano[hand] if self._mano is not None else None
        return Person(
            center=CENTER,
            scale=SCALE,
            joints_2d=None if joints is None else project_pinhole(joints, self._intrinsics[hand]),
            joints_3d=None if joints is None else with_confidence(joints - joints[:1]),
            pose=None if mano is None else mano[POSE],
            betas=None if mano is None else mano[SHAPE],
            kind="hand",
        )
