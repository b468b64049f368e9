"""Work done in stages, each in a folder of its own: one that is done with the same settings is skipped when run again.

A stage's folder holds `settings.json` from its start and `done.json`, with its result, from its end. A stage that was
interrupted is run again in its folder as it was left; one with other settings begins anew.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tore.files import read_json, write_json

Work = Callable[[Path], Mapping[str, Any]]  # into this folder; returns plain values
SETTINGS, DONE = "settings.json", "done.json"


@dataclass
class Stages:
    """The stages under one folder. `say` shows a line to the person who watches."""

    folder: Path
    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage, when it was done

    def run(self, name: str, settings: Mapping[str, Any], work: Work) -> dict[str, Any]:
        """The result of the stage, as plain values, from now or from an earlier run.

        Raises ValueError where a folder of that name is there that was not made here.
        """
        folder, plain = self.folder / name.replace(" ", "_"), json.loads(json.dumps(settings))
        done = _read(folder / DONE)
        if done is not None and done.get("settings") == plain and {"seconds", "result"} <= done.keys():
            self.say(f"{name}: done before, in {folder}")
            self.seconds[name] = done["seconds"]
            return done["result"]
        self._claim(folder, plain)
        self.say(f"{name} ...")
        start = time.perf_counter()
        result = json.loads(json.dumps(work(folder)))
        self.seconds[name] = time.perf_counter() - start
        write_json(folder / DONE, {"settings": plain, "seconds": self.seconds[name], "result": result})
        self.say(f"{name}: {self.seconds[name]:.0f} s")
        return result

    def _claim(self, folder: Path, settings: dict[str, Any]) -> None:
        begun = _read(folder / SETTINGS)
        if begun == settings:
            return
        if folder.exists():
            if begun is None and any(folder.iterdir()):
                raise ValueError(f"{folder} is there and was not made here; name another --output_dir")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_json(folder / SETTINGS, settings)


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file; None where there is none, or a torn one."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return None
