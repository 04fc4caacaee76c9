"""Prose: pages, help, errors and log messages avoid the words in `docs/vocabulary.toml`; their sentences are short."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.main import get_command

from ragatouille_xm.cli import app

ROOT = Path(__file__).parents[1]
VOCABULARY = tomllib.loads((ROOT / "docs" / "vocabulary.toml").read_text(encoding="utf-8"))
AVOID = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): (words, say) for words, say in VOCABULARY["avoid"].items()}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "notebooks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "integrations").glob("*/README.md")),
]
SOURCES = [
    *sorted((ROOT / "ragatouille_xm").rglob("*.py")),
    *(path for path in sorted((ROOT / "integrations").rglob("*.py")) if "tests" not in path.parts),
]
LONGEST = 45  # words in a sentence


class Passage(NamedTuple):
    """A piece of prose, and where it stands."""

    place: str
    text: str


def of_page(path: Path) -> Iterator[Passage]:
    """Yield the lines of a page, without code."""
    text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"), flags=re.S | re.M)
    for number, line in enumerate(re.sub(r"`[^`\n]+`|\]\([^)]*\)", "` ", text).splitlines(), 1):
        yield Passage(f"{path.relative_to(ROOT).as_posix()}:{number}", line)


def of_help() -> Iterator[Passage]:
    """Yield the help of each command, its options, and its examples."""
    root = get_command(app)
    for name, command in {"": root, **root.commands}.items():  # type: ignore[attr-defined]
        texts = [command.help, command.epilog, *(getattr(option, "help", None) for option in command.params)]
        yield from (Passage(f"ragatouille-xm {name} --help", text) for text in texts if text)


def of_messages(path: Path) -> Iterator[Passage]:
    """Yield the strings of a module that have words in them, but for its docstrings: mostly messages."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if " " in node.value.strip():
            yield Passage(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", node.value)


def offences(passages: Iterator[Passage]) -> list[str]:
    """Return a line for each word that is to be avoided."""
    return [
        f"{place}: {found[0]!r}; say: {say}"
        for place, text in passages
        for pattern, (words, say) in AVOID.items()
        for found in pattern.finditer(text)
        if not place.startswith(tuple(VOCABULARY["allow"].get(words, ())))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_avoid_words(page: Path) -> None:
    assert offences(of_page(page)) == []


def test_help_avoids_words() -> None:
    passages = list(of_help())
    assert len(passages) > 50
    assert offences(iter(passages)) == []


def test_messages_avoid_words() -> None:
    passages = [passage for path in SOURCES for passage in of_messages(path)]
    assert len(passages) > 500
    assert offences(iter(passages)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_are_short(page: Path) -> None:
    lines = [re.sub(r"^\s*(\||[-*] |\d+\. |#).*", "\n", text) for _, text in of_page(page)]
    sentences = re.split(r"(?<=[.:;!?])\s+|\n\s*\n", "\n".join(lines))
    assert [sentence for sentence in sentences if len(sentence.split()) > LONGEST] == []


@pytest.mark.parametrize(
    "old",
    [
        "The manifest lists the parts; sealed parts are swept by a sweep.",
        "Nearly alike rows are passed over, and in doubt a rough score is told.",
        "Nobody sees any of it before it counts as a whole at the end.",
    ],
)
def test_the_old_words_are_found(old: str) -> None:
    assert offences(iter([Passage("somewhere", old)]))
