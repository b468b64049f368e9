"""The demo's report page, from what its stages found."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tore import __version__
from tore.demo.images import COLUMNS, MESHES, PHOTOGRAPH, read_rows
from tore.demo.judging import ERRORS, MEAN
from tore.demo.stages import Findings
from tore.files import write_whole
from tore.visualize import report
from tore.visualize.report import Level, Series, ShownMesh, line_chart, mesh_viewer
from tore_runtime.renderer import MESH_COLOR

PROTOCOL_NAMES = 13  # characters of a protocol line's name
VIEWERS = 2
TRUTH_COLOR = (0.90, 0.66, 0.52)
TERMS = {"loss": "loss", "joints_3d": "3D joints", "vertices": "vertices", "joints_2d": "2D joints"}
NOUN = {"body": "person", "hand": "hand"}
NEEDED = ("reading", "finding", "cropping", "network")  # stages without what draws and writes
GROUND = {
    "body": "The photograph is NASA's, of Eileen Collins; the other images, and all figures, are of rendered people.",
    "hand": "Images and figures are of rendered hands.",
}
PACKAGES = ("torch", "timm", "numpy", "opencv-python-headless", "trimesh", "embreex")


def write_report(found: Findings, path: Path, *, command: str) -> Path:
    """Writes the page and returns its path."""
    sections = [
        *([] if found.photograph is None else [report.Section("From a photograph", photograph(found))]),
        report.Section("Recovered from held-out images", people(found)),
        report.Section("To turn by hand", turning(found)),
        report.Section("How good it is", errors(found)),
        report.Section("Training", curves(found)),
        report.Section("What an image costs", costs(found)),
        report.Section("What was run", settings(found, command)),
    ]
    made = f"Made by tore {__version__} on {time.strftime('%Y-%m-%d %H:%M')}. {GROUND[found.options.body]}"
    title = f"TORE: the mesh of a {found.options.body} from one image"
    page = report.page(title, header(found), sections, report.paragraph(made, "soft"))
    write_whole(path, page)
    return path


def header(found: Findings) -> str:
    """What this is, and the figures that matter."""
    best, mean = found.table[found.shown], found.table[MEAN]
    share = {name: best[name] / mean[name] for name in ERRORS}
    macs, parameters = (sum(found.cost[kind].values()) for kind in ("macs", "parameters"))
    lead = (
        "A Transformer whose image tokens are pruned and whose mesh is grown from joint tokens alone recovers the full "
        f"mesh of a {NOUN[found.options.body]} from one crop. Shown: {found.shown}, judged on "
        f"{found.options.val_images} rendered images that it never saw."
    )
    figures = [
        (f"{best['mpjpe']:.1f} mm", f"MPJPE, {share['mpjpe']:.0%} of the mean mesh's"),
        (f"{best['pa_mpjpe']:.1f} mm", f"PA-MPJPE, {share['pa_mpjpe']:.0%} of the mean mesh's"),
        (f"{best['mpvpe']:.1f} mm", f"MPVPE, {share['mpvpe']:.0%} of the mean mesh's"),
        (f"{macs / 1e9:.2f} G", "multiply-accumulates an image"),
        (f"{parameters / 1e6:.1f} M", "parameters"),
    ]
    return report.paragraph(lead, "lead") + report.tiles(figures)


def photograph(found: Findings) -> str:
    """The photograph with the meshes on it, and the first mesh in a viewer."""
    assert found.photograph is not None
    folder, count = found.options.output_dir / "photograph", found.photograph["people"]
    shown = report.image(np.asarray(Image.open(folder / PHOTOGRAPH)), "a photograph with the recovered meshes on it")
    seconds = sum(taken for stage, taken in found.photograph["seconds"].items() if stage in NEEDED)
    text = (
        f"{count} {'person was' if count == 1 else 'people were'} found by MoveNet and recovered in {seconds:.2f} s, "
        "the first call of a network included. `tore infer photo.jpg` does the same. Drag the mesh to turn it."
    )
    boxes = [report.card(shown, "The photograph")]
    if count:
        with np.load(folder / MESHES) as meshes:
            mesh = ShownMesh("recovered", meshes["recovered"][0], MESH_COLOR)
            viewer = mesh_viewer([mesh], meshes["faces"], label="the mesh of the photograph, to be turned")
        boxes.append(report.card(viewer, "Its mesh"))
    return report.pair(*boxes) + report.paragraph(text, "soft")


def people(found: Findings) -> str:
    """The grid of held-out images."""
    count = found.inference["people"]
    text = (
        f"The first {count} held-out images, not chosen. The mesh is drawn with the recovered camera. The map of the "
        "kept tokens is the mean of where each of them looked. The last two columns are the truth."
    )
    rows = read_rows(found.options.output_dir / "inference", count)
    names = [f"held-out image {number}" for number in range(1, count + 1)]
    seconds = ", ".join(f"{stage} {taken:.2f} s" for stage, taken in found.inference["seconds"].items())
    files = (
        f"{found.inference['files']} files (overlays, tokens, glb meshes, joints and cameras) lie in inference/results"
    )
    return (
        report.paragraph(text)
        + report.image_rows(COLUMNS, rows, names)
        + report.paragraph(f"{files}: {seconds}.", "soft")
    )


def turning(found: Findings) -> str:
    """The meshes of the first people in viewers."""
    viewers = []
    with np.load(found.options.output_dir / "inference" / MESHES) as meshes:
        for place in range(min(VIEWERS, found.inference["people"])):
            shown = [
                ShownMesh("recovered", meshes["recovered"][place], MESH_COLOR),
                ShownMesh("truth", meshes["truth"][place], TRUTH_COLOR),
            ]
            label = f"the mesh of held-out image {place + 1}, to be turned"
            viewers.append(report.card(mesh_viewer(shown, meshes["faces"], label=label), f"Image {place + 1}"))
    text = "Drag a mesh, or use the arrow keys; a double click turns it back."
    return report.paragraph(text) + report.pair(*viewers)


def errors(found: Findings) -> str:
    """The table with the baselines, and how it was measured."""
    mean, rows = found.table[MEAN], []
    for name, metrics in found.table.items():
        pairs = [(f"{metrics[error]:.1f}", f"{metrics[error] / mean[error]:.0%}") for error in ERRORS]
        rows.append([name, *(text for one in pairs for text in one)])
    columns = ["", *(text for error in ERRORS.values() for text in (f"{error}, mm", "of mean"))]
    text = (
        "Mean distances to the truth over the held-out images; PA after a similarity alignment of each. The "
        "baselines give one mesh for every image: the mean of the training set's meshes, and the body model at rest."
    )
    strong = [place for place, name in enumerate(found.table) if name == found.shown]
    facts = [(line[:PROTOCOL_NAMES].strip(), line[PROTOCOL_NAMES:]) for line in found.table[found.shown]["protocol"]]
    return report.paragraph(text) + report.table(columns, rows, strong) + report.words_table(facts)


def curves(found: Findings) -> str:
    """Two runs: the training of the shown network, and a few images learnt by overfitting."""
    before = found.table[found.shown] if len(found.table) > 3 else None
    title = "Trained on from the shown network" if before else "Trained from scratch"
    levels = [Level("mean mesh", found.table[MEAN][error]) for error in ("mpjpe",)]
    boxes = [
        report.card(loss_chart(found.training), f"{title}: {length(found.training)}"),
        report.card(error_chart(found.training, before, levels), "Its errors on the held-out images"),
    ]
    if found.overfit:
        few = f"{found.options.overfit_images} images by overfitting, from scratch: {length(found.overfit)}"
        boxes.append(report.card(loss_chart(found.overfit), few))
        boxes.append(report.card(error_chart(found.overfit, None, []), "Its errors on those images"))
    text = (
        "Losses are shares of their first value, on augmented images in the first run and on fixed crops in the "
        "second, which shows that network, targets, losses and optimizer work together."
    )
    return report.paragraph(text) + report.pair(*boxes)


def length(run: dict[str, Any]) -> str:
    """A run's length in words."""
    return f"{run['epochs'] * run['steps']} steps of {run['batch']} images"


def loss_chart(run: dict[str, Any]) -> str:
    """The loss and its terms as shares of their first value."""
    series = [
        Series(text, [(step, value / run["curves"][name][0][1]) for step, value in run["curves"][name]])
        for name, text in TERMS.items()
    ]
    return line_chart(series, label="losses of training", x_label="step", y_label="share of the first value")


def error_chart(run: dict[str, Any], before: dict[str, Any] | None, levels: Sequence[Level]) -> str:
    """MPJPE and PA-MPJPE after each epoch, from what they were `before` the run where that is known."""
    series = []
    for name in ("mpjpe", "pa_mpjpe"):
        start = [] if before is None else [(0, before[name])]
        series.append(Series(ERRORS[name], [*start, *map(tuple, run["curves"][name])]))
    return line_chart(series, label="errors in validation", x_label="step", y_label="mm", levels=levels)


def costs(found: Findings) -> str:
    """Multiply-accumulates and parameters by part."""
    macs, parameters = found.cost["macs"], found.cost["parameters"]
    total = sum(macs.values())
    rows = [
        (part, count, [f"{count / 1e6:,.1f}", f"{count / total:.1%}", f"{parameters[part] / 1e6:,.2f}"])
        for part, count in macs.items()
        if count or parameters[part]
    ]
    columns = ["part", "", "million MACs", "share", "million parameters"]
    side = found.network["image_size"]
    counted = "counted as the paper counts them (its GFLOPs), and parameters."
    text = f"Multiply-accumulates of one {side} x {side} image, {counted}"
    return report.paragraph(text) + report.bar_table(columns, rows)


def settings(found: Findings, command: str) -> str:
    """Command, seed, network, stages, versions and machine."""
    config = ", ".join(f"{name} {value}" for name, value in found.network.items() if value not in (None, False))
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in found.seconds.items())
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {found.device}, {torch.get_num_threads()} threads"
    return report.words_table(
        [
            ("command", command),
            ("seed", str(found.options.seed)),
            ("network", config),
            ("stages", stages),
            ("versions", f"tore {__version__}, Python {platform.python_version()}, {packages}"),
            ("machine", machine),
        ]
    )
