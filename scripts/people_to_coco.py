"""Writes a list of people or hands as JSON in COCO's form, for `tore convert coco` and `tore evaluate --keypoints`.

    python scripts/people_to_coco.py people.json out.json [--kind lsp_extended=sports] [--other everyday]

The list stands under `people` or `hands`: each has a file, a box (x, y, width, height), keypoints ((x, y, v) each) and,
where known, a side and a source. An image's kind is its source, or what `--kind` makes of that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tore.files import read_json, write_json


def main() -> None:
    """Reads the one file and writes the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", nargs="*", default=[], metavar="SOURCE=KIND", help="the kind of a source's images")
    parser.add_argument("--other", help="the kind of all other images [their source]")
    args = parser.parse_args()
    found = read_json(args.people)
    people, kinds = found.get("people") or found["hands"], dict(item.split("=", 1) for item in args.kind)
    files = sorted({person["file"] for person in people})
    sources = {person["file"]: person.get("source") for person in people}
    images = [
        {"id": number, "file_name": file, "kind": kinds.get(sources[file], args.other or sources[file])}
        for number, file in enumerate(files)
    ]
    annotations = [
        {
            "id": number,
            "image_id": files.index(person["file"]),
            "category_id": 1,
            "iscrowd": 0,
            "bbox": person["box"],
            "keypoints": [value for point in person["keypoints"] for value in point],
            **({"side": person["side"]} if "side" in person else {}),
        }
        for number, person in enumerate(people)
    ]
    write_json(args.out, {"images": images, "annotations": annotations})


if __name__ == "__main__":
    main()
