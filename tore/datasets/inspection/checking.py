"""Checks a data set row by row: `tore data check`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from tore.datasets.images import decoder_complaints, row_key
from tore.datasets.inspection.checksums import SetChecksums
from tore.datasets.inspection.rows import (
    ERROR,
    WARNING,
    Finding,
    Remark,
    SetReport,
    check_agreement,
    check_image_file,
    check_in_image,
    check_labelled,
    check_model_joints,
    check_ranges,
    parse_size,
)
from tore.datasets.label import Label, LabelShares, described_kind, person_of
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import BadSample

MODEL_BATCH = 64
LEAST_ROWS = 4  # that a quick look reads however long they take
KIND = "kind"  # the check that finds a hand's label where a body's is expected, or the reverse
SIZES = {"body": "24 joints and 72 pose numbers", "hand": "21 joints and 48 pose numbers"}
ModelJoints = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # pose (B,P), betas (B,10) -> joints (B,J,3)


def check_set(
    dataset: MeshDataset, model_joints: ModelJoints | None = None, step: Callable[[], object] | None = None
) -> SetReport:
    """Checks every sample; `step` is called after each, for a progress bar.

    `model_joints` gives the labeled joints of poses and shapes in meters; without it that comparison is left out.
    """
    checker, started = _SetChecker(dataset), time.perf_counter()
    report = checker.report
    if model_joints is None:
        report.notes.append("no body model at hand: its joints were not compared with the 3D joints")
    checker.check(range(len(dataset)), model_joints, step or (lambda: None))
    report.notes += checker.checksums.notes() + checker.labels.notes()
    report.seconds = time.perf_counter() - started
    return report


@dataclass(frozen=True)
class Look:
    """What a quick look at some rows of a set found."""

    looked: int  # rows
    labels: list[Label]  # of the rows that can be read
    whole: list[Finding]  # errors of the set itself rather than of one row
    broken: dict[int, Finding]  # sample -> its first error, in the order of the set


def look_at(dataset: MeshDataset, model_joints: ModelJoints | None, rows: int, seconds: float) -> Look:
    """The checks of `check_set` on at most so many rows, spread over the set, in about so many seconds.

    The rows depend on the set's length alone; where time runs out those looked at are still spread.
    """
    end = time.perf_counter() + seconds
    checker = _SetChecker(dataset)
    whole = list(checker.report.findings)
    spread = np.unique(np.linspace(0, max(len(dataset) - 1, 0), min(rows, len(dataset))).round().astype(int))
    shuffled = np.random.RandomState(0).permutation(spread).tolist()
    in_time = (index for place, index in enumerate(shuffled) if place < LEAST_ROWS or time.perf_counter() < end)
    looked, labels = checker.check(in_time, model_joints, lambda: None)
    dataset.rows.close()
    return Look(looked, labels, whole, dict(sorted(checker.broken.items())))


class _SetChecker:
    """Goes through the samples of one data set and writes into one report."""

    def __init__(self, dataset: MeshDataset) -> None:
        self.dataset, self.rows = dataset, dataset.rows
        self.report = SetReport(str(dataset.rows.path), len(dataset))
        self.checksums = SetChecksums(dataset.rows)
        self.report.findings += self.checksums.findings
        if len(dataset) == 0:
            self.report.findings.append(Finding(ERROR, "rows", self.report.path, "", "the set has no samples"))
        self.broken: dict[int, Finding] = {}  # sample -> its first error
        self.labels = LabelShares()

    def check(
        self, indices: Iterable[int], model_joints: ModelJoints | None, step: Callable[[], object]
    ) -> tuple[int, list[Label]]:
        """Checks samples, and calls `step` after each; how many, and the labels that can be read."""
        waiting: list[tuple[int, Label]] = []
        labels: list[Label] = []
        looked = 0
        for index in indices:
            looked += 1
            label = self.check_sample(index)
            if label is not None:
                labels.append(label)
                waiting.append((index, label))
            if model_joints is not None and len(waiting) == MODEL_BATCH:
                self.check_models(waiting, model_joints)
                waiting.clear()
            step()
        if model_joints is not None:
            self.check_models(waiting, model_joints)
        return looked, labels

    def check_sample(self, index: int) -> Label | None:
        """Checks the rows of one sample; returns its label where that can be read."""
        columns = {table: row for table in self.rows.tables if (row := self._read(table, index)) is not None}
        keys = {row[0] for row in columns.values()}
        if len(keys) > 1:
            shown = ", ".join(f"{table} {row_key(row)[:60]!r}" for table, row in columns.items())
            self._find(ERROR, "keys", "label", index, shown, "the files' rows have different keys")
        size = self._check_image(index, columns["img"]) if "img" in columns else None
        if "hw" in columns:
            self._check_size(index, columns["hw"], size)
        if "label" not in columns:
            return None
        layout = self.dataset.layout
        try:
            person = person_of(columns["label"], self.rows.place("label", index))
            described = described_kind(person)
            if described not in (None, layout.kind):
                sizes = " and ".join(f"{SIZES[kind]} for a {kind}" for kind in (described, layout.kind))
                text = f"the label describes a {described}, and a {layout.kind} is expected ({sizes})"
                self._find(ERROR, KIND, "label", index, row_key(columns["label"]), text)
                return None
            label = self.dataset.label(index)
        except BadSample as error:
            self._find_bad("label", index, columns["label"], error)
            return None
        self.labels.add(label)
        usual = (layout.joint_rows[0], layout.pose_sizes[0])
        if (len(label.joints_3d), len(label.pose)) != usual:
            text = f"has {len(label.joints_3d)} joints and {len(label.pose)} pose numbers, usual are {usual}"
            self._find(WARNING, "label row", "label", index, label.key, text)
        self._remark(index, label, check_ranges(label, layout.kind == "hand"))
        self._remark(index, label, check_labelled(label, layout.root))
        if size is not None:
            self._remark(index, label, check_in_image(label, *size, self.dataset.image_format.size))
        self._remark(index, label, check_agreement(label, person.get("camera")))
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

    def _check_image(self, index: int, columns: list[bytes]) -> tuple[int, int] | None:
        try:
            check_image_file(columns, self.rows.place("img", index))
            with decoder_complaints() as complaints:
                height, width = self.dataset.image(index)[1].shape[:2]
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
            text = f"height and width are {claimed}, the image's are {size}"
            self._find(ERROR, "hw row", "hw", index, row_key(columns), text)

    def _remark(self, index: int, label: Label, remarks: Iterable[Remark]) -> None:
        for severity, check, text in remarks:
            self._find(severity, check, "label", index, label.key, text)

    def _find_bad(self, table: str, index: int, columns: list[bytes], error: BadSample) -> None:
        key = row_key(columns)
        text = str(error).removeprefix(f"{self.rows.place(table, index)} (key {key!r}): ")
        self._find(ERROR, f"{table} row", table, index, key, text)

    def _find(self, severity: str, check: str, table: str, index: int, key: str, text: str) -> None:
        finding = Finding(severity, check, str(self.rows.place(table, index)), key, text)
        self.report.findings.append(finding)
        if severity == ERROR:
            self.broken.setdefault(index, finding)
