"""What a check of a data set found, and the table that shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One thing found at one place; an error makes a set unfit for use, a warning asks for a look."""

    severity: str
    check: str  # which check found it
    place: str  # file and row
    key: str
    text: str


@dataclass
class SetReport:
    """All findings of a set of `samples` samples, and notes on what could not be checked."""

    path: str
    samples: int
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, severity: str) -> int:
        """Findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def rows_per_second(self) -> float:
        """Samples checked per second."""
        return self.samples / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"errors": self.count(ERROR), "warnings": self.count(WARNING)}

    def table(self, shown: int = 5) -> str:
        """A text table: how often each check found something, and its first `shown` findings."""
        lines = [f"{self.path}: {self.samples} samples, {self.count(ERROR)} errors, {self.count(WARNING)} warnings"]
        lines.append(f"checked in {self.seconds:.1f} s, {self.rows_per_second:.0f} rows/s")
        lines += [f"note: {note}" for note in self.notes]
        groups = Counter((finding.severity, finding.check) for finding in self.findings)
        for (severity, check), count in sorted(groups.items()):
            lines += ["", f"{severity:<8}{check:<22}{count:>8}"]
            found = [f for f in self.findings if (f.severity, f.check) == (severity, check)]
            lines += [f"  {finding.place} (key {finding.key!r}): {finding.text}" for finding in found[:shown]]
            if count > shown:
                lines.append(f"  ... and {count - shown} more")
        return "\n".join(lines)
