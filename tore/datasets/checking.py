"""Every row of a data set looked at: index, files, decoding, label schema, plausibility, agreement.

Where a checksum file lies beside a table, every row in use is compared with it, so that any change since it was written
is found. Without one a row has only its content to speak for it: a PNG file carries checksums of its own, but a JPEG
file has none, and of damage inside it only what its decoder stumbles over is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch

from tore.datasets.bad_samples import BadSample
from tore.datasets.decoder_complaints import decoder_complaints
from tore.datasets.findings import ERROR, WARNING, Finding, SetReport
from tore.datasets.label import Label
from tore.datasets.label_checks import Remark, check_agreement, check_in_picture, check_model_joints, check_ranges
from tore.datasets.mesh_dataset import CROP_SIZE, MeshDataset
from tore.datasets.picture import row_key
from tore.datasets.row_checks import check_picture_file, parse_size
from tore.datasets.set_checksums import SetChecksums

MODEL_BATCH = 64
ModelJoints = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # pose (B,P), betas (B,10) -> joints (B,J,3)


def check_set(
    dataset: MeshDataset, model_joints: ModelJoints | None = None, step: Callable[[], object] | None = None
) -> SetReport:
    """Checks every sample; `step` is called after each, for a progress bar.

    `model_joints` gives the labelled joints of poses and shapes in metres; without it that comparison is left out.
    """
    checker, started = _SetChecker(dataset), time.perf_counter()
    report = checker.report
    if len(dataset) == 0:
        report.findings.append(Finding(ERROR, "rows", report.path, "", "the set has no samples"))
    if model_joints is None:
        report.notes.append("no body model at hand: its joints were not compared with the 3D joints")
    waiting: list[tuple[int, Label]] = []
    for index in range(len(dataset)):
        label = checker.check_sample(index)
        if label is not None and model_joints is not None:
            waiting.append((index, label))
            if len(waiting) == MODEL_BATCH:
                checker.check_models(waiting, model_joints)
                waiting.clear()
        if step is not None:
            step()
    if model_joints is not None:
        checker.check_models(waiting, model_joints)
    report.notes += checker.checksums.notes()
    report.seconds = time.perf_counter() - started
    return report


class _SetChecker:
    """Goes through the samples of one data set and writes into one report."""

    def __init__(self, dataset: MeshDataset) -> None:
        self.dataset, self.rows = dataset, dataset.rows
        self.report = SetReport(str(dataset.rows.path), len(dataset))
        self.checksums = SetChecksums(dataset.rows)
        self.report.findings += self.checksums.findings

    def check_sample(self, index: int) -> Label | None:
        """Checks the rows of one sample; returns its label where that can be read."""
        columns = {table: row for table in self.rows.tables if (row := self._read(table, index)) is not None}
        keys = {row[0] for row in columns.values()}
        if len(keys) > 1:
            shown = ", ".join(f"{table} {row_key(row)[:60]!r}" for table, row in columns.items())
            self._find(ERROR, "keys", "label", index, shown, "the files' rows have different keys")
        size = self._check_picture(index, columns["img"]) if "img" in columns else None
        if "hw" in columns:
            self._check_size(index, columns["hw"], size)
        if "label" not in columns:
            return None
        try:
            label = self.dataset.label(index)
        except BadSample as error:
            self._find_bad("label", index, columns["label"], error)
            return None
        usual = (self.dataset.layout.joint_rows[0], self.dataset.layout.pose_sizes[0])
        if (len(label.joints_3d), len(label.pose)) != usual:
            text = f"has {len(label.joints_3d)} joints and {len(label.pose)} pose numbers, usual are {usual}"
            self._find(WARNING, "label row", "label", index, label.key, text)
        self._remark(index, label, check_ranges(label, self.dataset.layout.kind == "hand"))
        if size is not None:
            self._remark(index, label, check_in_picture(label, *size, CROP_SIZE))
        self._remark(index, label, check_agreement(label))
        return label

    def check_models(self, labels: list[tuple[int, Label]], model_joints: ModelJoints) -> None:
        """Compares the body model's joints with the 3D joints, many labels at once."""
        usual = (self.dataset.layout.joint_rows[0], self.dataset.layout.pose_sizes[0])
        fitting = [(i, label) for i, label in labels if (len(label.joints_3d), len(label.pose)) == usual]
        if not fitting:
            return
        pose = torch.from_numpy(np.stack([label.pose for _, label in fitting]).astype(np.float32))
        betas = torch.from_numpy(np.stack([label.betas for _, label in fitting]).astype(np.float32))
        for (index, label), joints in zip(fitting, model_joints(pose, betas).numpy(), strict=True):
            self._remark(index, label, check_model_joints(label, joints))

    def _read(self, table: str, index: int) -> list[bytes] | None:
        try:
            columns = self.rows.columns(table, index)
        except ValueError as error:
            self._find(ERROR, "index", table, index, "", str(error))
            return None
        if changed := self.checksums.mismatch(self.rows.place(table, index), columns):
            self._find(ERROR, "checksum", table, index, row_key(columns), changed)
        try:
            columns[0].decode()
        except UnicodeDecodeError:
            self._find(ERROR, "keys", table, index, row_key(columns), "the key is not UTF-8")
        return columns

    def _check_picture(self, index: int, columns: list[bytes]) -> tuple[int, int] | None:
        try:
            check_picture_file(columns, self.rows.place("img", index))
            with decoder_complaints() as complaints:
                height, width = self.dataset.picture(index)[1].shape[:2]
        except BadSample as error:
            self._find_bad("img", index, columns, error)
            return None
        if complaints:
            self._find(ERROR, "img row", "img", index, row_key(columns), f"damaged inside: {complaints[0]}")
        return height, width

    def _check_size(self, index: int, columns: list[bytes], size: tuple[int, int] | None) -> None:
        try:
            claimed = parse_size(columns, self.rows.place("hw", index))
        except BadSample as error:
            self._find_bad("hw", index, columns, error)
            return
        if size is not None and claimed != size:
            text = f"height and width are {claimed}, the picture's are {size}"
            self._find(ERROR, "hw row", "hw", index, row_key(columns), text)

    def _remark(self, index: int, label: Label, remarks: Iterable[Remark]) -> None:
        for severity, check, text in remarks:
            self._find(severity, check, "label", index, label.key, text)

    def _find_bad(self, table: str, index: int, columns: list[bytes], error: BadSample) -> None:
        key = row_key(columns)
        text = str(error).removeprefix(f"{self.rows.place(table, index)} (key {key!r}): ")
        self._find(ERROR, f"{table} row", table, index, key, text)

    def _find(self, severity: str, check: str, table: str, index: int, key: str, text: str) -> None:
        self.report.findings.append(Finding(severity, check, str(self.rows.place(table, index)), key, text))
