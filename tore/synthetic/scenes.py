"""One image of people: who, how posed and dressed, where, before what, in which light, seen by which camera.

World frame: meters, y up, the ground at y = 0. An image depends on its recipe and its number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from tore.body import SMPL
from tore.body.joints import J24_NAMES
from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tore.synthetic.clearance import Balls, corner_balls, people_gap, posed_balls, solids_gap
from tore.synthetic.framing import draw_camera, draw_view
from tore.synthetic.free_body import people_shapes
from tore.synthetic.look import Look
from tore.synthetic.people import BATCH, SPLITS, Sample, Subject, label_of, load_figure
from tore.synthetic.photo_effects import encoded, photographed
from tore.synthetic.pose_prior import PosePrior
from tore.synthetic.posing import PosedMesh, Poser
from tore.synthetic.rendering import Rendering, World, render
from tore.synthetic.surfaces import Camera, Surface
from tore.synthetic.things import SEAT_JOINTS, clear_in_front, support
from tore.synthetic.visibility import covered_share, joint_states, visible_shares
from tore_runtime.cutting import box_around

Array = NDArray[np.float64]
Index = NDArray[np.integer]

COMPANY = (0.58, 0.28, 0.14)  # shares of the images with no, one and two further people
TOUCHING = 0.3  # share of further people who stand as near as they can
APART = (0.0, 1.8)  # meters between people who do not touch
BEFORE = 0.3  # share of the images with something in front
LEAST_FRAMED = 0.35  # of the person's side toward the camera in the image is seen; else what hides it goes
LEAST_COVERED = 0.03  # of the image's pixels show the person; else another camera is drawn
CAMERAS = 4  # that are drawn at most
PEOPLE_DRAWN = 4  # until what bears somebody does not run through the body
LEAST_AGE = 0.2  # of further people, on the scale of `people_shapes`: no babies, who look like people far away
NEAR_SHARE = 0.5  # of the first person's distance from the camera that further people have at least
STEP_ASIDE = 0.1  # meters
LIMBS = 12  # first joints of J24_NAMES
SHAPE_NOISE = 0.25  # of a standard deviation, beside the drawn person of the table
ABOVE_GROUND = {  # meters, by what bears the body
    "ground": (0.0, 0.0),
    "seat": (0.0, 0.0),
    "nothing": (0.02, 0.5),
    "hands": (0.1, 0.6),
    "saddle": (0.15, 0.5),
}
SEAT_HEIGHT = (0.3, 0.5)  # least meters of a seat
JOINT_DEPTH = {"Wrist": 0.07, "Elbow": 0.08, "Ankle": 0.08, "Knee": 0.1}  # meters below the clothes
TRUNK_DEPTH = 0.17


@dataclass(frozen=True)
class Person:
    """Somebody in the world: `pose (72,)` with the root in the world, `betas (10,)`, the mesh in its own frame, the
    `shift (3,)` that places it, what is seen of it, the `facing` in radians about the vertical from +z, the `kind` of
    the pose and what bears the body, as in `DrawnPose`, the body as `balls`, and the things `below` that bear it.
    """

    pose: Array
    betas: Array
    mesh: PosedMesh
    shift: Array
    surfaces: tuple[Surface, ...]
    facing: float
    kind: str
    support: str
    balls: Balls
    below: tuple[Surface, ...] = ()

    @property
    def skin(self) -> Array:
        """(6890, 3) the labeled mesh in the world."""
        return self.mesh.vertices.astype(np.float64) + self.shift

    def moved(self, by: Array) -> Person:
        """The same person elsewhere."""
        moved, below = (
            tuple(replace(s, vertices=s.vertices + by.astype(s.vertices.dtype)) for s in part)
            for part in (self.surfaces, self.below)
        )
        return replace(self, shift=self.shift + by, surfaces=moved, below=below, balls=self.balls.moved(by))

    def gap(self, other: Person) -> float:
        """Meters between the two and what bears them; negative where they run through each other."""
        things = solids_gap(corner_balls(self.below), other.below), solids_gap(corner_balls(other.below), self.below)
        beside = solids_gap(self.balls, other.below), solids_gap(other.balls, self.below)
        return min(people_gap(self.balls, other.balls), *beside, *things)


Scene = tuple[Person, ...]


class Drawn(NamedTuple):
    """An image before the camera's effects, and all that made it."""

    rendering: Rendering
    people: Scene
    world: World
    camera: Camera
    owners: Index  # (S,) of every surface the number of the person; -1 for things
    visible: float  # share of the first person's side toward the camera


class PeopleStudio:
    """Everything that stays the same from image to image."""

    def __init__(self, size: int, body_dir: str | Path, look: Look) -> None:
        self.figure = load_figure("body", body_dir)
        assert isinstance(self.figure.model, SMPL)
        self.size, self.look = size, look
        self.joint_rows = self.figure.model.j24_rows.double().numpy()
        self.poser, self.poses = Poser(self.figure.model), PosePrior.load()
        self.shapes, self.ages = people_shapes()

    def batch(self, seed: int, split: str, number: int, wanted: int) -> list[Sample]:
        """The images from number * BATCH on; each depends on (seed, split, index) alone."""
        return [self.sample(seed, split, number * BATCH + index) for index in range(wanted)]

    def sample(self, seed: int, split: str, index: int) -> Sample:
        """One row of the set."""
        rng = np.random.default_rng([seed, SPLITS[split], index])
        drawn = self.draw(rng)
        mask = np.isin(drawn.rendering.surface, np.flatnonzero(drawn.owners == 0))
        image = photographed(rng, drawn.rendering.radiance, mask)
        return Sample(encoded(rng, image), self.label(drawn), mask)

    def draw(self, rng: Generator) -> Drawn:
        """An image of one person or more; the first is the labeled one."""
        everybody = [self.person(rng)]
        for _ in range(int(rng.choice(3, p=COMPANY))):
            everybody += self._beside(rng, everybody)
        people, world, owners, camera, visible = self._framed(rng, everybody)
        background = self.look.photograph(rng, self.size)
        light = self.look.light(rng, background)
        rendering = render(world, camera, light, self.size, rng, background=background, ground=0.0)
        return Drawn(rendering, people, world, camera, owners, visible)

    def _framed(self, rng: Generator, everybody: Sequence[Person]) -> tuple[Scene, World, Index, Camera, float]:
        """Who is in the image, with what, and how much is seen of the first person, who takes enough of the image."""
        main, view = everybody[0], draw_view(rng)
        limbs = self.joint_rows[:LIMBS] @ main.skin
        for _ in range(CAMERAS):
            camera = draw_camera(rng, main.skin, self.figure.part, view, main.facing, self.size, 0.0, limbs)
            least = NEAR_SHARE * float(np.linalg.norm(main.skin[::9].mean(0) - camera.position))
            clear = tuple(p for p in everybody if p is main or _nearest(p, camera) > least)
            balls, solids = [p.balls for p in clear], [s for p in clear for s in p.below]
            before = clear_in_front(rng, camera, main.skin, self.size, balls, solids) if rng.random() < BEFORE else []
            for people, extra in ((clear, before), (clear, []), ((main,), [])):
                world, owners = gathered(people, extra)
                seen = visible_shares(world, owners == 0, camera, self.size)
                if seen.framed >= LEAST_FRAMED and covered_share(world, owners == 0, camera, self.size) > LEAST_COVERED:
                    return people, world, owners, camera, seen.share
            view = "whole"
        return people, world, owners, camera, seen.share

    def person(self, rng: Generator, youngest: float = 0.0) -> Person:
        """Somebody at the origin, on the ground, looking anywhere; `youngest` on the scale of `people_shapes`."""
        for _ in range(PEOPLE_DRAWN):
            person = self._somebody(rng, youngest)
            below = support(rng, person.support, person.skin, self.figure.part, person.facing, person.balls)
            if below is not None:
                return replace(person, below=tuple(below))
        return person

    def _somebody(self, rng: Generator, youngest: float) -> Person:
        row = int(rng.choice(np.flatnonzero(self.ages >= youngest)))
        betas = self.shapes[row] + SHAPE_NOISE * rng.standard_normal(10) * (np.arange(10) > 0)
        shaped, joints = (part.astype(np.float64) for part in self.poser.shaped(betas))
        body = self.poses.body.shaped(shaped, joints)
        drawn = self.poses.draw(rng, body=body)
        facing = float(rng.uniform(-np.pi, np.pi))
        pose = np.asarray(drawn.pose, np.float64).reshape(-1).copy()
        pose[:3] = rotated(_about_vertical(facing), pose[:3])
        mesh = self.poser.pose(pose, betas)
        surfaces = self.look.dress(rng, mesh, betas, float(self.ages[row]))
        lowest = min(float(surface.vertices[:, 1].min()) for surface in surfaces)
        above, seat = float(rng.uniform(*ABOVE_GROUND[drawn.support])), float(rng.uniform(*SEAT_HEIGHT))
        if drawn.support == "seat":  # higher where the feet do not reach the ground
            above = max(seat - float(mesh.vertices[np.isin(self.figure.part, SEAT_JOINTS), 1].min()) + lowest, 0.0)
        shift = -mesh.transforms[0, :3, :3] @ mesh.rest[0] - mesh.transforms[0, :3, 3]
        shift = np.array([shift[0], above - lowest, shift[2]], np.float64)
        balls = posed_balls(body, mesh)
        person = Person(pose, betas, mesh, np.zeros(3), surfaces, facing, drawn.kind, drawn.support, balls)
        return person.moved(shift)

    def _beside(self, rng: Generator, others: Sequence[Person]) -> list[Person]:
        """Somebody else near the first person, clear of all others and of what bears them; nobody where none fits."""
        other = self.person(rng, LEAST_AGE)
        angle = rng.uniform(0, 2 * np.pi)
        toward = np.array([np.cos(angle), 0.0, np.sin(angle)])
        gap = 0.0 if rng.random() < TOUCHING else rng.uniform(*APART)
        free: float | None = None  # distance at which the other touches nobody yet
        for distance in np.arange(STEP_ASIDE, 5.0, STEP_ASIDE):
            if free is not None and distance < free + gap:
                continue
            moved = other.moved(distance * toward)
            if min(moved.gap(person) for person in others) > 0:
                if free is not None or gap == 0:
                    return [moved]
                free = float(distance)
        return []

    def label(self, drawn: Drawn) -> dict:
        """Every field of the official format, `camera`, and what is visible."""
        person, camera = drawn.people[0], drawn.camera
        root = person.mesh.rest[0].astype(np.float64)
        translation = camera.rotation @ (root + person.shift - camera.position) - root
        pose = person.pose.copy()
        pose[:3] = rotated(camera.rotation, pose[:3])
        own = camera.to_camera(person.skin) - translation
        world_joints = self.joint_rows @ person.skin
        joints = camera.to_camera(world_joints) - translation
        betas = person.betas.astype(np.float32)
        subject = Subject(pose.astype(np.float32), betas, own, joints, camera.lens, translation)
        label = label_of("body", subject, self.size)
        outline = camera.lens.project(own + translation).clip(0, self.size)
        center, scale = box_around(outline)
        label |= {"center": np.round(center, 3).tolist(), "scale": round(scale, 6)}
        label["camera"]["up"] = np.round(camera.rotation[:, 1], 6).tolist()
        tall = float(np.ptp(person.mesh.shaped[:, 1])) / 1.7
        depth = tall * np.array([JOINT_DEPTH.get(name.partition("_")[2], TRUNK_DEPTH) for name in J24_NAMES])
        return label | {
            "visible": round(drawn.visible, 4),
            "joints_visible": joint_states(drawn.world, camera, world_joints, depth, self.size),
            "people": len(drawn.people),
            "pose_kind": person.kind,
        }


def gathered(people: Sequence[Person], beside: Sequence[Surface]) -> tuple[World, Index]:
    """People, what bears them and things as one world, and of every surface (S,) the person's number, -1 for things."""
    surfaces = [surface for person in people for surface in person.surfaces]
    beside = [*(surface for person in people for surface in person.below), *beside]
    owners = [number for number, person in enumerate(people) for _ in person.surfaces]
    return World([*surfaces, *beside]), np.array([*owners, *(-1 for _ in beside)])


def _nearest(person: Person, camera: Camera) -> float:
    """Meters between the camera and somebody or what bears somebody."""
    eye = Balls(camera.position[None], np.zeros(1), np.zeros(1, np.int64))
    return min(people_gap(person.balls, eye), solids_gap(eye, person.below))


def _about_vertical(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotated(rotation: Array, axis_angle: Array) -> Array:
    """The axis-angle (3,) of a rotation (3, 3) after the one of an axis-angle (3,)."""
    before = axis_angle_to_matrix(torch.from_numpy(np.array(axis_angle, np.float64))).numpy()
    return matrix_to_axis_angle(torch.from_numpy(rotation @ before)[None])[0].numpy()
