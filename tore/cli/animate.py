"""Makes animation files of body parameters: a skinned, animated GLB, and BVH (docs/ANIMATION.md).

tore animate poses.npz --save body.glb body.bvh
tore animate results/*.npz --frame_rate 25 --save hand.glb

The files are one of poses (of `tore infer --save_poses`, or of AMASS), or the results of the images of a film, in their
natural order (1, 2, 10). Written files are in meters (BVH: centimeters) with y up. A body has one shape, the median of
its frames; frames without a pose are interpolated, and both are said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tore.body import BodyModel, load_body
from tore.body.identity import BodyIdentity
from tore.cli.flags import FlagParser, HelpFormatter, Rule, add_body_dir, check_rules
from tore.files import check_outputs
from tore.modeling.recorded_body import body_dir_for
from tore.motion import Motion, Reading, Rig, read_motions, rig_of, save_bvh, save_glb, skin_difference
from tore.motion.reading import SIDES
from tore.motion.sequence import AXES, FINGERS
from tore.paths import MADE_BODIES, find_body_files
from tore_runtime.entry import entry_point
from tore_runtime.names import readable
from tore_runtime.outputs import PEOPLE_COLORS

ENDINGS = (".glb", ".bvh")
SPREAD = 1e-3  # of shape numbers over a motion, that is told
RULES = (Rule(("gender",), lambda args: args.mean_shape, "is of shape numbers, and --mean_shape leaves them out"),)


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog="tore animate", description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("file", nargs="+", type=Path, metavar="FILE", help="one file of poses (.npz), or results (.npz, .json)")
    add("--save", nargs="+", type=Path, required=True, metavar="FILE", help="what to write: .glb, .bvh")
    add_body_dir(parser, data_sets=False)
    add("--frame_rate", type=float, help="frames per second [what the file says]")
    add("--person", type=int, metavar="N", help="this one only, from 1 [all; BVH takes one]")
    add("--axes", choices=tuple(AXES), help="of the file: camera is x right, y down, z away [what the file says]")
    add("--at_origin", action="store_true", help="move all so that the first one begins over the origin, on y = 0")
    add("--gender", choices=("neutral", "female", "male"), help="of the body model [what the file says]")
    add("--mean_shape", action="store_true", help="leave the shape numbers out, as for those of another body model")
    fingers = "what a hand's numbers are: from the mean hand, from the flat hand, PCA coefficients"
    add("--fingers", choices=FINGERS, help=f"{fingers} [45: mean, fewer: pca]")
    add("--left", action="store_true", help="the poses are of a left hand, where the file does not say so")
    add("--side", choices=SIDES, help="of a file of hands of both sides, these only [all]")
    add("--overwrite", action="store_true", help="replace files that are there")
    return parser


def tell(text: str) -> None:
    """One line beside the results."""
    print(f"tore animate: {readable(text)}", file=sys.stderr)


def check_saved(args: argparse.Namespace) -> None:
    """ValueError, FileExistsError or OutputError where the files cannot be written."""
    for path in args.save:
        if path.suffix.lower() not in ENDINGS:
            raise ValueError(f"{path}: animations are written as {' or '.join(ENDINGS)}")
        if path.exists() and not args.overwrite:
            raise FileExistsError(f"{path} is there already; add --overwrite or name another file")
    check_outputs(*args.save)


def with_body(motions: list[Motion], args: argparse.Namespace) -> tuple[list[Motion], BodyModel]:
    """The body model of the motions, and the motions as it takes them; says what is left out."""
    first, source = motions[0], args.file[0]
    if args.mean_shape:
        motions = [motion.of_mean_shape() for motion in motions]
    folder = body_dir_for(first.body, args.body_dir, source)
    name = find_body_files(first.kind, folder)[1].name
    if name in MADE_BODIES and motions[0].gender != "neutral":
        tell(f"{source} is of SMPL's {first.gender} body, whose shape numbers mean nothing to {name!r}: mean shape")
        motions = [motion.of_mean_shape() for motion in motions]
    body = load_body(first.kind, folder, motions[0].gender)
    recorded: BodyIdentity | None = motions[0].body
    if recorded is not None:
        recorded.refuse_another(body.identity, f"{source} is of", "; --mean_shape takes the poses alone")
    elif any(motion.betas.any() for motion in motions):
        tell(f"{source} does not say of which body model its shape numbers are: they are taken for those of {name!r}")
    return motions, body


def described(motion: Motion, rig: Rig, body: BodyModel) -> str:
    """A motion in one line: how long it is, what was filled in, and what skins leave out."""
    count, rate = len(motion.pose), motion.frame_rate
    parts = [f"{count} frame{'s' * (count > 1)}, {rate:g} a second, {count / rate:.2f} s"]
    if missing := int((~motion.known).sum()):
        parts.append(f"{missing} without a pose, interpolated (longest gap {motion.gap() / rate:.2f} s)")
    if np.ptp(motion.betas[motion.known], axis=0).max() > SPREAD:
        parts.append("one shape, the median of the frames'")
    mean, most = (1000 * value for value in skin_difference(motion, body))
    parts.append(f"the skin of a GLB is {mean:.1f} mm off the body model on average, {most:.1f} mm at most")
    return f"{rig.name}: {'; '.join(parts)}"


@entry_point("tore animate")
def main(argv: Sequence[str] | None = None) -> int:
    """Reads, writes, says what was made; 2 and one sentence on stderr where that fails."""
    args = build_parser().parse_args(argv)
    check_rules(args, RULES)
    check_saved(args)
    said = Reading(
        args.frame_rate, args.axes, args.person, args.gender, args.fingers, args.left, side=args.side, tell=tell
    )
    motions, body = with_body(read_motions(args.file, said), args)
    skeletons = [path for path in args.save if path.suffix.lower() == ".bvh"]
    if skeletons and len(motions) > 1:
        names = ", ".join(motion.name for motion in motions)
        flags = "--person and --side" if motions[0].kind == "hand" else "--person"
        raise ValueError(f"{skeletons[0]}: BVH holds one skeleton, and these are {names}; choose with {flags}")
    rigs = [rig_of(motion, body) for motion in motions]
    if args.at_origin:
        place = rigs[0].place()
        rigs = [rig.moved(-place) for rig in rigs]
    for path in args.save:
        if path in skeletons:
            save_bvh(path, rigs[0])
        else:
            save_glb(path, rigs, PEOPLE_COLORS)
    for motion, rig in zip(motions, rigs, strict=True):
        print(described(motion, rig, body))
    print(f"written: {', '.join(readable(str(path)) for path in args.save)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
