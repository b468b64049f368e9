"""Every command and every piece of Python of the README, and the quick ones of the other pages, run as written.

Their own flags shorten them.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.processes import ROOT, environment
from tests.test_readme import commands_of
from tore import create_model, save_published
from tore.paths import example_photograph

DEMO = "--from_scratch --val_images 4 --train_images 16 --shown 1 --minutes 0.001 --overfit_steps 0 --workers 1"
# A command of the README, begun with -> flags that shorten it; where a flag is there twice the last one counts.
SHORTENED = {
    "bash scripts/quickstart.sh": f"{DEMO} --arch test_resnet --device cpu",
    "bash scripts/test.sh": "-k readme",
    "tore infer tore/": "--device cpu",
    "tore infer images/ --checkpoint state_dict.bin": "--device cpu",
    "tore synth images": "--train 4 --val 2 --size 64 --body_dir synthetic --workers 1 --quiet",
    "python tore/tools/run_tore_fm_bodymesh.py": (
        "--arch test_resnet --num_train_epochs 1 --per_gpu_train_batch_size 2 --num_workers 0 --device cpu "
        "--model_dim_1 32 --model_dim_2 32 --feedforward_dim_1 32 --feedforward_dim_2 32 --no_tensorboard"
    ),
    "tore evaluate": "--arch test_resnet --num_workers 0 --device cpu",
}
RENAMED = {"checkpoint-2-250": "checkpoint-1-2"}  # what the shortened training leaves
# Quick commands of the other pages, in their order: page -> what they begin with -> flags that shorten them.
TINY = "--model_dim_1 32 --arch test_resnet --num_train_epochs 1 --num_workers 0 --device cpu"
QUICK = {
    "docs/INSTALL.md": {"tore --help": "", "tore cost": ""},
    "docs/TRAINING.md": {
        "tore synth images": "--train 4 --val 2 --size 64 --body_dir synthetic --workers 1 --quiet",
        "tore pretrain": f"{TINY} --size 64 --per_gpu_train_batch_size 2",
        "tore cost --arch": "",
        "tore bench --paper": "",
    },
}
PYTHON = """#!/usr/bin/env bash
# Installing and testing the project is written down, everything else is done.
case "$1 $2" in "-m pip" | "-m ruff" | "-m mypy" | "-m mkdocs" | "-m pytest") echo "$@" >> "$ASKED"; exit 0 ;; esac
exec REAL "$@"
"""


@pytest.fixture(scope="module")
def checkout(rule_body_dir: Path, synthetic_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with images, a small official checkpoint, and `python` and `tore` in `bin`."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("tore", "tore_runtime", "manopth", "scripts", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bin").mkdir()
    (folder / "cache").mkdir()
    (folder / "cache" / synthetic_body_dir.name).symlink_to(synthetic_body_dir)
    scripts = {"python": PYTHON, "tore": '#!/usr/bin/env bash\nexec python -m tore.cli "$@"\n'}
    for name, text in scripts.items():
        path = folder / "bin" / name
        path.write_text(text.replace("REAL", sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "images").mkdir()
    for name in ("images/a.jpg", "a.jpg", "b.png"):
        Image.open(example_photograph()).save(folder / name)
    sizes = {"size": "S", "widths": (32, 32), "hidden": (32, 32)}
    model = create_model("fastmetro", arch="efficientnet-b0", body_dir=rule_body_dir, device="cpu", **sizes)
    save_published(model, folder / "state_dict.bin")
    return folder


def run(command: str, checkout: Path, bodies: Path) -> str:
    """Runs a shell command in the checkout; returns what it said."""
    places = {"TORE_BODY_DIR": str(bodies), "TORE_CACHE_DIR": str(checkout / "cache"), "VIRTUAL_ENV": str(checkout)}
    more = {"PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}", "ASKED": str(checkout / "asked.txt")}
    done = subprocess.run(
        command,
        shell=True,
        cwd=checkout,
        env=environment(**places, **more),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_every_command_of_the_readme_runs(checkout: Path, rule_body_dir: Path) -> None:
    said = {}
    for command in commands_of("README.md"):
        begin = next((words for words in SHORTENED if command.startswith(words)), None)
        assert begin is not None, f"nothing here runs {command!r}"
        for name, there in RENAMED.items():
            command = command.replace(name, there)
        said[begin] = run(f"{command} {SHORTENED[begin]}", checkout, rule_body_dir)
    assert said.keys() == SHORTENED.keys(), "the README no longer names these commands"
    asked = (checkout / "asked.txt").read_text()
    for words in (".[synthetic]", ".[dev,docs]", "-m mkdocs build --strict"):
        assert words in asked
    assert re.search(r"-m pytest .*-k readme$", asked, re.MULTILINE), "further arguments reach pytest"
    report = Path(said["bash scripts/quickstart.sh"].splitlines()[-1].removeprefix("report: "))
    assert report == checkout / "output" / "demo" / "report.html" and report.is_file()
    assert (checkout / "images" / "a_tore_pred.jpg").is_file()
    assert (checkout / "output" / "example" / "astronaut_tore_pred.jpg").is_file()
    assert "mpjpe" in said["tore evaluate"]


@pytest.mark.slow
def test_the_quick_commands_of_the_other_pages_run(checkout: Path, rule_body_dir: Path) -> None:
    for page, quick in QUICK.items():
        commands = commands_of(page)
        for begin, flags in quick.items():
            command = next(command for command in commands if command.startswith(begin))
            run(f"{command} {flags}", checkout, rule_body_dir)
    assert len(list(checkout.glob("PRE/checkpoint-*/state_dict.bin"))) == 1


@pytest.mark.slow
def test_the_readmes_python_runs(checkout: Path, rule_body_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("TORE_BODY_DIR", str(rule_body_dir))
    pieces = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(pieces) == 2
    found: dict = {}
    for piece in pieces:
        exec(piece, found)  # the page's own words
    assert found["prediction"].vertices.shape == (1, 6890, 3)
    assert [len(person.vertices) for person in found["people"]] == [6890, 6890]
