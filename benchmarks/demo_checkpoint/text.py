"""Text to train on: LibreOffice Help in 14 languages (MPL-2.0), from Debian's packages, without what is tested.

Whole pages that hold a query of the validation or test part are left out in every language, and so is a section whose
title is such a query, or that repeats more than `REPEATED` of its character n-grams from the answers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from pathlib import Path

from split import page_of, queried, sections_of, split

PACKAGES = {  # language of the sets → name of the Debian package, folder in it
    "de": ("de", "de"), "en": ("en-us", "en-US"), "es": ("es", "es"), "fr": ("fr", "fr"), "id": ("id", "id"),
    "it": ("it", "it"), "ja": ("ja", "ja"), "ko": ("ko", "ko"), "pl": ("pl", "pl"), "pt": ("pt", "pt"),
    "ru": ("ru", "ru"), "tr": ("tr", "tr"), "vi": ("vi", "vi"), "zh": ("zh-cn", "zh-CN"),
}  # fmt: skip
HELD_OUT = ("validation", "test")
NGRAM = 12
REPEATED = 0.25
SHORTEST = 80  # characters of a body; a third of it in Chinese, Japanese and Korean
_TITLES = {"h1", "h2", "h3", "h4", "h5", "h6"}
_DENSE_SCRIPTS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class Section:
    page: str
    heading: str  # its id on the page, the same in every language
    title: str
    body: str

    @property
    def key(self) -> str:
        return f"{self.page}#{self.heading}"


class _Page(HTMLParser):
    """Collects a help page's sections: a heading and the paragraphs up to the next."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.found: list[tuple[str, str, list[str]]] = []  # id and text of a heading, paragraphs
        self._open: str | None = None
        self._id = ""
        self._text: list[str] = []
        self._ended = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        classes = (found.get("class") or "").split()
        self._ended |= "relatedtopics" in classes or tag == "footer"
        if not self._ended and (tag in _TITLES or (tag == "p" and "paragraph" in classes)):
            self._open, self._id, self._text = tag, found.get("id") or "", []

    def handle_data(self, data: str) -> None:
        if self._open:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag != self._open:
            return
        self._open, text = None, " ".join("".join(self._text).split())
        if tag in _TITLES:
            self.found.append((self._id, text, []))
        elif self.found and text:
            self.found[-1][2].append(text)

    def sections(self) -> Iterator[Section]:
        for heading, title, paragraphs in self.found:
            body = " ".join(paragraphs)
            least = SHORTEST // 3 if _DENSE_SCRIPTS.search(body) else SHORTEST
            if title and len(body) >= least:
                yield Section(self.page, heading, title, body)


def fetch(language: str, folder: Path) -> Path:
    """Download and unpack a language's package with apt, once; return the folder of its pages."""
    name, inside = PACKAGES[language]
    pages = folder / name / "usr" / "share" / "libreoffice" / "help" / inside / "text"
    if not pages.is_dir():
        if shutil.which("apt-get") is None:
            raise SystemExit("The text comes from Debian's packages libreoffice-help-*: run this where apt-get is.")
        folder.mkdir(parents=True, exist_ok=True)
        package = f"libreoffice-help-{name}"
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / name)], check=True)
    return pages


def pages_of(folder: Path) -> Iterator[Section]:
    """Yield the sections of every page, in the order of the pages' names."""
    for path in sorted(folder.rglob("*.html")):
        page = _Page("lo/" + path.relative_to(folder).with_suffix("").as_posix())
        page.feed(path.read_text(encoding="utf-8"))
        yield from page.sections()


def ngrams(text: str) -> set[str]:
    """Return the character n-grams of a text, without its spaces and case."""
    plain = "".join(text.lower().split())
    return {plain[i : i + NGRAM] for i in range(max(1, len(plain) - NGRAM + 1))}


@dataclass(frozen=True)
class HeldOut:
    """What is not trained on: pages, and in one language the queries and the n-grams of their answers."""

    pages: set[str]
    queries: set[str]
    ngrams: set[str]


def held_out(data: Path, language: str) -> HeldOut:
    parts = split(data)
    sections = set().union(*(parts[part] for part in HELD_OUT))
    folder = data / language
    wanted = [pid for pid, section in sections_of(folder).items() if section in sections]

    def texts(name: str) -> dict[str, str]:
        lines = (folder / name).read_text(encoding="utf-8").split("\n")
        return dict(line.split("\t", 1) for line in lines if line)

    queries, passages = texts("queries.tsv"), texts("collection.tsv")
    return HeldOut(
        {page_of(section) for section in sections},
        {queries[qid].casefold() for qid, section in queried(folder).items() if section in sections},
        set().union(*(ngrams(passages[pid]) for pid in wanted)),
    )


def training_sections(data: Path, language: str, cache: Path) -> tuple[list[Section], dict[str, int]]:
    """Return a language's sections to train on, and how many were left out and why."""
    out = held_out(data, language)
    kept: list[Section] = []
    seen: set[str] = set()
    left = {"held-out page": 0, "title is a held-out query": 0, "near duplicate": 0, "seen before": 0}
    for section in pages_of(fetch(language, cache)):
        grams = ngrams(section.body)
        if section.page in out.pages:
            left["held-out page"] += 1
        elif section.title.casefold() in out.queries:
            left["title is a held-out query"] += 1
        elif len(grams & out.ngrams) > REPEATED * len(grams):
            left["near duplicate"] += 1
        elif section.body in seen:
            left["seen before"] += 1
        else:
            seen.add(section.body)
            kept.append(section)
    return kept, left


def prepare(data: Path, cache: Path) -> dict[str, list[Section]]:
    """Return the sections to train on, by language; the work is done once and kept in `cache`."""
    stored = cache / "sections.jsonl"
    if not stored.is_file():
        lines = []
        for language in PACKAGES:
            kept, left = training_sections(data, language, cache / "packages")
            print(language, len(kept), "sections,", sum(len(s.body) for s in kept), "characters; left out:", left)
            lines += [json.dumps({"language": language, **asdict(s)}, ensure_ascii=False) for s in kept]
        aside = stored.with_suffix(".part")
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        aside.replace(stored)
    sections: dict[str, list[Section]] = {language: [] for language in PACKAGES}
    for line in stored.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        sections[row.pop("language")].append(Section(**row))
    return sections
