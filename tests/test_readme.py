"""What README and the experiments page tell a user to run exists, with the flags that they name."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.processes import ROOT
from tore import cli

PAGES = ["README.md", "docs/INSTALL.md", "docs/EXPERIMENTS.md", "docs/DOWNLOAD.md"]


def commands_of(page: str) -> list[str]:
    """The lines of a page's code that run something of this project, continued lines joined, comments cut."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    indented = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in f"{fenced}\n{indented}".splitlines()]
    return [line for line in lines if re.search(r"(^|\s)(tore [a-z]|bash |python |sbatch )|tore/tools/", line)]


COMMANDS = [(page, command) for page in PAGES for command in commands_of(page)]


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The --help of the tool that a command line runs; empty where it runs a shell script."""
    script = next(
        (word for word in words if re.fullmatch(r"(\./)?(tore/tools|benchmarks|scripts)/\w+\.py", word)), None
    )
    if script is not None:
        module = script.removeprefix("./").removesuffix(".py").replace("/", ".")
        assert (ROOT / script).is_file(), script
        if not script.removeprefix("./").startswith("tore/"):
            return (ROOT / script).read_text()
        run = importlib.import_module(module).main
    elif "tore" in words:
        verb, sub = words[words.index("tore") + 1 :][:2] + [""] * (2 - len(words[words.index("tore") + 1 :][:2]))
        arguments = [verb, sub] if verb in ("convert", "data", "synth") else [verb]

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
    if words == ["tore", "--help"]:
        return
    for word in words:
        if word.endswith(".sh"):
            assert (ROOT / word).is_file(), word
    text = help_of(words, capsys)
    start = next(
        (i for i, word in enumerate(words) if word.endswith(".py")), words.index("tore") if "tore" in words else 0
    )
    for flag in (word.split("=")[0] for word in words[start:] if word.startswith("--") and text):
        assert flag in text, f"{page} names {flag}, which the tool does not have"


def test_the_pages_name_commands() -> None:
    assert len([page for page, _ in COMMANDS if page == "README.md"]) >= 7


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_and_images_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        if not target.startswith(("http:", "https:")):
            assert (folder / Path(target)).exists(), f"{page} links to {target}"
