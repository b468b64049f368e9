"""What training and evaluation ask of a set before they begin: a quick look at some rows, and labels that are of use.

It costs about a second. What it finds is what `tore data check` finds, on a sample of the rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tore.body.body_model import MANO, SMPL, BodyModel
from tore.datasets.inspection.checking import KIND, Look, look_at
from tore.datasets.inspection.gallery import PosedMesh
from tore.datasets.inspection.rows import Finding
from tore.datasets.label import Label
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import BadSample
from tore.datasets.tsv import checksum_path
from tore.engine.distributed import Processes
from tore.losses.recipes import LossRecipe

ROWS, SECONDS = 64, 1.0  # of a quick look
# Errors that make a row useless whatever the others are; the rest may be one odd label among many.
FATAL = ("index", "keys", "checksum", KIND, "img row", "label row")
ODD_SHARE, ODD_ROWS = 0.2, 2  # of the rows looked at: from these on odd labels are no longer single ones
BROKEN_SHARE = 0.5  # of the rows looked at, which `--on_bad_sample skip` puts up with
Usable = Callable[[Label], bool]


def posed_mesh(body: BodyModel) -> PosedMesh:
    """Full mesh and labeled joints of pose and shape, on the CPU whatever the body's device is."""
    assert isinstance(body, SMPL | MANO)

    @torch.no_grad()
    def run(pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        device = body.faces.device
        pose, betas = pose.to(device), betas.to(device)
        if isinstance(body, MANO):
            vertices, joints = body.layer_joints(pose, betas)
        else:
            vertices = body(pose, betas)
            joints = body.joints24(vertices)
        return vertices.cpu(), joints.cpu()

    return run


def trains(recipe: LossRecipe, kind: str) -> Usable:
    """Whether a label moves one of the recipe's losses. A hand's 3D joints are those of its pose."""

    def usable(label: Label) -> bool:
        mesh = recipe.vertices or recipe.normal or recipe.edge or recipe.itp or recipe.smpl_parameters
        if label.has_smpl and (mesh or (kind == "hand" and recipe.joints_3d)):
            return True
        if kind == "body" and recipe.joints_3d and label.has_3d_joints and (label.joints_3d[:, 3] > 0).any():
            return True
        return bool(recipe.joints_2d) and bool((label.joints_2d[:, 2] > 0).any())

    return usable


def check_before(
    dataset: MeshDataset,
    body: BodyModel | None,
    processes: Processes,
    say: Callable[[str], None],
    *,
    body_dir: str | Path | None = None,
    usable: Usable | None = None,
) -> None:
    """Looks at some rows on the main process. ValueError on every process where the set is not fit for use.

    usable: of a training set, whether a label moves one of the run's losses; without a single such label the set is
    refused. `dataset.on_bad_sample` "skip" puts up with rows that are passed over.
    """
    refusal = None
    if processes.is_main:
        try:
            refuse_labels_of_another(dataset, body)
            look = look_at(dataset, None if body is None else _joints_of(body), ROWS, SECONDS)
            refusal = refusal_of(look, dataset, body_dir, say)
            if refusal is None and usable is not None:
                refusal = label_refusal(look, dataset, usable, say)
        except (ValueError, OSError) as error:  # the other processes wait for what this one says
            refusal = str(error)
    if refusal := processes.gather(refusal)[0]:
        raise ValueError(refusal)


def refuse_labels_of_another(dataset: MeshDataset, body: BodyModel | None) -> None:
    """ValueError, which names both, where a set records another body model than the one in use."""
    recorded = dataset.rows.body_model
    if recorded is not None and body is not None:
        recorded.refuse_another(body.identity, f"{dataset.rows.path} has labels of")


def _joints_of(body: BodyModel) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    mesh = posed_mesh(body)
    return lambda pose, betas: mesh(pose, betas)[1]


def refusal_of(look: Look, dataset: MeshDataset, body_dir: str | Path | None, say: Callable[[str], None]) -> str | None:
    """Why a set cannot be used, or None. Single odd labels are said and used."""
    more = f"`{check_command(dataset, body_dir)}` shows more"
    for finding in look.whole:
        if not _is_of_linelist(finding, dataset):
            return f"{_shown(finding)}; {more}"
    if look.whole:  # which rows a set has is chosen by hand more often than damaged
        say(f"{_shown(look.whole[0])}; {more}")
    fatal = [finding for finding in look.broken.values() if finding.check in FATAL]
    odd = [finding for finding in look.broken.values() if finding.check not in FATAL]
    found = f"{len(look.broken)} of {look.looked} rows looked at of {dataset.rows.path} are faulty"
    skipping = dataset.on_bad_sample == "skip" and len(fatal) <= BROKEN_SHARE * look.looked
    if fatal and not skipping:
        return f"{found}: {_shown(fatal[0])}; {more}"
    if len(odd) >= max(ODD_ROWS, ODD_SHARE * look.looked):
        return f"{found}: {_shown(odd[0])}; {more}"
    if look.broken:
        use = "such rows are passed over" if fatal else "they are used all the same"
        say(f"{found}, and {use}: {_shown((fatal or odd)[0])}; {more}")
    return None


def label_refusal(look: Look, dataset: MeshDataset, usable: Usable, say: Callable[[str], None]) -> str | None:
    """Why a training set teaches nothing, or None. A set with 2D joints only is allowed and said."""
    if not any(map(usable, look.labels)):
        say(f"of {look.looked} rows of {dataset.rows.path} none has a label that this run's losses use: reading all")
        if not any(usable(label) for label in _labels(dataset)):
            return (
                f"none of the {len(dataset)} samples of {dataset.rows.path} has a label that this run's losses use (a "
                "mesh, 3D joints, or 2D joints with confidence): nothing would be learned; give a set with labels"
            )
    elif not any(label.has_smpl or label.has_3d_joints for label in look.labels):
        say(f"{dataset.rows.path}: of {len(look.labels)} rows looked at none has a mesh or 3D joints: 2D joints alone")
    return None


def _labels(dataset: MeshDataset) -> Iterator[Label]:
    """Every label that can be read."""
    for index in range(len(dataset)):
        try:
            yield dataset.label(index)
        except BadSample:
            continue


def check_command(dataset: MeshDataset, body_dir: str | Path | None) -> str:
    """The command line that checks every row of the set."""
    words = ["tore", "data", "check", str(dataset.rows.path), "--body", dataset.layout.kind]
    return shlex.join(words + (["--body_dir", str(body_dir)] if body_dir else []))


def _is_of_linelist(finding: Finding, dataset: MeshDataset) -> bool:
    path = dataset.rows.linelist_path
    return path is not None and finding.place in (str(path), str(checksum_path(path)))


def _shown(finding: Finding) -> str:
    return f"{finding.place}" + (f" (key {finding.key!r})" if finding.key else "") + f": {finding.text}"
