"""The texts, document ids and metadata of a colbert-ai folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ...corpus.metadata import check_metadata
from ...corpus.passages import check_order, is_column
from ...errors import IndexDamagedError, InputError
from ...files import without_secrets
from .files import (
    COLLECTION,
    DOCUMENT_IDS,
    DOCUMENT_METADATA,
    LANGUAGES,
    METADATA,
    blaming,
    damaged,
    is_there,
    read_json,
    read_object,
)

logger = logging.getLogger(__name__)

Collection: TypeAlias = "str | Path | Sequence[str]"


class Record(NamedTuple):
    """What is known of a passage besides its vectors; its language only where our exporter wrote it down."""

    text: str
    document_id: str
    metadata: Mapping[str, Any] | None
    language: str | None


def read_records(
    folder: Path, config: Mapping[str, Any], living: Sequence[bool], collection: Collection | None
) -> list[Record | None]:
    """Read the record of each passage; None for those that were deleted.

    RAGatouille's deletions keep the numbers of the passages that stay and shift their texts, so that it finds wrong
    ones from then on. Its files are enough to set that right, except in one case, of which a warning tells.

    Parameters
    ----------
    folder : Path
    config : mapping
        The configuration in ``metadata.json``.
    living : sequence of bool
        Which of the passages have vectors.
    collection : str, Path or sequence of str, optional
        The texts, or a file of them: ``.tsv`` (number, text, title if there is one) or ``.json`` (a list).

    Raises
    ------
    IndexDamagedError
        If a file is damaged, or the folder has no texts and none are given.
    InputError
        If `collection` is not usable.
    """
    pids = [pid for pid, alive in enumerate(living) if alive]
    texts = _texts(folder, config, living, pids, collection)
    ids = _document_ids(folder, pids)
    metadata = _metadata(folder)
    languages = _languages(folder, len(living))
    records: list[Record | None] = [None] * len(living)
    for pid, text, document_id in zip(pids, texts, ids, strict=True):
        records[pid] = Record(text, document_id, metadata.get(document_id), languages[pid] if languages else None)
    return records


def _texts(
    folder: Path,
    config: Mapping[str, Any],
    living: Sequence[bool],
    pids: Sequence[int],
    collection: Collection | None,
) -> list[str]:
    """Return the text of each living passage."""
    if collection is not None:
        given = _given(collection)
        if len(given) != len(living):
            raise InputError(f"The collection has {len(given)} texts; the index at {str(folder)!r} has {len(living)}.")
        return [given[pid] for pid in pids]
    stored = _strings(folder / COLLECTION) if is_there(folder / COLLECTION) else None
    indexed = config.get("collection")  # the texts, or the file of them, that the index was built from
    if isinstance(indexed, str) and stored is None and os.path.isfile(indexed):  # false for whatever is no name
        indexed = _given(indexed)
    for texts in (stored, indexed):
        if isinstance(texts, list) and len(texts) == len(living) and all(isinstance(text, str) for text in texts):
            return [texts[pid] for pid in pids]
    if stored is not None and len(stored) == len(pids):
        logger.warning(
            "%s: RAGatouille has deleted %d passages. The texts that it kept are assigned in their order; if it has "
            "deleted more than once, it kept wrong ones: index the documents again.", folder, len(living) - len(pids),
        )  # fmt: skip
        return stored
    if stored is not None:
        raise damaged(folder / COLLECTION, f"has {len(stored)} texts, but the index {len(pids)} passages")
    where = f", and {indexed!r}, which it was built from, is not usable" if isinstance(indexed, str) else ""
    raise IndexDamagedError(
        f"The index at {str(folder)!r} has no texts: no {COLLECTION}{where}. Give them with collection=, or "
        "--collection on the command line: a .tsv or .json file."
    )


def _given(collection: Collection) -> list[str]:
    if not isinstance(collection, (str, Path)):
        check_order(collection, "The collection")
        texts = list(collection)
        if not is_column(collection) or not all(isinstance(text, str) for text in texts):
            raise InputError("The collection must be a list of strings, or the path of a .tsv or .json file.")
        return texts
    if "://" in str(collection):
        raise InputError(f"The collection is at an address, {without_secrets(str(collection))!r}: give a local file.")
    path = Path(collection)
    try:
        return _strings(path) if path.suffix == ".json" else _lines(path)
    except (OSError, UnicodeDecodeError, IndexDamagedError) as error:
        raise InputError(f"The collection {str(path)!r} cannot be read: {error}") from error


def _lines(path: Path) -> list[str]:
    """Read colbert-ai's form: a line for each passage, with its number, its text and its title, if it has one."""
    texts = []
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file):
            first, *rest = line.strip("\n\r ").split("\t")
            if first not in (str(number), "id") or not rest:
                raise InputError(f"{str(path)!r}, line {number + 1}: this is not {number}, a tab and a text.")
            texts.append(" | ".join([*rest[1:2], rest[0]]))
    return texts


def _strings(path: Path) -> list[str]:
    value = read_json(path)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise damaged(path, "does not hold a list of strings")
    return value


def _document_ids(folder: Path, pids: Sequence[int]) -> list[str]:
    """Return the document id of each living passage; its number where the folder has none."""
    path = folder / DOCUMENT_IDS
    if not is_there(path):
        return [str(pid) for pid in pids]
    content = read_object(path)
    with blaming(path):
        stored = {int(key): value for key, value in content.items()}
    if len(stored) != len(pids) or not all(type(value) in (str, int) for value in stored.values()):
        raise damaged(path, f"has {len(stored)} document ids, but the index {len(pids)} passages")
    # After deleting and adding, RAGatouille's numbers have gaps that the index has not; the order is the same.
    return [str(stored[key]) for key in sorted(stored)]


def _metadata(folder: Path) -> dict[str, Mapping[str, Any]]:
    path = folder / DOCUMENT_METADATA
    if not is_there(path):
        return {}
    with blaming(path):
        return {key: check_metadata(value) for key, value in read_object(path).items() if value is not None}


def _languages(folder: Path, n: int) -> list[str] | None:
    path = folder / LANGUAGES
    if not is_there(path):
        return None
    languages = _strings(path)
    if len(languages) != n:
        raise damaged(path, f"has {len(languages)} languages, but {METADATA} counts {n} passages")
    return languages
