"""Files of poses and results become motions, and what they do not say is told or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tore.body import BodyIdentity
from tore.motion import Motion, Reading, read_motions

RNG = np.random.default_rng(5)
POSES = RNG.normal(0, 0.3, (6, 72))
PLACES = RNG.normal(0, 1, (6, 3))
BETAS = RNG.normal(0, 1, (6, 10))


def poses_file(path: Path, **more: Any) -> Path:
    """What `tore infer --save_poses` writes of two people in three images; None leaves an entry out."""
    held: dict[str, Any] = {
        "poses": POSES, "trans": PLACES, "frame_betas": BETAS, "betas": BETAS.mean(0), "gender": "neutral",
        "frame": "the camera of each image: x right, y down, z away; meters and radians", "mocap_framerate": 24.0,
        "valid": np.array([1, 1, 1, 0, 1, 1], bool), "person": np.array([1, 2, 1, 2, 1, 2]),
    }  # fmt: skip
    held |= more
    np.savez(path, **{name: np.asarray(value) for name, value in held.items() if value is not None})
    return path


def amass_file(path: Path, **more: Any) -> Path:
    """As AMASS has them: SMPL-H, no frames' betas, no word about axes."""
    held = {"poses": RNG.normal(0, 0.3, (4, 156)), "trans": PLACES[:4], "betas": RNG.normal(0, 1, 16), "gender": "male"}
    np.savez(path, **held | {"mocap_framerate": 120.0, "dmpls": np.zeros((4, 8))} | more)
    return path


def result_file(path: Path, image: str, person: int = 1, **more: Any) -> Path:
    """What `tore infer --save_results` writes of one person, as far as it counts here."""
    held = {"picture": image, "person": person, "kind": "body", "smpl_pose": POSES[0], "smpl_betas": BETAS[0]}
    held |= {"smpl_translation": PLACES[0]} | more
    if path.suffix == ".json":
        plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in held.items()}
        path.write_text(json.dumps(plain))
    else:
        np.savez(path, **held)
    return path


def read(path: Path, *, lines: list[str] | None = None, **said: Any) -> list[Motion]:
    return read_motions([path], Reading(**said, tell=(lines if lines is not None else []).append))


def test_people_of_a_file_are_motions_with_gaps(tmp_path: Path) -> None:
    lines: list[str] = []
    first, second = read(poses_file(tmp_path / "film 1.npz"), lines=lines)
    assert (first.name, second.name) == ("film_1_person1", "film_1_person2") and not lines
    assert np.array_equal(first.pose, POSES[::2]) and np.array_equal(first.translation, PLACES[::2])
    assert np.array_equal(first.betas, BETAS[::2]) and first.frame_rate == 24 and first.axes == "camera"
    assert second.known.tolist() == [True, False, True]  # `valid` says so, whatever the numbers are
    (only,) = read(tmp_path / "film 1.npz", person=2, frame_rate=50.0, axes="y_up")
    assert only.name == "film_1_person2" and only.frame_rate == 50 and only.axes == "y_up"


def test_amass_files_are_read_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    (motion,) = read(path := amass_file(tmp_path / "a.npz"), lines=lines)
    with np.load(path) as held:
        assert np.array_equal(motion.pose[:, :66], held["poses"][:, :66]) and not motion.pose[:, 66:].any()
        assert np.array_equal(motion.betas, np.tile(held["betas"][:10], (4, 1)))
    assert (motion.kind, motion.gender, motion.axes, motion.frame_rate) == ("body", "male", "z_up", 120)
    told = " ".join(lines)
    assert "SMPL-H" in told and "16 betas: the first 10" in told and "z is taken to be up" in told
    assert read(amass_file(tmp_path / "b.npz", gender=np.array(b"f")))[0].gender == "female"
    assert read(path, gender="neutral", axes="y_up")[0].gender == "neutral"


def test_hands_of_both_sides(tmp_path: Path) -> None:
    sides = np.array(["left", "right", "left", "left", "left", "right"])
    path = poses_file(tmp_path / "hands.npz", poses=POSES[:, :48], side=sides)
    found = {motion.name: motion for motion in read(path)}
    assert list(found) == ["hands_person1_left", "hands_person2_right"]  # the row of a left second hand is not valid
    assert found["hands_person1_left"].left and not found["hands_person2_right"].left
    assert found["hands_person2_right"].known.tolist() == [True, False, True]
    assert found["hands_person1_left"].kind == "hand" and found["hands_person1_left"].fingers == "mean"
    for side in ("left", "right"):
        (motion,) = read(path, side=side)
        assert motion.name == {"left": "hands_person1_left", "right": "hands_person2_right"}[side]
    plain = poses_file(tmp_path / "plain.npz", poses=POSES[:, :12], person=None, valid=None)
    (motion,) = read(plain, left=True)
    assert motion.left and motion.fingers == "pca" and motion.name == "plain_left"
    full = poses_file(tmp_path / "full.npz", poses=POSES[:, :48], person=None, valid=None)
    assert read(full, fingers="pca")[0].fingers == "pca"


def test_results_come_in_the_natural_order_of_their_images(tmp_path: Path) -> None:
    files = [result_file(tmp_path / f"{n}.npz", f"in/f{n}.png", smpl_pose=POSES[n % 6]) for n in (10, 9, 11)]
    files.append(result_file(tmp_path / "other.json", "in/f9.png", person=2))
    first, second = read_motions(files, Reading(frame_rate=10.0))
    assert (first.name, second.name) == ("body_person1", "body_person2")
    assert np.array_equal(first.pose, POSES[[3, 4, 5]]) and first.axes == "camera"
    assert second.known.tolist() == [True, False, False]
    (still,) = read_motions([files[0]])  # one image needs no rate
    assert len(still.pose) == 1 and still.name == "body"


def test_results_of_hands(tmp_path: Path) -> None:
    hand = {"mano_pose": POSES[0, :48], "mano_betas": BETAS[0], "mano_translation": PLACES[0], "side": "left"}
    path = tmp_path / "hand.npz"
    np.savez(path, picture="a.png", person=1, kind="hand", **hand)
    (motion,) = read(path)
    assert motion.left and motion.kind == "hand" and motion.name == "hand_left"


def test_the_record_of_the_body_model_is_kept(tmp_path: Path) -> None:
    record = BodyIdentity("SMPL", "ab", "cd")
    path = poses_file(tmp_path / "a.npz", body_model=json.dumps(record.described()))
    assert read(path, person=1)[0].body == record and read(path, person=1)[0].of_mean_shape().body is None
    one = result_file(tmp_path / "1.json", "1.png", body_model=record.described())
    other = result_file(tmp_path / "2.json", "2.png")
    with pytest.raises(ValueError, match="are of different body models"):
        read_motions([one, other], Reading(frame_rate=1.0))


@pytest.mark.parametrize(
    ("more", "said", "told"),
    [
        ({"mocap_framerate": None}, {}, "does not say how many frames a second has; add --frame_rate"),
        ({"trans": None}, {}, "has no field 'trans'"),
        ({"trans": PLACES[:5]}, {}, r"trans has shape \(5, 3\), expected \(6, 3\)"),
        ({"poses": POSES[:, :71]}, {}, "poses have 71 numbers, not a body's 66, 72, 156, 165, nor a hand's 4 to 48"),
        ({"poses": POSES * np.nan}, {}, "none of its 6 rows has a pose"),
        ({"poses": np.full((6, 72), "x")}, {}, "poses does not hold an array of numbers"),
        ({"poses": np.full((6, 72), None, object)}, {}, "cannot be read as an .npz archive"),
        ({"frame": "the moon"}, {}, r"frame 'the moon' is not known; add --axes camera\|z_up\|y_up"),
        ({"gender": "x"}, {}, "gender 'x' is not known; add --gender"),
        ({"frame_betas": None, "betas": BETAS[:3]}, {}, r"betas has shape \(3, 10\)"),
        ({"person": np.full(6, 0.5)}, {}, "person holds 0.5, 0.5, 0.5 and 3 more, no whole numbers"),
        ({"poses": POSES[:, :48], "side": np.full(6, "both")}, {}, "side does not hold 6 times left or right"),
        ({"poses": POSES[:, :48], "side": np.full(6, "left")}, {"left": True}, "says itself which hands are left"),
        ({"poses": POSES[:, :48], "side": np.full(6, "left")}, {"side": "right"}, "has no right hand; leave --side"),
        ({"poses": POSES[:, :48]}, {"side": "left"}, "does not say which hands are left; leave --side out"),
        ({}, {"side": "left"}, "holds bodies, which have no left or right; leave --side out"),
        ({"poses": POSES[:, :20]}, {"fingers": "mean"}, "poses have 20 numbers, --fingers mean takes 48"),
        ({"mocap_framerate": -2.0}, {}, "frame rate -2; give a positive number"),
        ({"body_model": "no"}, {}, "body_model is not JSON"),
        ({}, {"fingers": "pca"}, "holds poses of a body .* leave --fingers out"),
        ({}, {"left": True}, "holds bodies, which have no left or right"),
        ({}, {"person": 3}, "has no person 3; it has 1, 2"),
    ],
)
def test_files_that_cannot_be_animated_are_told(more: Any, said: Any, told: str, tmp_path: Path) -> None:
    path = poses_file(tmp_path / "bad.npz", **more)
    with pytest.raises(ValueError, match=f"bad.*{told}"):
        read(path, **said)


def test_other_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(poses_file(tmp_path / "a.npz").read_bytes()[:500])
    (tmp_path / "list.json").write_text("[1]")
    for name, told in (("cut.npz", "cut short"), ("list.json", "but a list"), ("a.pkl", "is no file")):
        with pytest.raises((ValueError, FileNotFoundError), match=rf"{name}.*{told}"):
            read(tmp_path / name)
    (tmp_path / "a.pkl").write_text("")
    with pytest.raises(ValueError, match=r"are read from \.npz and \.json files"):
        read(tmp_path / "a.pkl")
    with pytest.raises(ValueError, match="leave the other files out"):
        read_motions([tmp_path / "a.npz", tmp_path / "a.npz"])
    np.savez(tmp_path / "none.npz", picture="a.png", person=1, kind="body")
    with pytest.raises(ValueError, match=r"none\.npz holds no parameters of a body or a hand"):
        read(tmp_path / "none.npz")
    twice = [result_file(tmp_path / f"{name}.npz", "a.png") for name in "xy"]
    with pytest.raises(ValueError, match=r"y\.npz is a second result of person 1 of a\.png"):
        read_motions(twice, Reading(frame_rate=1.0))
    with pytest.raises(ValueError, match="leave --fingers, --left and --gender out"):
        read_motions(twice[:1], Reading(left=True))
    with pytest.raises(ValueError, match="no file is named"):
        read_motions([])
