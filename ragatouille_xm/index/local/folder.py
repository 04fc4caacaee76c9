"""The files of an index folder, by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

DATABASE, BUILD_DATABASE, LOCK = "index.db", "build.db", "write.lock"
CODES, RESIDUALS, TABLE, POSTINGS, LEXICAL = ".codes", ".residuals", ".table", ".postings", ".lexical"
PACKED, BASES = ".packed", ".bases"
RECORDS, PIECES = ".records", ".pieces"  # of a segment that is being written: become the table and the lexical lists
_SEGMENT = re.compile(r"segment-[0-9a-f]{12}")
_CODEBOOK = re.compile(r"codebook-[0-9a-f]{12}\.safetensors")
_OURS = re.compile(
    rf"(?P<segment>{_SEGMENT.pattern})"
    rf"({CODES}|{RESIDUALS}|{PACKED}|{BASES}|{TABLE}|{LEXICAL}|{RECORDS}|{PIECES}|{POSTINGS}-[0-9a-f]{{12}})"
    rf"|{_CODEBOOK.pattern}"
)

WAY_OUT = "Index the documents again, or restore the folder from a copy."

logger = logging.getLogger(__name__)


def new_segment_name() -> str:
    """Return the name of a segment, which no other ever had: readers know segments by their names."""
    return f"segment-{uuid4().hex[:12]}"


def new_codebook_name() -> str:
    """Return the file name of a codebook, which no other ever had."""
    return f"codebook-{uuid4().hex[:12]}.safetensors"


def postings_suffix(codebook: str) -> str:
    """Return how the name of a postings file ends that belongs to a codebook."""
    return f"{POSTINGS}-{codebook.removeprefix('codebook-').removesuffix('.safetensors')}"


def is_segment_name(name: str) -> bool:
    """Return whether `name` may be one of a segment; anything else could lead out of the folder."""
    return _SEGMENT.fullmatch(name) is not None


def is_codebook_name(name: str) -> bool:
    """Return whether `name` may be one of a codebook's file."""
    return _CODEBOOK.fullmatch(name) is not None


def orphans(folder: Path, files: Iterable[str], segments: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the files that no commit names, by their names or as parts of segments that are being written."""
    named, growing = set(files), set(segments)
    for path in folder.iterdir():
        ours = _OURS.fullmatch(path.name)
        if ours and path.name not in named and ours["segment"] not in growing:
            yield path


def delete_orphans(folder: Path, files: Iterable[str], segments: Iterable[str] = ()) -> None:
    """Delete what no commit names. Windows keeps a file that a reader has open; a later writer deletes it."""
    for path in orphans(folder, files, segments):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s is still in use: %s", path, error)
