"""Images of people and hands a second and core, by the number of people, and where the time goes.

    python benchmarks/synthetic_images.py [--assets DIR] [--images 60]

Times are the process's own, of one thread; what the first images read is not counted.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import defaultdict
from pathlib import Path

import cv2
import torch

from tore.synthetic.free_body import synthetic_body_dir
from tore.synthetic.hand_scenes import HandStudio
from tore.synthetic.look import open_look
from tore.synthetic.scenes import PeopleStudio

WARM_UP = 20


def timed(studio: PeopleStudio | HandStudio, images: int) -> dict[int, list[float]]:
    """Seconds of every image, by the number of people in it."""
    seconds: dict[int, list[float]] = defaultdict(list)
    for index in range(-WARM_UP, images):
        start = time.process_time()
        sample = studio.sample(0, "train", index % images)
        if index >= 0:
            seconds[sample.label.get("people", 1)].append(time.process_time() - start)
    return seconds


def main() -> None:
    """Prints the table and the twenty functions that take the most time of a person's image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder = synthetic_body_dir()
    look = open_look(args.assets, None, "train")
    studios = {"people, 256 x 256": PeopleStudio(256, folder, look), "hands, 224 x 224": HandStudio(224, folder, look)}
    for name, studio in studios.items():
        for people, seconds in sorted(timed(studio, args.images).items()):
            mean = sum(seconds) / len(seconds)
            print(
                f"{name}, {people} in the image: {len(seconds)} images, {1000 * mean:.0f} ms, {1 / mean:.1f} a second"
            )
    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(timed, studios["people, 256 x 256"], args.images)
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
