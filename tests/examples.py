"""The examples of a Markdown page: its blocks of code, and what they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

BLOCK = re.compile(
    r"(?P<skipped><!-- not run: [^\n]+ -->\n)?```(?P<kind>python|sh|text)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Example(NamedTuple):
    """A block of a page, and what it prints."""

    line: int
    kind: str
    code: str
    printed: str | None


def examples(page: Path) -> list[Example]:
    """Return the blocks that run, each with the block of text that follows it."""
    text = page.read_text(encoding="utf-8")
    found: list[Example] = []
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("code")) + 1
        if block["kind"] == "text":
            assert found[-1:], f"{page.name}, line {line}: nothing prints this"
            assert found[-1].printed is None, f"{page.name}, line {line}: this was said already"
            found[-1] = found[-1]._replace(printed=block["code"])
        elif not block["skipped"]:
            found.append(Example(line, block["kind"], block["code"], None))
    return found


def run_python(example: Example, page: Path, names: dict[str, Any]) -> str:
    code = compile("\n" * (example.line - 1) + example.code, str(page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()
