"""Checks a rendered set of people: joints by MoveNet Thunder, outlines by the mesh that the labels describe.

    python scripts/check_people.py SET.yaml [--images 300] [--assets DIR] [--movenet FILE]

Joints: the share of the 12 limb joints that MoveNet Thunder finds within 0.2 of the torso of where COCO's keypoints lie
on the label's mesh, in a crop 1.25 times as large as the label's box; of single people who are whole in the image and
hardly hidden, by what the label says of the joint, and of all others. Outlines: the naked body of 40 scenes, rendered,
against the mesh of the label, drawn with the label's camera. The exit code is 1 where a single person's visible joints
are found less often than 0.87, or an outline agrees less than 0.97. The MoveNet that ships was trained on such images:
only Google's own weights say how much they are like photographs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from tore.body import SMPL, load_body
from tore.datasets.images import decode_image
from tore.datasets.sets import TSVSet
from tore.geometry.camera import PinholeCamera
from tore.modeling.movenet import KEYPOINT_NAMES, THUNDER_SIZE, decode_keypoints, load_movenet
from tore.synthetic.free_body import keypoint_rows, synthetic_body_dir
from tore.synthetic.look import open_look
from tore.synthetic.rendering import World, render
from tore.synthetic.scenes import PeopleStudio
from tore.synthetic.surfaces import Surface, plain_texture
from tore.synthetic.visibility import HIDDEN, OUTSIDE, VISIBLE
from tore_runtime.renderer import render as draw_mesh

NEAR, WANTED, LIKENESS = 0.2, 0.87, 0.97
MARGIN = 1.25
LIMBS = range(5, 17)  # of COCO's keypoints
LABEL_JOINTS = (9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0)  # the limbs' rows among the 24 label joints
WHOLE = 0.97  # least visible share of a single person who counts as whole
SCENES = 40


def mesh_of(label: dict, model: SMPL) -> tuple[np.ndarray, PinholeCamera]:
    """The label's mesh (6890, 3) in the camera frame, meters, and its camera."""
    pose, betas = (torch.tensor([label[name]], dtype=torch.float32) for name in ("pose", "betas"))
    camera = label["camera"]
    with torch.no_grad():
        vertices = model(pose, betas)[0].double().numpy() + np.array(camera["translation"])
    return vertices, PinholeCamera(camera["focal_length"], tuple(camera["principal_point"]))


def found_by_movenet(images: list[np.ndarray], labels: list[dict], weights: Path | None) -> np.ndarray:
    """(N, 17, 3) keypoints x, y in the images' pixels, score."""
    network, out = load_movenet("thunder", weights), []
    for image, label in zip(images, labels, strict=True):
        side = label["scale"] * 200 * MARGIN / 1.2
        corner = np.array(label["center"]) - side / 2
        grow = THUNDER_SIZE / side
        matrix = np.array([[grow, 0, -grow * corner[0]], [0, grow, -grow * corner[1]]])
        crop = cv2.warpAffine(image, matrix, (THUNDER_SIZE, THUNDER_SIZE), flags=cv2.INTER_LINEAR)
        with torch.no_grad():
            points = decode_keypoints(network(torch.from_numpy(crop).permute(2, 0, 1)[None].float()))[0].numpy()
        points[:, :2] = points[:, :2] * side + corner
        out.append(points)
    return np.stack(out)


def check_joints(yaml: Path, wanted: int, model: SMPL, weights: Path | None) -> bool:
    """Prints the shares by MoveNet of these weights; whether single people's visible joints are found often enough."""
    rows, rules = TSVSet(yaml), keypoint_rows()
    labels, images, singles = [], [], 0
    for index in range(len(rows)):
        label = json.loads(rows.columns("label", index)[-1])[0]
        labels.append(label)
        images.append(decode_image(rows.columns("img", index), rows.place("img", index)))
        singles += is_single(label)
        if singles == wanted:
            break
    found = found_by_movenet(images, labels, weights)
    near = np.zeros((len(labels), len(LIMBS)), bool)
    for index, label in enumerate(labels):
        vertices, camera = mesh_of(label, model)
        true = camera.project(rules @ vertices)
        torso = max(np.linalg.norm(true[5] - true[12]), np.linalg.norm(true[6] - true[11]))
        near[index] = np.linalg.norm(found[index, LIMBS, :2] - true[LIMBS], axis=1) < NEAR * torso
    states = np.array([np.array(label["joints_visible"])[list(LABEL_JOINTS)] for label in labels])
    single = np.array([is_single(label) for label in labels])
    print(f"{len(labels)} images, {single.sum()} of single, whole people; share of limb joints found:")
    groups = {"single, whole": single, "alone, cut off or hidden": ~single & alone(labels), "crowds": ~alone(labels)}
    for name, mine in groups.items():
        shares = [
            f"{word} {near[mine][states[mine] == state].mean():.3f} of {(states[mine] == state).sum()}"
            for word, state in (("visible", VISIBLE), ("hidden", HIDDEN), ("outside", OUTSIDE))
            if (states[mine] == state).any()
        ]
        print(f"  {name}: {', '.join(shares)}")
    for limb, row in enumerate(LIMBS):
        seen = single & (states[:, limb] == VISIBLE)
        print(f"    {KEYPOINT_NAMES[row]}: {near[seen, limb].mean():.3f}")
    kinds = sorted({label["pose_kind"] for label in labels})
    for kind in kinds:
        mine = single & np.array([label["pose_kind"] == kind for label in labels])
        if mine.any():
            print(f"    {kind}: {near[mine][states[mine] == VISIBLE].mean():.3f} of {mine.sum()} people")
    return bool(near[single][states[single] == VISIBLE].mean() >= WANTED)


def is_single(label: dict) -> bool:
    """Whether the image shows one person, whole and hardly hidden."""
    return label["people"] == 1 and label["visible"] >= WHOLE and OUTSIDE not in label["joints_visible"]


def alone(labels: list[dict]) -> np.ndarray:
    """(N,) whether the images show one person."""
    return np.array([label["people"] == 1 for label in labels])


def check_outlines(model: SMPL, assets: Path | None) -> bool:
    """Prints how well naked bodies agree with the labels' meshes; whether all do."""
    studio = PeopleStudio(256, synthetic_body_dir(), open_look(assets, None, "val"))
    likeness = []
    for number in range(SCENES):
        rng = np.random.default_rng([9, number])
        drawn = studio.draw(rng)
        person = drawn.people[0]
        places = np.zeros((1, 2)), np.zeros_like(studio.figure.faces)
        naked = Surface("skin", person.skin, studio.figure.faces, *places, plain_texture((200, 150, 120)))
        light = studio.look.light(rng)
        shown = render(World([naked]), drawn.camera, light, studio.size, rng).surface == 0
        label = json.loads(json.dumps(studio.label(drawn)))
        vertices, camera = mesh_of(label, model)
        assert np.abs(vertices - drawn.camera.to_camera(person.skin)).max() < 1e-5, "the mesh is not the label's"
        mesh = draw_mesh(vertices, studio.figure.faces, camera, shown.shape, samples=1).mask
        likeness.append((shown & mesh).sum() / max((shown | mesh).sum(), 1))
    print(f"outlines of {SCENES} naked bodies: mean IoU {np.mean(likeness):.4f}, least {min(likeness):.4f}")
    return min(likeness) >= LIKENESS


def main() -> int:
    """Runs both checks; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="yaml file of the set")
    parser.add_argument("--images", type=int, default=300, help="single, whole people")
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--movenet", type=Path, help="Google's weights, by scripts/convert_movenet.py [what ships]")
    args = parser.parse_args()
    model = load_body("body", synthetic_body_dir())
    assert isinstance(model, SMPL)
    results = [check_outlines(model, args.assets), check_joints(args.set, args.images, model, args.movenet)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
