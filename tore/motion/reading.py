"""Motions of files: sequences of poses in AMASS's style, and the results that `tore infer` writes of each person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manopth.damage import DAMAGE, damaged
from tore.body.identity import BodyIdentity
from tore.body.joints import SMPL_NAMES
from tore.datasets.convert.reading import array, field, gender_name
from tore.files import parse_json, read_json
from tore.motion.sequence import AXES, Array, Motion
from tore_runtime.names import natural_key, some

ENDINGS = (".npz", ".json")
RATES = ("mocap_framerate", "mocap_frame_rate")
STILL_RATE = 30.0  # frames per second of a single frame
BODY, HAND = 3 * len(SMPL_NAMES), 48  # numbers of a pose
WITHOUT_HANDS = 66  # numbers of a body pose before those of the hands
LONGER = {66: "no hands", 156: "SMPL-H", 165: "SMPL-X"}  # body poses of other models
NUM_BETAS = 10
SIDES = ("left", "right")
FORMS = {"smpl": "body", "mano": "hand"}  # prefix of the parameters of a result -> kind
# The entries of files that count; others, such as AMASS's markers, are not opened.
READ = {
    "poses", "trans", "betas", "frame_betas", "valid", "person", "side", "frame", "gender", "body_model", "picture",
    *RATES, *(f"{form}_{part}" for form in FORMS for part in ("pose", "betas", "translation")),
}  # fmt: skip
NOT_FOLLOWED = (
    "people are numbered in each image by itself and not followed, so that a number may be another person in the next"
)


@dataclass(frozen=True)
class Reading:
    """What a user says of files; None for what the files say."""

    frame_rate: float | None = None
    axes: str | None = None
    person: int | None = None
    gender: str | None = None
    fingers: str | None = None
    left: bool = False
    side: str | None = None  # of hands, these only
    tell: Callable[[str], None] = lambda _: None


def read_motions(paths: Sequence[str | Path], said: Reading = Reading()) -> list[Motion]:
    """The motions of everybody in one file of poses, or in the results of many images, one of each person.

    Results are taken in the natural order of their images' names; an image that has no result of a person is a frame
    without a pose. Raises FileNotFoundError and ValueError, which name the file.
    """
    files = [Path(path) for path in paths]
    held = [_held(path) for path in files]
    sequences = [path for path, values in zip(files, held, strict=True) if "poses" in values]
    if not files:
        raise ValueError("no file is named: give a file of poses, or results of images")
    if sequences and len(files) > 1:
        raise ValueError(f"{sequences[0]} is a file of poses, which is read alone; leave the other files out")
    found = _of_sequence(files[0], held[0], said) if sequences else _of_results(files, held, said)
    several = len({person for person, _ in found}) > 1 and any(len(motion.pose) > 1 for motion in found.values())
    if several and "picture" in held[0]:
        said.tell(f"{files[0]}: {NOT_FOLLOWED}")
    if said.person is not None:
        numbers = sorted({person for person, _ in found})
        found = {who: motion for who, motion in found.items() if who[0] == said.person}
        if not found:
            raise ValueError(f"{files[0]} has no person {said.person}; it has {some(numbers)}")
    if (said.left or said.side) and any(motion.kind == "body" for motion in found.values()):
        flag = "--left" if said.left else "--side"
        raise ValueError(f"{files[0]} holds bodies, which have no left or right; leave {flag} out")
    if said.side is not None:
        found = {who: motion for who, motion in found.items() if who[1] == said.side}
        if not found:
            of = "" if said.person is None else f" of person {said.person}"
            raise ValueError(f"{files[0]} has no {said.side} hand{of}; leave --side out, or name the other")
    return list(found.values())


def _held(path: Path) -> dict[str, Any]:
    """Name -> value of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: give a file of poses, or results of images")
    if path.suffix.lower() == ".json":
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds no result of `tore infer`, but a {type(values).__name__}")
        return values
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path}: poses and results are read from {' and '.join(ENDINGS)} files")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in READ}
    except DAMAGE as error:
        raise damaged(path, "an .npz archive", error) from None


Who = tuple[int, str]  # person and, of a hand, side


def _of_sequence(path: Path, held: Mapping[str, Any], said: Reading) -> dict[Who, Motion]:
    """Person and side -> motion of a file of poses, whose rows are frames, or people within frames."""
    poses = array(held["poses"], (-1, -1), f"{path}: poses")
    count = len(poses)
    translations = array(field(held, "trans", str(path)), (count, 3), f"{path}: trans")
    betas = _betas(path, held, count, said)
    people = array(held.get("person", np.ones(count)), (count,), f"{path}: person")
    if (people != np.rint(people)).any():
        raise ValueError(f"{path}: person holds {some(people[people != np.rint(people)].tolist())}, no whole numbers")
    kind, poses, fingers = _pose(path, poses, said)
    sides = _sides(path, held, count, said) if kind == "hand" else np.full(count, "")
    usable = np.isfinite(poses).all(1) & np.isfinite(translations).all(1) & np.isfinite(betas).all(1)
    usable &= np.asarray(held.get("valid", np.ones(count, bool))).astype(bool)
    if not usable.any():
        raise ValueError(f"{path}: none of its {count} rows has a pose of finite numbers")
    axes, body = _axes(path, held, said), _body(path, held)
    gender = _gender(path, held, said) if kind == "body" else "neutral"
    found = {}
    for person, side in sorted({(int(p), str(s)) for p, s in zip(people[usable], sides[usable], strict=True)}):
        rows = people == person
        found[person, side] = Motion(
            name=_name(path.stem, person, side, several=len(set(people[usable])) > 1),
            kind=kind,
            pose=np.where((usable & (sides == side))[rows, None], poses[rows], np.nan),
            betas=betas[rows],
            translation=translations[rows],
            frame_rate=_frame_rate(path, held, int(rows.sum()), said),
            axes=axes,
            fingers=fingers,
            left=side == "left",
            gender=gender,
            body=body,
        )
    return found


def _of_results(files: Sequence[Path], held: Sequence[Mapping[str, Any]], said: Reading) -> dict[Who, Motion]:
    """Person and side -> motion of results, one file for each person of each image."""
    if said.fingers is not None or said.left or said.gender is not None:
        raise ValueError(f"{files[0]} says itself what it holds; leave --fingers, --left and --gender out")
    records: dict[Who, dict[str, dict[str, Array]]] = {}
    kinds: dict[Who, str] = {}
    bodies = {path: _body(path, values) for path, values in zip(files, held, strict=True)}
    if len(set(bodies.values())) > 1:
        raise ValueError(
            f"{files[0]} and other files are of different body models; animate those of each by themselves"
        )
    for path, values in zip(files, held, strict=True):
        prefix = next((prefix for prefix in FORMS if f"{prefix}_pose" in values), None)
        if prefix is None:
            raise ValueError(f"{path} holds no parameters of a body or a hand; infer it again with --fit")
        length = BODY if prefix == "smpl" else HAND
        sizes = {"pose": length, "betas": NUM_BETAS, "translation": 3}
        own = {
            part: array(values[f"{prefix}_{part}"], (size,), f"{path}: {prefix}_{part}") for part, size in sizes.items()
        }
        side = str(field(values, "side", str(path))) if prefix == "mano" else ""
        if side and side not in SIDES:
            raise ValueError(f"{path}: side is {side!r}, not {' or '.join(SIDES)}")
        who = int(field(values, "person", str(path))), side
        image = str(field(values, "picture", str(path)))
        if image in records.setdefault(who, {}):
            raise ValueError(f"{path} is a second result of person {who[0]} of {image}; leave one out")
        records[who][image], kinds[who] = own, FORMS[prefix]
    images = sorted({image for frames in records.values() for image in frames}, key=natural_key)
    rate = _frame_rate(files[0], {}, len(images), said)
    found = {}
    for (person, side), frames in sorted(records.items()):
        blank = {part: np.full(len(values), np.nan) for part, values in next(iter(frames.values())).items()}
        parts = {part: np.stack([frames.get(image, blank)[part] for image in images]) for part in blank}
        several, kind = len({number for number, _ in records}) > 1, kinds[person, side]
        found[person, side] = Motion(
            name=_name(kind, person, side, several),
            kind=kind,
            pose=parts["pose"],
            betas=parts["betas"],
            translation=parts["translation"],
            frame_rate=rate,
            axes=said.axes or "camera",
            left=side == "left",
            body=bodies[files[0]],
        )
    return found


def _pose(path: Path, poses: Array, said: Reading) -> tuple[str, Array, str]:
    """The kind, the poses as the body models take them, and what the numbers of fingers are."""
    numbers = poses.shape[1]
    if numbers == BODY or numbers in LONGER:
        if said.fingers is not None:
            raise ValueError(f"{path} holds poses of a body ({numbers} numbers); leave --fingers out")
        if numbers != BODY:
            said.tell(f"{path}: {numbers} numbers a pose ({LONGER[numbers]}): fingers, jaw and eyes are left out")
            poses = np.concatenate([poses[:, :WITHOUT_HANDS], np.zeros((len(poses), BODY - WITHOUT_HANDS))], 1)
        return "body", poses, "mean"
    if not 3 < numbers <= HAND:
        known = ", ".join(map(str, sorted([BODY, *LONGER])))
        raise ValueError(f"{path}: poses have {numbers} numbers, not a body's {known}, nor a hand's 4 to {HAND}")
    fingers = said.fingers or ("mean" if numbers == HAND else "pca")
    if fingers != "pca" and numbers != HAND:
        raise ValueError(f"{path}: poses have {numbers} numbers, --fingers {fingers} takes {HAND}; use --fingers pca")
    return "hand", poses, fingers


def _sides(path: Path, held: Mapping[str, Any], count: int, said: Reading) -> NDArray[np.str_]:
    """(T,) which hand each row is: said by the file, else by the user."""
    if "side" not in held:
        if said.side is not None:
            raise ValueError(f"{path} does not say which hands are left; leave --side out, and add --left if all are")
        return np.full(count, SIDES[0] if said.left else SIDES[1])
    if said.left:
        raise ValueError(f"{path} says itself which hands are left; leave --left out")
    sides = np.asarray(held["side"]).astype(str)
    if sides.shape != (count,) or not np.isin(sides, SIDES).all():
        raise ValueError(f"{path}: side does not hold {count} times {' or '.join(SIDES)}")
    return sides


def _betas(path: Path, held: Mapping[str, Any], count: int, said: Reading) -> Array:
    """(T, 10) shape numbers of the rows: those of the frames where the file has them."""
    if "frame_betas" in held:
        return _ten(array(held["frame_betas"], (count, -1), f"{path}: frame_betas"))
    if "betas" not in held:
        said.tell(f"{path} has no betas: the body has the mean shape")
        return np.zeros((count, NUM_BETAS))
    betas = np.asarray(held["betas"])
    whole = array(betas if betas.ndim == 2 else betas[None], (-1, -1), f"{path}: betas")
    if len(whole) not in (1, count):
        raise ValueError(f"{path}: betas has shape {betas.shape}, expected (S,) or ({count}, S)")
    if whole.shape[1] > NUM_BETAS:
        said.tell(f"{path} has {whole.shape[1]} betas: the first {NUM_BETAS} are used")
    return np.broadcast_to(_ten(whole), (count, NUM_BETAS))


def _ten(betas: Array) -> Array:
    """As many shape numbers as the body models take; those that are missing are 0."""
    few = betas[:, :NUM_BETAS]
    return np.concatenate([few, np.zeros((len(few), NUM_BETAS - few.shape[1]))], 1)


def _axes(path: Path, held: Mapping[str, Any], said: Reading) -> str:
    """Said by the user, by the file, else AMASS's, which is told."""
    if said.axes is not None:
        return said.axes
    frame = str(held.get("frame", ""))
    if frame.startswith("the camera"):
        return "camera"
    if frame in AXES:
        return frame
    if frame:
        raise ValueError(f"{path}: frame {frame!r} is not known; add --axes {'|'.join(AXES)}")
    said.tell(f"{path} does not say its axes: z is taken to be up, as in AMASS; else add --axes {'|'.join(AXES)}")
    return "z_up"


def _body(path: Path, held: Mapping[str, Any]) -> BodyIdentity | None:
    """Of which body model the numbers are, where the file records it."""
    record = held.get("body_model")
    if isinstance(record, str | np.ndarray):
        record = parse_json(str(record), f"{path}: body_model")
    return None if record is None else BodyIdentity.from_plain(record, path)


def _gender(path: Path, held: Mapping[str, Any], said: Reading) -> str:
    """Said by the user, else by the file."""
    if said.gender is not None:
        return said.gender
    held_gender = np.asarray(held.get("gender", "neutral")).reshape(-1)
    gender = gender_name(held_gender[0]) if len(held_gender) else None
    if gender is None:
        raise ValueError(f"{path}: gender {some(held_gender)} is not known; add --gender neutral, female or male")
    return gender


def _frame_rate(path: Path, held: Mapping[str, Any], count: int, said: Reading) -> float:
    """Said by the user, else by the file; a single frame needs none."""
    rate = next((np.asarray(held[name]).reshape(-1) for name in RATES if name in held), np.zeros(0))
    if said.frame_rate is not None:
        return said.frame_rate
    if len(rate):
        return float(array(rate[0], (), f"{path}: frame rate"))
    if count > 1:
        raise ValueError(f"{path} does not say how many frames a second has; add --frame_rate NUMBER")
    return STILL_RATE


def _name(stem: str, person: int, side: str, several: bool) -> str:
    """What a motion is called in files, in ASCII letters."""
    text = "_".join([stem, *([f"person{person}"] if several else []), *([side] if side else [])])
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)
