"""The z-buffer of `tore.visualize` beside rays (embreex), in one run: milliseconds and pixels that differ.

    python -m benchmarks.drawing [--bodies 50] [--height 545] [--body_dir synthetic]

Bodies in poses of the prior stand before a camera of 1280 x 720, `--height` pixels high. Times are the thread's own,
the two sides in turn; the z-buffer's include the colors, which rays alone do not give. Shares are of the pixels that
the body covers. Pairs of bodies that overlap are drawn at once: at every pixel the nearer one must show. Exit code 1
where the silhouettes of a body differ in more than 1 of 1000 pixels, or a pixel of a pair shows the other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tore.body import SMPL, load_body
from tore.geometry.camera import PinholeCamera
from tore.synthetic.pose_prior import PosePrior
from tore.synthetic.posing import Poser
from tore.synthetic.rendering import World
from tore.synthetic.surfaces import Camera, Surface, plain_texture
from tore_runtime.renderer import render

SIZE = (720, 1280)
CAMERA = PinholeCamera(1469.0, (640.0, 360.0))  # the image's diagonal
LIMIT = 1e-3
DEPTH_TOLERANCE = 1e-3  # meters within which two bodies touch, and either may show


def placed(poser: Poser, count: int, height: float) -> list[np.ndarray]:
    """Bodies (V, 3) in the center of the image, `height` pixels high."""
    bodies, prior, rng = [], PosePrior.load(), np.random.default_rng(18)
    for _ in range(count):
        pose = np.asarray(prior.draw(rng).pose, np.float64).reshape(-1)
        vertices = poser.pose(pose, rng.standard_normal(10)).vertices.astype(np.float64) * [1, -1, -1]
        middle = (vertices.min(0) + vertices.max(0)) / 2
        distance = CAMERA.focal_length * np.ptp(vertices[:, 1]) / height + np.ptp(vertices[:, 2]) / 2
        bodies.append(vertices - middle + [0, 0, distance])
    return bodies


def met(vertices: np.ndarray, faces: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(H, W) which pixels' rays meet the body."""
    skin = Surface("skin", vertices, faces, np.zeros((1, 2)), np.zeros_like(faces), plain_texture((0, 0, 0)))
    found = World([skin]).first(np.zeros_like(directions), directions)
    return np.asarray(found["primID"] >= 0).reshape(SIZE)


def timed(draw: Callable[[], Any]) -> tuple[Any, float]:
    """What is drawn, and the thread's milliseconds for it."""
    start = time.thread_time()
    drawn = draw()
    return drawn, 1000 * (time.thread_time() - start)


def compare(bodies: Sequence[np.ndarray], faces: np.ndarray, background: np.ndarray) -> bool:
    """Prints both sides' times and what differs; whether the silhouettes agree."""
    times, worst = [], 0.0
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + np.float32(0.5)
    directions = Camera(CAMERA, np.eye(3), np.zeros(3)).directions(np.stack([x.ravel(), y.ravel()], 1))
    for vertices in bodies:
        ours, first = timed(partial(render, vertices, faces, CAMERA, SIZE, background=background, samples=1))
        rays, second = timed(partial(met, vertices, faces, directions))
        times.append((first, second))
        worst = max(worst, float((ours.mask != rays).sum() / rays.sum()))
    z_buffer, ray_casting = np.median(times, axis=0)
    print(
        f"z-buffer {z_buffer:.1f} ms, rays {ray_casting:.1f} ms; "
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
    body = load_body("body", args.body_dir)
    assert isinstance(body, SMPL)
    bodies, faces = placed(Poser(body), args.bodies, args.height), body.faces.numpy()
    background = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    render(bodies[0], faces, CAMERA, SIZE)  # what is made once
    agree = compare(bodies, faces, background)
    return int(not agree or wrong_order(bodies, faces) > 0)


if __name__ == "__main__":
    sys.exit(main())
