"""What README and documentation tell a user to run exists, with the flags that they name; links and paths resolve."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.test_architecture import LAYERS
from tore import cli
from tore.cli.flags import alias_table

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(^|\s)(tore [a-z-]|bash |python |sbatch )|tore/tools/|-m tore\.")
INLINE = re.compile(r"(?:[A-Z]+=\S+ )*(?:tore [a-z-]+ |bash \S+\.sh|python |run_tore_\w+\.py ).*")
FILE = re.compile(r"(?:[\w.-]+/)+\w+\.(?:py|sh|md|bin)")
OTHER_FILES = ("OUT/", "output/", "docs/DOWNLOAD", "docs/EXPERIMENTS", "docs/SPEED", "src/", "OUT")  # made, or gone


def expanded(block: str) -> list[str]:
    """The lines of a shell block: continued ones joined, comments cut, its own variables replaced."""
    variables: dict[str, str] = {}
    lines = []
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s+#.*", "", line).strip()
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        if assigned := re.fullmatch(r'([A-Z]+)="(.*)"', line):
            variables[assigned[1]] = assigned[2]
        else:
            lines += [part.strip() for part in line.split(" && ")]
    return lines


def commands_of(page: str) -> list[str]:
    """The lines of a page's code blocks that run something of this project."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [line for block in blocks for line in expanded(block) if COMMAND.search(line)]


def inline_commands_of(page: str) -> list[str]:
    """The commands inside a page's sentences and tables, where they name flags or scripts."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    found = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", text)]
    return [code.replace("run_tore", "tore/tools/run_tore") for code in found if INLINE.fullmatch(code)]


COMMANDS = [(page, command) for page in PAGES for command in [*commands_of(page), *inline_commands_of(page)]]


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The --help of the tool that a command line runs; empty where it runs a shell script."""
    script = next(
        (word for word in words if re.fullmatch(r"(\./)?(tore/(tools|cli)|benchmarks|scripts)/\w+\.py", word)), None
    )
    if script is None and "-m" in words[:-1] and words[words.index("-m") + 1] != "http.server":
        script = words[words.index("-m") + 1].replace(".", "/") + ".py"
    if script is not None:
        module = script.removeprefix("./").removesuffix(".py").replace("/", ".")
        if "/" not in script:
            return ""  # pytest, pip, venv
        assert (ROOT / script).is_file(), script
        if not script.removeprefix("./").startswith("tore/"):
            return (ROOT / script).read_text()
        run = importlib.import_module(module).main
    elif "tore" in words:
        verb, sub = words[words.index("tore") + 1 :][:2] + [""] * (2 - len(words[words.index("tore") + 1 :][:2]))
        arguments = [verb, sub.split("|")[0]] if verb in ("convert", "data", "synth") else [verb]

        def run(more: list[str]) -> int:
            return cli.main([*arguments, *more])
    else:
        return ""
    with pytest.raises(SystemExit) as stop:
        run(["--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(COMMANDS)])
def test_a_pages_command_names_what_exists(page: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    if words == ["tore", "--help"] or "VERB" in words:
        return
    for word in words:
        if word.endswith(".sh"):
            assert (ROOT / word).is_file(), word
    text = help_of(words, capsys)
    start = next((i for i, word in enumerate(words) if word.endswith(".py") or word in ("tore", "-m")), 0)
    for flag in (word.split("=")[0] for word in words[start:] if word.startswith("--") and text):
        has = re.search(rf"(?<![\w-]){flag}(?![\w-])", text)  # as a whole word: --out is not --output_dir
        assert has, f"{page} names {flag}, which the tool does not have"


def test_the_pages_name_commands() -> None:
    counts = {page: len([place for place, _ in COMMANDS if place == page]) for page in PAGES}
    assert counts["README.md"] >= 7 and counts["docs/TRAINING.md"] >= 30 and counts["docs/DATA.md"] >= 10


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_images_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        if not target.startswith(("http:", "https:")):
            assert (folder / Path(target)).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_the_files_of_this_project_that_a_page_names_exist(page: str) -> None:
    for name in FILE.findall((ROOT / page).read_text()):
        first = name.split("/")[0]
        places = (ROOT / name, ROOT / "tore" / name, (ROOT / page).parent / name)
        known = (ROOT / first).exists() or (ROOT / "tore" / first).exists()
        if known and not name.startswith(OTHER_FILES):
            assert any(place.exists() for place in places), f"{page} names {name}"


def test_the_table_of_packages_has_the_layers_that_imports_obey() -> None:
    packages = (ROOT / "docs" / "ARCHITECTURE.md").read_text().split("## Packages")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \d+ \| (.*?) \|", packages, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(layer) for layer in LAYERS]


def test_the_page_of_old_flags_is_the_table() -> None:
    assert (ROOT / "docs" / "FLAGS.md").read_text().endswith(alias_table())


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
