"""The z-buffer of `tore.visualize` beside ray casting (embreex), in one run: milliseconds and pixels that differ.

    python -m benchmarks.drawing [--bodies 50] [--height 545] [--body_dir synthetic]

Bodies of the synthetic poses stand before a camera of 1280 x 720, `--height` pixels high. Times are the thread's
own, the two sides in turn. A pixel differs where one of its colors does by more than 8 of 255 levels; shares are of the
pixels that the body covers. Pairs of bodies that overlap are drawn at once: at every pixel the nearer one must show.
Exit code 1 where the silhouettes of a body differ in more than 1 of 1000 pixels, or a pixel of a pair shows the other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.random import RandomState

from tore.geometry.camera import PinholeCamera
from tore.synthetic.people import Figure, draw_people, load_figure
from tore.synthetic.ray_casting import cast_image
from tore.visualize.renderer import Render, render

SIZE = (720, 1280)
CAMERA = PinholeCamera(1469.0, (640.0, 360.0))  # the image's diagonal
LEVELS = 8
LIMIT = 1e-3
DEPTH_TOLERANCE = 1e-3  # meters within which two bodies touch, and either may show


def placed(figure: Figure, count: int, height: float) -> list[np.ndarray]:
    """Bodies (V, 3) in the center of the image, `height` pixels high."""
    bodies = []
    for start in range(0, count, 16):
        for vertices in draw_people(figure, [RandomState([18, index]) for index in range(start, start + 16)]).vertices:
            middle = (vertices.min(0) + vertices.max(0)) / 2
            distance = CAMERA.focal_length * np.ptp(vertices[:, 1]) / height + np.ptp(vertices[:, 2]) / 2
            bodies.append(vertices - middle + [0, 0, distance])
    return bodies[:count]


def timed(draw: Callable[[], Render]) -> tuple[Render, float]:
    """What is drawn, and the thread's milliseconds for it."""
    start = time.thread_time()
    drawn = draw()
    return drawn, 1000 * (time.thread_time() - start)


def compare(bodies: Sequence[np.ndarray], faces: np.ndarray, background: np.ndarray, samples: int) -> bool:
    """Prints both sides' times and what differs; whether the silhouettes agree."""
    times, covered, differ, worst = [], 0, 0, 0.0
    for vertices in bodies:
        scene = (vertices, faces, CAMERA, SIZE)
        ours, first = timed(partial(render, *scene, background=background, samples=samples))
        rays, second = timed(partial(cast_image, *scene, background=background, samples=samples))
        change = np.abs(ours.color.astype(np.int16) - rays.color).max(2) > LEVELS
        times.append((first, second))
        covered, differ = covered + int(rays.mask.sum()), differ + int(change.sum())
        worst = max(worst, float((ours.mask != rays.mask).sum() / rays.mask.sum()))
    z_buffer, ray_casting = np.median(times, axis=0)
    print(
        f"{samples} x {samples} points: z-buffer {z_buffer:.1f} ms, ray casting {ray_casting:.1f} ms; "
        f"{differ} of {covered} pixels differ by more than {LEVELS} levels ({100 * differ / covered:.2f} %); "
        f"silhouettes differ in {100 * worst:.3f} % of a body's pixels at most"
    )
    return worst <= LIMIT


def wrong_order(bodies: Sequence[np.ndarray], faces: np.ndarray) -> int:
    """Draws pairs of bodies that overlap at once; the number of pixels that show the one behind."""
    wrong = pairs = shared = 0
    for first, second in zip(bodies[::2], bodies[1::2], strict=False):
        pair = [first + [-0.1, 0, 0], second + [0.15, 0.05, 0.25]]
        alone = [render(vertices, faces, CAMERA, SIZE, samples=1).depth for vertices in pair]
        colors = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], len(first), axis=0)
        both = np.concatenate([faces, faces + len(first)])
        drawn = render(np.concatenate(pair), both, CAMERA, SIZE, colors=colors, samples=1).color.astype(int)
        near, far = np.minimum(*alone), np.maximum(*alone)
        overlap = np.isfinite(far) & (far > near + DEPTH_TOLERANCE)
        shown = drawn[..., 2] > drawn[..., 0]  # the second one's blue
        wrong += int((shown != (alone[1] < alone[0]))[overlap].sum())
        pairs, shared = pairs + 1, shared + int(overlap.sum())
    print(f"{pairs} pairs that overlap in {shared} pixels: {wrong} show the body behind")
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=50)
    parser.add_argument("--height", type=float, default=545, help="of a body in pixels")
    parser.add_argument("--body_dir", default="synthetic")
    args = parser.parse_args(argv)
    figure = load_figure("body", args.body_dir)
    bodies = placed(figure, args.bodies, args.height)
    background = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    render(bodies[0], figure.faces, CAMERA, SIZE)  # what is made once
    agree = [compare(bodies, figure.faces, background, samples) for samples in (1, 2)]
    return int(not all(agree) or wrong_order(bodies, figure.faces) > 0)


if __name__ == "__main__":
    sys.exit(main())
