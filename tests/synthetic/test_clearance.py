"""People as balls and things as convex solids: gaps are known, and drawn people and things keep theirs."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tore.synthetic.clearance import CLOTH, Balls, corner_balls, people_gap, solid_gaps, solids_gap
from tore.synthetic.free_body import synthetic_body_dir
from tore.synthetic.look import open_look
from tore.synthetic.scenes import LEAST_AGE, LIMBS, PeopleStudio
from tore.synthetic.things import (
    SEAT_GIVE,
    SEAT_JOINTS,
    box,
    clear_in_front,
    cylinder,
    draw_pattern,
    in_front,
    leaves,
    support,
)
from tore.synthetic.visibility import inside

SIZE = 64


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> PeopleStudio:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return PeopleStudio(SIZE, synthetic_body_dir(), open_look(None, None, "train"))


def balls(*places: tuple[float, float, float], radius: float = 0.1) -> Balls:
    return Balls(np.array(places, float), np.full(len(places), radius), np.arange(len(places)))


def test_gaps_of_balls_and_solids_are_the_distances_between_them() -> None:
    assert people_gap(balls((0, 0, 0)), balls((0.5, 0, 0), (9, 0, 0))) == pytest.approx(0.3 - 2 * CLOTH)
    texture = draw_pattern(np.random.default_rng(0))
    crate = box("crate", (1, 2, 3), (0, 0, 0), 0.0, texture)
    got = solid_gaps(balls((0.7, 1, 0), (0, 1, 0), (0, 2.4, 0)), crate)
    assert got == pytest.approx([0.1, -0.6, 0.3])
    turn = Rotation.from_euler("y", 0.5).apply([0.8, 1.0, 0.0])
    assert solid_gaps(balls(tuple(turn)), box("crate", (1, 2, 3), (0, 0, 0), 0.5, texture)) == pytest.approx([0.2])
    post = cylinder("post", 0.2, np.zeros(3), np.array([0, 2.0, 0]), texture)
    assert solid_gaps(balls((0.5, 1, 0)), post) == pytest.approx([0.2], abs=0.005)
    assert solids_gap(balls((0, 0, 0)), [leaves(np.random.default_rng(0), np.zeros(3), 0.3)]) == np.inf
    assert solids_gap(corner_balls([crate]), [crate]) < -0.4 and solids_gap(balls((0, 0, 0)), []) == np.inf


def test_the_balls_follow_the_posed_skin(studio: PeopleStudio) -> None:
    person = studio.person(np.random.default_rng(3))
    distance = np.linalg.norm(person.balls.center[:, None] - person.skin, axis=2).min(1)
    assert np.median(np.abs(distance - person.balls.radius)) < 0.03
    assert person.moved(np.ones(3)).balls.center == pytest.approx(person.balls.center + 1)


def test_a_seat_lies_under_the_buttocks_and_not_in_the_legs(studio: PeopleStudio) -> None:
    rng, seen = np.random.default_rng(1), 0
    for _ in range(40):
        person = studio.person(rng)
        if person.support != "seat" or not person.below:
            continue
        seat, gaps = person.below[0], solid_gaps(person.balls, person.below[0])
        bearing = np.isin(person.balls.owner, SEAT_JOINTS)
        assert gaps[~bearing].min() > -0.02 and -SEAT_GIVE - 1e-6 <= gaps[bearing].min() < 0.05
        skin = person.skin[np.isin(studio.figure.part, SEAT_JOINTS)]
        low, high = seat.vertices.min(0), seat.vertices.max(0)
        on = ((skin > low) & (skin < high))[:, [0, 2]].all(1)
        assert abs(skin[on, 1].min() - high[1]) < 0.06 and low[1] == pytest.approx(0)
        seen += 1
    assert seen


def test_a_seat_that_cannot_but_run_through_the_body_is_none() -> None:
    skin = np.random.default_rng(0).uniform([-0.2, 0.4, -0.2], [0.2, 0.7, 0.2], (90, 3))
    parts = np.zeros(90, int)
    legs = Balls(np.array([(0, 0.5, 0), (0, 0.2, 0)]), np.array([0.1, 0.1]), np.array([0, 4]))
    free = Balls(legs.center + [[0, 0, 0], [0, 0, 0.6]], legs.radius, legs.owner)
    assert support(np.random.default_rng(0), "seat", skin, parts, 0.0, legs) is None
    assert support(np.random.default_rng(0), "seat", skin, parts, 0.0, free)
    assert support(np.random.default_rng(0), "ground", skin, parts, 0.0, legs) == []


def test_drawn_people_and_things_keep_apart_and_show_enough(studio: PeopleStudio) -> None:
    company = 0
    for number in range(12):
        drawn = studio.draw(np.random.default_rng(number))
        company += len(drawn.people) > 1
        for one, other in combinations(drawn.people, 2):
            assert one.gap(other) > 0
        bearing = [surface for person in drawn.people for surface in person.below]
        things = [s for s, owner in zip(drawn.world.surfaces, drawn.owners, strict=True) if owner < 0]
        before = [thing for thing in things if not any(thing is surface for surface in bearing)]
        assert all(solids_gap(person.balls, before) > 0 for person in drawn.people)
        limbs = studio.joint_rows[:LIMBS] @ drawn.people[0].skin
        assert inside(drawn.camera, limbs, SIZE).sum() >= 4
        assert (drawn.owners[drawn.rendering.surface[drawn.rendering.surface >= 0]] == 0).sum() > 0.02 * SIZE**2
    assert company


def test_further_people_are_no_babies_and_go_where_no_place_is(studio: PeopleStudio) -> None:
    rng = np.random.default_rng(0)
    main = studio.person(rng)
    wall = box("wall", (20, 9, 20), (0, -1, 0), 0.0, draw_pattern(rng))
    assert studio._beside(rng, [main]) and not studio._beside(rng, [main, replace(main, below=(wall,))])
    young = [shape for shape, age in zip(studio.shapes, studio.ages, strict=True) if LEAST_AGE <= age < 0.4]
    assert young and min(np.ptp(studio.poser.shaped(shape)[0][:, 1]) for shape in young) > 0.9


def test_things_in_front_run_through_nobody(studio: PeopleStudio) -> None:
    drawn = studio.draw(np.random.default_rng(0))
    main = drawn.people[0]
    free, unchecked = (
        [draw(np.random.default_rng(seed)) for seed in range(30)]
        for draw in (
            lambda rng: clear_in_front(rng, drawn.camera, main.skin, SIZE, [main.balls], []),
            lambda rng: in_front(rng, drawn.camera, main.skin, SIZE),
        )
    )
    assert (
        min(solids_gap(main.balls, made) for made in free) > 0 > min(solids_gap(main.balls, made) for made in unchecked)
    )
    assert sum(map(bool, free)) > 15
