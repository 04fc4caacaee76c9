"""Passages of about 50 tokens from what `texts.sh` has fetched, without those of another collection.

    python -m benchmarks.search_peers.texts FOLDER --data ../shared/data/A

writes ``FOLDER/passages.tsv``: a language and a passage on each line, the languages taking turns by `IN_A_ROW`.
"""

from __future__ import annotations

import argparse
import html
import random
import re
from collections.abc import Iterator
from pathlib import Path

HELP, MANUAL = "usr/share/libreoffice/help/*/text", "usr/share/doc/aptitude/html/*"
CODES = {"en-US": "en", "pt-BR": "pt", "zh-CN": "zh", "zh-TW": "zh-TW"}
SKIPPED = {"ca-valencia"}  # nearly all of it is the text of "ca"
DENSE = {"ja", "zh", "zh-TW", "ko"}  # more tokens for each character
CHARACTERS, CHARACTERS_DENSE = 150, 60  # at which a passage is long enough
IN_A_ROW = 512
BLOCK = re.compile(r"<(?:p|h[1-6]|li|td|dt)\b[^>]*>(.*?)</(?:p|h[1-6]|li|td|dt)>", re.DOTALL)
TAG, SPACE = re.compile(r"<[^>]*>"), re.compile(r"\s+")


def paragraphs(page: str) -> Iterator[str]:
    """Yield the texts of a page, without its frame."""
    body = page[max(page.find('id="DisplayArea"'), page.find("<body"), 0) :]
    for found in BLOCK.finditer(body):
        if text := SPACE.sub(" ", html.unescape(TAG.sub(" ", found.group(1)))).strip():
            yield text


def packed(texts: Iterator[str], enough: int) -> Iterator[str]:
    """Join texts that follow one another until they are long enough; a short rest is left out."""
    held: list[str] = []
    for text in texts:
        held.append(text)
        if sum(map(len, held)) >= enough:
            yield " ".join(held)
            held = []


def passages(language: str, folders: list[Path], known: str, seen: set[str]) -> Iterator[str]:
    """Yield the passages of a language, without what is in `known` or begins as what was seen in any language."""
    enough = CHARACTERS_DENSE if language in DENSE else CHARACTERS
    for folder in folders:
        for page in sorted(folder.rglob("*.html")):
            for text in packed(paragraphs(page.read_text(encoding="utf-8", errors="replace")), enough):
                start = text[: enough // 2]
                if start not in seen and text[:enough] not in known:
                    seen.add(start)
                    yield text


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="where texts.sh has put them")
    options.add_argument("--data", type=Path, default=Path("../shared/data/A"), help="a collection to leave out")
    given = options.parse_args()
    root, seen = given.folder / "root", set[str]()
    folders: dict[str, list[Path]] = {}
    for path in sorted(root.glob(HELP)) + sorted(root.glob(MANUAL)):
        name = path.parent.name if path.name == "text" else path.name
        if name not in SKIPPED:
            folders.setdefault(CODES.get(name, name), []).append(path)
    sources = {}
    for language, places in folders.items():
        collection = given.data / language / "collection.tsv"
        known = SPACE.sub(" ", collection.read_text(encoding="utf-8")) if collection.is_file() else ""
        sources[language] = list(passages(language, places, known, seen))
        random.Random(0).shuffle(sources[language])
        print(language, len(sources[language]), flush=True)
    with (given.folder / "passages.tsv").open("w", encoding="utf-8") as out:
        for start in range(0, max(map(len, sources.values())), IN_A_ROW):
            for language, texts in sources.items():
                out.writelines(f"{language}\t{text}\n" for text in texts[start : start + IN_A_ROW])


if __name__ == "__main__":
    main()
