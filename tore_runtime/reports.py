"""What commands tell of the images that they are done with: a line each, a table, JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from tore_runtime.crop import Crop
from tore_runtime.crops import PersonCrop
from tore_runtime.detector import Detection
from tore_runtime.focal_length import FocalLength, summary
from tore_runtime.names import readable
from tore_runtime.parameters import FITTED
from tore_runtime.pipeline import Report
from tore_runtime.result import STAYED, as_plain

TABLE_ROWS = 40
WHOM = {"body": ("person", "people"), "hand": ("hand", "hands")}
BEYOND = 1.02  # of the image's width or height: a box that ends behind it may be corners


class Row(NamedTuple):
    """One image in the summary."""

    name: str
    size: str
    people: int
    written: str
    failed: bool
    beyond: int  # boxes that reach beyond the image
    outside: int  # boxes that were left out, since no part of them lies in it
    focal_length: FocalLength | None  # where somebody was recovered
    stayed: list[str]  # why people were not refined under --refine
    residuals: list[float]  # millimeters, of parameters that were fitted to the mesh; a refined mesh is the body's own


def outside_text(report: Report) -> str:
    """Which boxes of an image were left out, and why."""
    seen, boxes = {person.crop.person for person in report.people}, report.job.boxes or []
    numbers = [number for number in range(1, len(boxes) + 1) if number not in seen]
    place = boxes[numbers[0] - 1]
    place = place.box if isinstance(place, Detection) else place
    first = place.described() if isinstance(place, Crop) else ", ".join(f"{value:g}" for value in place)
    which = f"person {numbers[0]} (box {first})" if len(numbers) == 1 else f"{len(numbers)} people (first box {first})"
    return f"{report.job.image}: {which} left out: no part of the box lies in the image"


def frames_text(report: Report) -> str:
    """That a file holds more images than the one that is taken."""
    return f"{report.job.image} holds {report.frames} images, of which the first one is taken"


def line_of(report: Report) -> dict[str, Any]:
    """A report as plain values, vertices left out."""
    line: dict[str, Any] = {"picture": str(report.job.image), "error": report.error, "outside": report.outside}
    return line | {"people": [as_plain(p) for p in report.people], "written": [str(p) for p in report.written]}


def row_of(report: Report) -> Row:
    """A report's line in the table."""
    size = report.people[0].crop.image_size[::-1] if report.people else ()
    first = str(report.written[0]) if report.written else "failed" if report.error else "nothing written"
    more = f" and {len(report.written) - 1} more" if len(report.written) > 1 else ""
    behind = sum(not person.in_front for person in report.people)
    more += f" ({behind} behind the camera, not drawn)" if behind else ""
    name, written = readable(report.job.image.name), readable(first + more)
    beyond = sum(reaches_beyond(person.crop) for person in report.people)
    side, people, failed = " x ".join(map(str, size)), len(report.people), report.error is not None
    focal = report.people[0].focal_length if report.people else None
    stayed = [person.refinement for person in report.people if person.refinement.startswith(STAYED)]
    known = (person.parameters for person in report.people if person.parameters is not None)
    fitted = (parameters.residual_mm for parameters in known if parameters.source == FITTED)
    residuals = [residual for residual in fitted if residual is not None]
    return Row(name, side, people, written, failed, beyond, report.outside, focal, stayed, residuals)


def reaches_beyond(crop: PersonCrop) -> bool:
    """Whether the box ends clearly outside of the image, on the right or below."""
    if crop.box is None:
        return False
    (x, y, width, height), (image_height, image_width) = crop.box, crop.image_size
    return x + width > BEYOND * image_width or y + height > BEYOND * image_height


def table_of(rows: list[Row], seconds: dict[str, float], kind: str = "body") -> list[str]:
    """One line per image (the first ones of many), what the focal lengths are from, then the sums.

    kind: whom the network recovers, "body" or "hand".
    """
    lines: list[str] = []
    shown = rows[:TABLE_ROWS]
    width = max(len(row.name) for row in shown)
    lines.append(f"{'image':<{width}}  {'size':>13}  {WHOM[kind][1]:>6}  written")
    lines += [f"{row.name:<{width}}  {row.size:>13}  {row.people:>6}  {row.written}" for row in shown]
    if len(rows) > len(shown):
        lines.append(f"... and {len(rows) - len(shown)} more")
    lines += summary((row.name, row.focal_length) for row in rows if row.focal_length is not None)
    if residuals := [residual for row in rows for residual in row.residuals]:
        mean = sum(residuals) / len(residuals)
        lines.append(
            f"fit: vertices lie {mean:.1f} mm beside those of the fitted body on average, at most {max(residuals):.1f}"
        )
    failed, people = sum(row.failed for row in rows), sum(row.people for row in rows)
    times = ", ".join(f"{stage} {taken:.2f} s" for stage, taken in seconds.items())
    whom = _counted(people, *WHOM[kind])
    lines.append(f"{_counted(len(rows), 'image', 'images')}, {failed} failed, {whom}; {times}")
    return lines


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
