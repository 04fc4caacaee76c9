"""Which sections of the retrieval sets train, which choose, which test: drawn by page, for all languages at once.

``keys.tsv`` names a passage's section in the same way in every language: ``page#heading``. Sections of one page share
words, so a whole page goes to one side, in all languages. Only pages that hold a query in some language are drawn;
every other page of the sets is a distractor for the measurement and text for the training.

    python benchmarks/demo_checkpoint/split.py --data ../shared/data/A     # writes split.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

SEED = 5
SHARES = {"train": 0.15, "validation": 0.20, "test": 0.65}
RECORD = Path(__file__).with_name("split.json")


def page_of(section: str) -> str:
    """Return the page of a section's key."""
    return section.split("#", 1)[0]


def part_of(page: str, seed: int = SEED) -> str:
    """Draw the part of a page that holds a query: by a hash, so that it depends on nothing else.

    >>> part_of("lo/scalc/guide/datapilot_edittable") == part_of("lo/scalc/guide/datapilot_edittable")
    True
    """
    drawn = int.from_bytes(hashlib.sha256(f"{seed}:{page}".encode()).digest()[:8], "big") / 2**64
    for part, share in SHARES.items():
        if drawn < share:
            return part
        drawn -= share
    return part


def sections_of(folder: Path) -> dict[str, str]:
    """Return the section of each pid of a set."""
    return dict(line.split("\t") for line in (folder / "keys.tsv").read_text(encoding="utf-8").splitlines())


def queried(folder: Path) -> dict[str, str]:
    """Return the section that answers each query of a set."""
    sections = sections_of(folder)
    judged = [line.split() for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()]
    return {qid: sections[pid] for qid, _, pid, grade in judged if int(grade) > 0}


def languages_in(data: Path) -> list[str]:
    """Return the folders that hold a set."""
    return sorted(path.name for path in data.iterdir() if (path / "keys.tsv").is_file())


def split(data: Path, languages: Iterable[str] | None = None) -> dict[str, set[str]]:
    """Return the queried sections of each part; a section is in the same part in every language."""
    parts: dict[str, set[str]] = {part: set() for part in SHARES}
    for language in languages or languages_in(data):
        for section in queried(data / language).values():
            parts[part_of(page_of(section))].add(section)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data" / "A")
    options = parser.parse_args()
    parts = split(options.data)
    queries = {
        language: {p: sum(s in parts[p] for s in queried(options.data / language).values()) for p in parts}
        for language in languages_in(options.data)
    }
    record = {"seed": SEED, "shares": SHARES, "queries": queries, **{p: sorted(parts[p]) for p in parts}}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for language, counts in queries.items():
        print(language, counts)


if __name__ == "__main__":
    main()
