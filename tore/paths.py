"""The one place that knows where weights, body models and generated files lie, and under which names.

Every folder can be moved by an argument or by an environment variable:

=================  ==================  =====================================================
folder             variable            default
=================  ==================  =====================================================
body model files   `TORE_BODY_DIR`     `tore/modeling/data` in this package
backbone weights   `TORE_MODELS_DIR`   `models` beside this package (a source checkout)
generated files    `TORE_CACHE_DIR`    `$XDG_CACHE_HOME/tore`, else `~/.cache/tore`
=================  ==================  =====================================================
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tore_runtime.names import renamed_argument as renamed_argument

SYNTHETIC = "synthetic"  # in place of a body model folder: the synthetic body and hand, written on first use
MADE_BODIES = (SYNTHETIC,)  # the body models that this project makes itself
BODY_DIR_ALIASES = {"free": SYNTHETIC}  # their former names
REMOVED_BODIES = ("capsules", "stand-in")  # the names of simple figures that version 0.1 made
REMOVED = "the simple figures of version 0.1, which are gone with their images and networks"
SYNTHETIC_VERSION = 1  # counts up when the files change, so that an old cache is not taken for a new one
SHIPPED_NETWORKS = {"body": "people.safetensors", "hand": "hands.safetensors"}
PACKAGE_ROOT = Path(__file__).resolve().parent


@dataclass(frozen=True)
class BodyFiles:
    """The file names of one body model inside its folder; `site` says where a user gets the model file."""

    name: str  # which checkpoints record
    kind: str  # "body" | "hand"
    model: str
    mesh_levels: str
    adjacency: str  # prefix of <prefix>_{indices,values,size}.pt
    regressor_extra: str | None
    regressor_h36m: str | None
    site: str


SMPL_FILES = BodyFiles(
    name="SMPL",
    kind="body",
    model="basicModel_neutral_lbs_10_207_0_v1.0.0.pkl",
    mesh_levels="mesh_downsampling.npz",
    adjacency="smpl_431_adjmat",
    regressor_extra="J_regressor_extra.npy",
    regressor_h36m="J_regressor_h36m_correct.npy",
    site="SMPLify's site, https://smplify.is.tue.mpg.de",
)
SMPL_GENDERED = {
    "female": "basicModel_f_lbs_10_207_0_v1.0.0.pkl",
    "male": "basicmodel_m_lbs_10_207_0_v1.0.0.pkl",
}
SMPL_GENDERED_SITE = "SMPL's site, https://smpl.is.tue.mpg.de"
SUPPORT_SITE = "FastMETRO's repository, https://github.com/postech-ami/FastMETRO (src/modeling/data)"
MANO_FILES = BodyFiles(
    name="MANO",
    kind="hand",
    model="MANO_RIGHT.pkl",
    mesh_levels="mano_downsampling.npz",
    adjacency="mano_195_adjmat",
    regressor_extra=None,
    regressor_h36m=None,
    site="MANO's site, https://mano.is.tue.mpg.de",
)
SYNTHETIC_BODY_FILES = BodyFiles(
    name=SYNTHETIC,
    kind="body",
    model="free_body.pkl",
    mesh_levels="free_body_levels.npz",
    adjacency="free_body_431_adjmat",
    regressor_extra="free_body_regressor_extra.npy",
    regressor_h36m="free_body_regressor_h36m.npy",
    site="this project: `tore synth body --output_dir DIR` writes it",
)
SYNTHETIC_HAND_FILES = BodyFiles(
    name=SYNTHETIC,
    kind="hand",
    model="free_hand.pkl",
    mesh_levels="free_hand_levels.npz",
    adjacency="free_hand_195_adjmat",
    regressor_extra=None,
    regressor_h36m=None,
    site="this project: `tore synth hand --output_dir DIR` writes it",
)
SYNTHETIC_FILES = {"body": SYNTHETIC_BODY_FILES, "hand": SYNTHETIC_HAND_FILES}
BODY_FILES = {  # in the order in which a folder is searched for them; the licensed model first
    "body": (SMPL_FILES, SYNTHETIC_BODY_FILES),
    "hand": (MANO_FILES, SYNTHETIC_HAND_FILES),
}

BACKBONE_WEIGHTS = {
    "resnet50": "resnet/resnet50-0676ba61.pth",
    "hrnet": "hrnet/hrnetv2_w40_imagenet_pretrained.pth",
    "hrnet-w64": "hrnet/hrnetv2_w64_imagenet_pretrained.pth",
    "efficientnet-b0": "efficientnet/efficientnet-b0-355c32eb.pth",
    "efficientnet-b1": "efficientnet/efficientnet-b1-f1951068.pth",
    "efficientnet-b2": "efficientnet/efficientnet-b2-8bb594d6.pth",
    "efficientnet-b3": "efficientnet/efficientnet-b3-5fb5a3c3.pth",
    "efficientnet-b4": "efficientnet/efficientnet-b4-6ed6700e.pth",
}


takes_data_dir = renamed_argument("data_dir", "body_dir")  # what the folder of the body files was called


def body_dir(override: str | Path | None = None) -> Path:
    """Folder of the body model files: the argument, else `TORE_BODY_DIR`, else `tore/modeling/data`.

    "synthetic" means the folder of the synthetic body and hand, whether it has been made yet or not. Raises ValueError
    for the name of a body model that the project no longer has.
    """
    chosen = override or os.environ.get("TORE_BODY_DIR") or PACKAGE_ROOT / "modeling" / "data"
    word = BODY_DIR_ALIASES.get(str(chosen), str(chosen))
    if word in REMOVED_BODIES and not Path(word).is_dir():
        raise ValueError(f"{word!r} names {REMOVED}: use --body_dir {SYNTHETIC} (in Python body_dir={SYNTHETIC!r})")
    return made_folder_of(word) if word in MADE_BODIES else Path(chosen)


def models_dir(override: str | Path | None = None) -> Path:
    """Folder of the official ImageNet weights: the argument, else `TORE_MODELS_DIR`, else `models`."""
    return Path(override or os.environ.get("TORE_MODELS_DIR") or PACKAGE_ROOT.parent / "models")


def cache_dir() -> Path:
    """Folder for files that the project makes itself and can make again."""
    chosen = os.environ.get("TORE_CACHE_DIR")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tore"


def made_folder_of(name: str) -> Path:
    """Where the files of a body model of `MADE_BODIES` are kept; `tore.body.files.locate` has them written."""
    return cache_dir() / {SYNTHETIC: f"free-v{SYNTHETIC_VERSION}"}[name]


def body_dir_at_hand(kind: str, override: str | Path | None = None) -> Path:
    """The folder named, else the usual one where it holds a model of this kind, else the synthetic one's."""
    folder, files = find_body_files(kind, override)
    return folder if override or (folder / files.model).is_file() else made_folder_of(SYNTHETIC)


def find_body_files(kind: str, override: str | Path | None = None) -> tuple[Path, BodyFiles]:
    """The folder and the file names of the body model it holds: the licensed or the synthetic one.

    A folder that holds no model file gives the licensed names, so that the error which follows
    on opening one tells what to fetch.

    Raises ValueError for a kind that is neither "body" nor "hand".
    """
    if kind not in BODY_FILES:
        raise ValueError(f"body kind {kind!r} is not known; use 'body' or 'hand'")
    folder = body_dir(override)
    if folder == made_folder_of(SYNTHETIC):
        return folder, SYNTHETIC_FILES[kind]
    held = (files for files in BODY_FILES[kind] if (folder / files.model).is_file())
    return folder, next(held, BODY_FILES[kind][0])


def require_file(folder: Path, name: str, site: str, others: dict[str, str] | None = None) -> Path:
    """`folder / name`, or FileNotFoundError with one sentence: what is missing, where to get it, where to put it.

    `others` are the files that are needed besides, name -> site: the sentence lists those that are missing, too.
    """
    path = folder / name
    if path.is_file():
        return path
    missing = [other for other in others or {} if other != name and not (folder / other).is_file()]
    by_site: dict[str, list[str]] = {site: [name]}
    for other in missing:
        by_site.setdefault((others or {})[other], []).append(other)
    wanted = "; ".join(f"{', '.join(names)} from {where}" for where, names in by_site.items())
    them = "them" if missing else "it"
    more = {0: "", 1: ", and so is 1 more file"}.get(len(missing), f", and so are {len(missing)} more files")
    raise FileNotFoundError(
        f"{path} is missing{more}: get {wanted} (docs/DATA.md) and put {them} into {folder}, "
        "or name another folder with --body_dir (in Python body_dir) or TORE_BODY_DIR "
        f"({SYNTHETIC!r} takes the synthetic body model, which needs no license)"
    )


def default_checkpoint(kind: str) -> Path:
    """The network for photographs of people ("body") or of hands ("hand") that comes with the package."""
    return PACKAGE_ROOT / "modeling" / "shipped" / SHIPPED_NETWORKS[kind]


def example_photograph() -> Path:
    """A photograph that comes with the package, 512 x 512: an astronaut down to the hips (NASA, public domain)."""
    return PACKAGE_ROOT / "inference" / "data" / "astronaut.jpg"


def example_people() -> Path:
    """The yaml file of a set that comes with the package: 128 rendered images of people, 256 x 256, with all labels."""
    return PACKAGE_ROOT / "synthetic" / "data" / "people" / "val.yaml"


def backbone_weights(arch: str, override: str | Path | None = None) -> Path | None:
    """Path of the official ImageNet file of `arch`, or None where it has none or the file is not there."""
    if override:
        return Path(override)
    if arch not in BACKBONE_WEIGHTS:
        return None
    inside = Path(BACKBONE_WEIGHTS[arch])
    places = (models_dir() / inside, models_dir() / inside.name)
    return next((place for place in places if place.is_file()), None)
