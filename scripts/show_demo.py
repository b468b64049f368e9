"""Shows on the page of results what `tore demo` found: a table between two marks, and images, of which README has some.

    tore demo && python scripts/show_demo.py
    tore demo --body hand --output_dir output/hands && python scripts/show_demo.py --demo output/hands
    bash scripts/show_shipped.sh    # both

The image of the report needs Chromium and is left out, with a line, if there is none.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tore.demo.images import COLUMNS, MESHES, PHOTOGRAPH, SIDE, read_rows
from tore.demo.judging import ERRORS, MEAN
from tore.demo.stages import DONE
from tore.paths import example_photograph
from tore_runtime.drawing import contact_sheet, view

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIRST_MARK = {"body": "demo", "hand": "demo of hands"}
LAST_MARK = "<!-- end of demo -->"
REPORT = "demo_report.jpg"
IMAGES = {
    "body": {
        "demo_photograph.jpg": "A photograph, the mesh that the shipped network recovers, and the mesh from the side",
        "demo_people.jpg": "Held-out rendered people, and the meshes that the shipped network recovers",
        REPORT: "The top of the demo's report",
    },
    "hand": {"demo_hands.jpg": "Held-out rendered hands, and the meshes that the shipped network recovers"},
}
CELL, QUALITY = 168, 86
PHOTOGRAPH_SIDE = 320  # pixels of each of its three images
PAGE_WIDTH, PAGE_HEIGHT, SHOWN_WIDTH = 1120, 1560, 700


def result(demo: Path, stage: str, part: str = "result") -> dict:
    """What a stage of the demo found, or the settings that it ran with."""
    return json.loads((demo / stage / DONE).read_text(encoding="utf-8"))[part]


def numbers(demo: Path) -> str:
    """The table of baselines and networks in markdown, each error with its share of the mean mesh's."""
    table = result(demo, "baselines")
    table["**the network that ships**"] = result(demo, "evaluation")
    after, training = demo / "evaluation_after_training", result(demo, "training")
    if after.is_dir():
        table[f"the same after {training['samples']:,} more samples"] = result(demo, after.name)
    count = result(demo, "evaluation", "settings")["val_images"]
    lines = [f"On {count} held-out images of all facings, in mm and as a share of the mean mesh's error:", ""]
    lines += ["| | " + " | ".join(ERRORS.values()) + " |", "|---" * (1 + len(ERRORS)) + "|"]
    for name, metrics in table.items():
        cells = [f"{metrics[error]:.1f} ({metrics[error] / table[MEAN][error]:.0%})" for error in ERRORS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def people(demo: Path, target: Path) -> None:
    """The grid of held-out people or hands as a sheet."""
    count = result(demo, "inference")["people"]
    rows = read_rows(demo / "inference", count)
    captions = [*COLUMNS, *[""] * (len(COLUMNS) * (count - 1))]
    sheet = contact_sheet([cell for row in rows for cell in row], captions, columns=len(COLUMNS), cell=CELL)
    Image.fromarray(sheet).save(target, quality=QUALITY)


def photograph(demo: Path, target: Path) -> None:
    """The photograph, the same with the meshes on it, and the first mesh from the side, beside each other."""
    folder = demo / "photograph"
    images = [Image.open(example_photograph()).convert("RGB"), Image.open(folder / PHOTOGRAPH).convert("RGB")]
    with np.load(folder / MESHES) as meshes:
        for vertices in meshes["recovered"][:1]:
            images.append(Image.fromarray(view(vertices, meshes["faces"], degrees=SIDE, size=PHOTOGRAPH_SIDE).color))
    size = (PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE)
    shown = [np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for image in images]
    Image.fromarray(np.hstack(shown)).save(target, quality=QUALITY)


def page(demo: Path, target: Path) -> None:
    """The top of the report page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"no browser here: {target.name} is left as it is", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [
            f"--window-size={PAGE_WIDTH},{PAGE_HEIGHT}",
            f"--screenshot={shot}",
            f"--user-data-dir={folder}/profile",
        ]
        subprocess.run(
            [*command, (demo / "report.html").resolve().as_uri()], check=True, capture_output=True, timeout=180
        )
        image = Image.open(shot).convert("RGB")
        image.thumbnail((SHOWN_WIDTH, PAGE_HEIGHT), Image.Resampling.LANCZOS)
        image.save(target, quality=QUALITY)


def main() -> int:
    """Writes the images and the page's tables; 2 where there is no finished demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=ROOT / "output" / "demo", help="--output_dir of the demo")
    usual = ROOT / "docs" / "images"
    parser.add_argument("--output_dir", "--out", type=Path, default=usual, help="folder of the images")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "PERFORMANCE.md", help="page that holds the marks")
    args = parser.parse_args()
    if not (args.demo / "report.html").is_file():
        print(f"show_demo: {args.demo} holds no report.html; run tore demo first", file=sys.stderr)
        return 2
    args.output_dir.mkdir(parents=True, exist_ok=True)
    body = result(args.demo, "evaluation", "settings")["body"]
    for write, name in zip((photograph, people, page) if body == "body" else (people,), IMAGES[body], strict=True):
        write(args.demo, args.output_dir / name)
    text, table = args.page.read_text(encoding="utf-8"), numbers(args.demo)
    shown = {
        name: f"![{words}](images/{name})\n"
        for name, words in IMAGES[body].items()
        if (args.output_dir / name).is_file()
    }
    last = [shown.pop(REPORT)] if REPORT in shown else []
    block = "\n".join([*shown.values(), table, *last])
    first = f"<!-- {FIRST_MARK[body]}: written by scripts/show_demo.py -->\n"
    marks = re.compile(f"({re.escape(first)}).*?({re.escape(LAST_MARK)})", re.DOTALL)
    args.page.write_text(marks.sub(lambda found: found[1] + block + found[2], text), encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
