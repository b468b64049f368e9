"""How much of a set is labelled, and with what."""

from __future__ import annotations

from collections import Counter

from tore.datasets.label import FLAGS, Label


class LabelShares:
    """Counts labels."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, label: Label) -> None:
        """Counts one label."""
        counts = self.counts
        counts["labels"] += 1
        counts.update({flag: getattr(label, flag) for flag in FLAGS})
        counts["without label"] += not is_labelled(label)
        if label.has_3d_joints:
            unlabelled = int((label.joints_3d[:, 3] <= 0).sum())
            counts["joints"] += len(label.joints_3d)
            counts["unlabelled joints"] += unlabelled
            counts["partly labelled"] += 0 < unlabelled < len(label.joints_3d)

    def notes(self) -> list[str]:
        """The shares in sentences."""
        counts = self.counts
        total = counts["labels"]
        if not total:
            return []
        shares = ", ".join(f"{flag} {counts[flag]} ({counts[flag] / total:.1%})" for flag in FLAGS)
        notes = [f"labelled of {total} rows: {shares}; {counts['without label']} have no label at all"]
        if counts["unlabelled joints"]:
            notes.append(
                f"of the rows with 3D joints {counts['partly labelled']} leave some of them at confidence 0 "
                f"({counts['unlabelled joints'] / counts['joints']:.1%} of all their joints)"
            )
        return notes


def is_labelled(label: Label) -> bool:
    """Whether a label has anything to compare with: a mesh, 3D joints, or 2D joints."""
    joints_3d = label.has_3d_joints and (label.joints_3d[:, 3] > 0).any()
    return bool(label.has_smpl or joints_3d or (label.joints_2d[:, 2] > 0).any())
