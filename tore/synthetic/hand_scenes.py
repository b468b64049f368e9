"""One image of a hand: a right hand with its forearm in any pose, from any side, perhaps around something.

World frame: meters, y up. An image depends on its recipe and its number alone.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tore.body import MANO
from tore.geometry.camera import PinholeCamera
from tore.synthetic.framing import look_from, placed
from tore.synthetic.free_body import Forearm, Texture, forearm, texture
from tore.synthetic.hand_pose_prior import HandPosePrior, HeldObject
from tore.synthetic.held_things import gripped_thing, held_thing
from tore.synthetic.look import Look
from tore.synthetic.people import BATCH, SPLITS, Sample, Subject, label_of, load_figure
from tore.synthetic.photo_effects import encoded, photographed
from tore.synthetic.posing import PosedMesh, Poser
from tore.synthetic.rendering import Rendering, World, render
from tore.synthetic.surfaces import Camera, Surface, vertex_normals
from tore.synthetic.things import draw_pattern
from tore.synthetic.visibility import joint_states, visible_share

Array = NDArray[np.float64]

FIELD_OF_VIEW = (15.0, 55.0)  # degrees
FILL = (0.4, 0.75)  # longer side of the hand's box over the image's
STRAY = 0.05
LEVEL = (10.0, 20.0)  # degrees that the camera looks down: mean, spread
FOREARM_TOWARD_CAMERA = -0.3  # least share of the way along which a forearm may reach for the camera
BEND = np.array([20.0, 14.0, 22.0])  # degrees: the wrist's twist, its sideways bend, its bend
BEND_LENGTH = 0.05  # meters of the forearm within which it bends
ELONGATION = ((0.12, 1.1), (0.5, 1.3))  # meters beyond the forearm's end, and how much wider the arm is there
SLEEVED, SECOND = 0.45, 0.12  # shares of the images
GRIPPING, HOLDING = 0.8, 0.1  # shares of the hands in a grip, and of the others, that hold something
SLEEVE = (0.003, 0.010)  # meters over the skin
WIDE = (1.0, 3.0)  # how much wider the background's field of view is
LEAST_SEEN = 0.4  # of the hand; else the second one goes
JOINT_DEPTH = 0.022  # meters below the skin
SHAPE_LIMIT = 2.2
SKIN_GLOSS = 0.2


class Hand(NamedTuple):
    """A hand in the world: `pose (48,)` with the root in the world, `betas (10,)`, `mesh (778, 3)`, its root joint
    `root (3,)` at rest, around which it turns and which lies at the world's origin, and the surfaces of hand, forearm
    and sleeve.
    """

    pose: Array
    betas: Array
    mesh: Array
    root: Array
    surfaces: list[Surface]
    held: HeldObject | None  # what its grip is for, in the world


class HandStudio:
    """Everything that stays the same from image to image."""

    def __init__(self, size: int, body_dir: str | Path, look: Look) -> None:
        self.figure = load_figure("hand", body_dir)
        assert isinstance(self.figure.model, MANO)
        self.size, self.look = size, look
        self.poser, self.gestures = Poser(self.figure.model), HandPosePrior.load()
        self.joint_rows = self.figure.model.output_rows.double().numpy()
        self.arm, arm_places = _elongated(forearm(), texture("forearm"))
        self.places = texture("hand"), arm_places

    def batch(self, seed: int, split: str, number: int, wanted: int = BATCH) -> list[Sample]:
        """The images from number * BATCH on; each depends on (seed, split, index) alone."""
        return [self.sample(seed, split, number * BATCH + index) for index in range(wanted)]

    def sample(self, seed: int, split: str, index: int) -> Sample:
        """One row of the set."""
        rng = np.random.default_rng([seed, SPLITS[split], index])
        hand, world, camera, rendering = self.draw(rng)
        image = photographed(rng, rendering.radiance, rendering.surface == 0)
        mask = (rendering.surface >= 0) & (rendering.surface < len(hand.surfaces))
        return Sample(encoded(rng, image), self.label(hand, world, camera), mask)

    def draw(self, rng: Generator) -> tuple[Hand, World, Camera, Rendering]:
        """A hand and its image."""
        down = np.radians(LEVEL[0] + LEVEL[1] * rng.standard_normal())
        view = look_from(0.0, float(down), 0.0)
        seen = random_rotation(RandomState(int(rng.integers(2**32))))  # of the hand in the camera's axes
        if seen[2, 0] < FOREARM_TOWARD_CAMERA:
            seen = np.diag([-1.0, 1.0, -1.0]) @ seen
        hand = self.hand(rng, view.T @ seen)
        thing = self._held(rng, hand)
        surfaces = [*hand.surfaces, *([thing] if thing else [])]
        second = self._second(rng, hand) if rng.random() < SECOND else []
        field = np.radians(rng.uniform(*FIELD_OF_VIEW))
        lens = PinholeCamera(float(self.size / 2 / np.tan(field / 2)), (self.size / 2, self.size / 2))
        middle = self.size * (0.5 + STRAY * rng.standard_normal(2).clip(-2, 2))
        camera = placed(lens, view, hand.mesh, self.size * rng.uniform(*FILL), middle)
        for further in (second, []):
            world = World([*surfaces, *further])
            mine = np.arange(len(world.surfaces)) == 0
            if not further or visible_share(world, mine, camera, self.size) >= LEAST_SEEN:
                break
        light = self.look.light(rng)
        background = self.look.photograph(rng, self.size)
        if background is None:
            wide = Camera(replace(lens, focal_length=lens.focal_length / rng.uniform(*WIDE)), view, camera.position)
            background = light.radiance(wide.all_directions(self.size))
        return hand, world, camera, render(world, camera, light, self.size, rng, background=background)

    def hand(self, rng: Generator, turn: Array) -> Hand:
        """A hand around the world's origin, turned by a rotation (3, 3) from fingers along -x, palm down."""
        betas = rng.standard_normal(10).clip(-SHAPE_LIMIT, SHAPE_LIMIT)
        drawn = self.gestures.draw(rng)
        pose = np.concatenate([np.zeros(3), drawn.fingers.ravel() - self.figure.mean_pose])
        mesh = self.poser.pose(pose, betas)
        root = mesh.rest[0].astype(np.float64)
        vertices = (mesh.vertices - root) @ turn.T
        arm = (self._arm(rng, mesh, betas) - root) @ turn.T
        skin = self.look.hand_skin(rng)
        own, behind = self.places
        surfaces = [
            Surface("hand", vertices, self.figure.faces, own.places, own.faces, skin, gloss=SKIN_GLOSS),
            Surface("forearm", arm, self.arm.faces, behind.places, behind.faces, skin, gloss=SKIN_GLOSS),
        ]
        if rng.random() < SLEEVED:
            surfaces.append(self._sleeve(rng, arm))
        pose[:3] = Rotation.from_matrix(turn).as_rotvec()
        held = drawn.held
        if held is not None:
            held = replace(held, center=turn @ (held.center - root), frame=turn @ held.frame)
        return Hand(pose, betas, vertices, root, surfaces, held)

    def _held(self, rng: Generator, hand: Hand) -> Surface | None:
        """What the hand holds: most often what its grip is for, sometimes what other hands have space for."""
        texture, chance = draw_pattern(rng), rng.random()
        if hand.held is not None:
            return gripped_thing(hand.held, hand.mesh, texture) if chance < GRIPPING else None
        return held_thing(rng, hand.mesh, self.joint_rows @ hand.mesh, texture) if chance < HOLDING else None

    def _arm(self, rng: Generator, mesh: PosedMesh, betas: Array) -> Array:
        """(N, 3) the forearm in the hand's frame, bent at the wrist."""
        arm = self.arm.vertices + self.arm.shapes @ betas
        arm[: len(self.arm.rim)] = mesh.vertices[self.arm.rim]
        wrist = mesh.rest[0].astype(np.float64)
        start = arm[: len(self.arm.rim), 0].mean()
        share = ((arm[:, 0] - start) / BEND_LENGTH).clip(0, 1)
        share[: len(self.arm.rim)] = 0
        angles = np.radians(BEND) * rng.standard_normal(3).clip(-2, 2)
        return Rotation.from_rotvec(share[:, None] * angles).apply(arm - wrist) + wrist

    def _sleeve(self, rng: Generator, arm: Array) -> Surface:
        """Cloth around the forearm from somewhere behind the wrist."""
        behind = self.arm.vertices[:, 0] - self.arm.vertices[: len(self.arm.rim), 0].mean()
        faces = self.arm.faces[(behind[self.arm.faces] > rng.uniform(0.0, 0.1)).all(1)]
        over = rng.uniform(*SLEEVE) * (1 + 0.3 * np.sin(behind * rng.uniform(20, 120)))[:, None]
        cloth = arm + over * vertex_normals(arm, self.arm.faces)
        angle = np.arctan2(self.arm.vertices[:, 1], self.arm.vertices[:, 2])
        places = np.stack([np.abs(angle) * rng.uniform(0.3, 2.0), behind * rng.uniform(3, 20)], 1) % 1.0
        return Surface("sleeve", cloth, faces, places, faces, draw_pattern(rng))

    def _second(self, rng: Generator, hand: Hand) -> list[Surface]:
        """Another hand near the first, as likely a left one."""
        turn = random_rotation(RandomState(int(rng.integers(2**32))))
        left = rng.random() < 0.5
        away = rng.standard_normal(3)
        offset = away / np.linalg.norm(away) * rng.uniform(0.09, 0.2) + hand.mesh.mean(0)
        out = []
        for surface in self.hand(rng, turn).surfaces:
            if left:
                mirrored = surface.vertices * [-1, 1, 1]
                surface = replace(surface, faces=surface.faces[:, ::-1], face_places=surface.face_places[:, ::-1])
                surface = replace(surface, vertices=mirrored)
            out.append(replace(surface, vertices=surface.vertices + offset))
        return out

    def label(self, hand: Hand, world: World, camera: Camera) -> dict:
        """Every field of the official format, `camera`, and what is visible."""
        translation = -camera.rotation @ camera.position - hand.root
        pose = hand.pose.copy()
        pose[:3] = (Rotation.from_matrix(camera.rotation) * Rotation.from_rotvec(pose[:3])).as_rotvec()
        own = camera.to_camera(hand.mesh) - translation
        joints = self.joint_rows @ hand.mesh
        seen, betas = camera.to_camera(joints) - translation, hand.betas.astype(np.float32)
        subject = Subject(pose.astype(np.float32), betas, own, seen, camera.lens, translation)
        label = label_of("hand", subject, self.size)
        return label | {"joints_visible": joint_states(world, camera, joints, JOINT_DEPTH, self.size)}


def _elongated(arm: Forearm, places: Texture) -> tuple[Forearm, Texture]:
    """The forearm with more of the arm behind its open end, in the colors of that end."""
    edges = np.concatenate([arm.faces[:, [0, 1]], arm.faces[:, [1, 2]], arm.faces[:, [2, 0]]])
    rows = np.concatenate([places.faces[:, 0], places.faces[:, 1], places.faces[:, 2]])
    row_of = dict(zip(edges[:, 0].tolist(), rows.tolist(), strict=True))
    there = set(map(tuple, edges.tolist()))
    following = {a: b for a, b in there if (b, a) not in there and a >= len(arm.rim)}
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    ring, count = np.array(loop), len(loop)
    end, middle = arm.vertices[ring], arm.vertices[ring].mean(0)
    along = middle - arm.vertices[: len(arm.rim)].mean(0)
    along /= np.linalg.norm(along)
    more = [middle + wide * (end - middle) + far * along for far, wide in ELONGATION]
    first = len(arm.vertices)
    rings = [ring, *(first + count * number + np.arange(count) for number in range(len(more)))]
    ring_rows = np.array([row_of[vertex] for vertex in loop])
    faces, face_places = [arm.faces], [places.faces]
    for near, far in pairwise(rings):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        row_next = np.roll(ring_rows, -1)
        faces += [np.stack([near_next, near, far], 1), np.stack([near_next, far, far_next], 1)]
        face_places += [np.stack([row_next, ring_rows, ring_rows], 1), np.stack([row_next, ring_rows, row_next], 1)]
    return (
        Forearm(
            np.concatenate([arm.vertices, *more]),
            np.concatenate(faces),
            arm.rim,
            np.concatenate([arm.shapes, *(arm.shapes[ring] for _ in more)]),
        ),
        Texture(places.places, np.concatenate(face_places)),
    )


def random_rotation(rng: RandomState) -> np.ndarray:
    """(3, 3) uniform over all rotations: a normal quaternion, made unit."""
    quaternion = rng.standard_normal(4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
