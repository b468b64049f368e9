"""Words that must not come back into documentation, docstrings, comments, help and messages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

# a regular expression of words that must not come back -> what is written instead
INSTEAD = {
    r"(?<!make )\brooms?\b|\bhouses?\b|\bwalk of\b|\bone door\b": "package, module, data flow",
    r"\btwins?\b|\binference forms?\b": "optimized model",
    r"\bstand-ins?\b|\bstandins?\b": "synthetic body model",
    r"\bnumber types?\b": "dtype",
    r"\bpolite(ly)?\b|\bthe pen\b|\bdoubts?\b|\bwishes\b": "graceful shutdown, queued for writing, warnings, options",
    r"\bby heart\b": "overfit",
    r"\bmay look at\b|\btoken looked\b|\blooks? at whom\b": "attention mask, attention map, attends to",
    r"\bgo(es)? on\b|\bgoing on\b|\bwent on\b": "resumes, continues",
    r"\bdepartures?\b": "deviations",
    r"\bunlabelled\b|\blabelled\b|\bcentre[ds]?\b|\bcolours?\b|\boptimis|\bmetres?\b|\bneighbours?\b|\bgrey\b"
    r"|\blicences?\b|\bfavour": "American spelling",
    r"\basked for\b|\basks? for nothing\b": "query, requested",
    r"\bpictures?\b": "image",
    r"\bthe middle of\b|\bmiddle mesh\b": "center, intermediate",
}
# names and values that keep a word for one release, or for good
ALLOWED = re.compile(
    r"https?://\S+|`[^`]*`|<!--.*?-->|\]\([^)]*\)|--\w+|\w+_rooms?\b|standin_\w+|stand_in|\bstandin-v|picture_index"
    r"|\bpictures?/|\n +rooms: |\"picture\"|synth pictures|MeshDataset\.picture|the \w+ hand's middle finger"
)


def prose(text: str) -> str:
    return ALLOWED.sub("", text)


def found_in(text: str) -> list[str]:
    """What of a text is on the list, with what to write instead."""
    return [
        f"{match[0]!r} (write {instead})"
        for words, instead in INSTEAD.items()
        for match in re.finditer(words, prose(text), re.IGNORECASE)
    ]


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """The comments and the strings of more than one word of a Python file, with their lines."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_use_the_fields_words(path: Path) -> None:
    blank = lambda block: "\n" * block[0].count("\n")  # noqa: E731
    text = re.sub(r"```.*?```", blank, path.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = enumerate(text.splitlines(), 1)
    wrong = [f"{path.name}:{i}: {word}" for i, line in lines for word in found_in(line)]
    assert not wrong, "\n".join(wrong)


FOLDERS = ("tore", "tore_runtime", "manopth", "benchmarks", "scripts")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_comments_and_messages_use_the_fields_words(path: Path) -> None:
    if path.name in ("_moved.py", "compare_commits.py"):
        pytest.skip("lists the old names")
    wrong = [f"{path.relative_to(ROOT)}:{line}: {word}" for line, text in texts_of(path) for word in found_in(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_use_the_fields_words(path: Path) -> None:
    """Only the old spellings of what was public stay."""
    if path.name == "_moved.py":
        pytest.skip("lists the old names")
    lines = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    names = [token for token in lines if token.type == tokenize.NAME and "picture" in token.string.lower()]
    wrong = [token for token in names if not re.search(r"@renamed_argument\(|def picture\(", token.line)]
    assert not wrong, "\n".join(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}" for token in wrong)


def test_the_list_finds_its_words() -> None:
    assert len(found_in("The stand-in goes on in another room.")) == 3
    assert not found_in("`--warm_start_rooms` and `tore synth images` keep their names.")
