"""The passages of an index in its database: texts, ids, languages, metadata, and what filters see in them."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, TypeVar

from ...corpus.fields import MOST_VALUES, Field
from ...corpus.metadata import (
    METADATA,
    OWN_FIELDS,
    Scalar,
    equality_key,
    fields_of,
    instant,
    range_value,
    storable,
    value_of_key,
)
from ...errors import IndexDamagedError, InputError
from ...types import Passage
from .folder import WAY_OUT

T = TypeVar("T")

EXISTS, EQUAL, NUMBER, INSTANT = range(4)  # kinds of attributes
LONGEST_KEY = 80  # characters: longer values are looked up by a hash
VALUES_BATCH = 500  # in one query

TABLES = """
CREATE TABLE passage (
    pid INTEGER PRIMARY KEY, document_id TEXT NOT NULL, language TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT,
    checksum INTEGER NOT NULL
);
CREATE TABLE field (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE attribute (
    pid INTEGER NOT NULL, field INTEGER NOT NULL, kind INTEGER NOT NULL, value NOT NULL,
    PRIMARY KEY (pid, field, kind, value)
) WITHOUT ROWID;
"""
DOCUMENT_INDEX = "CREATE INDEX IF NOT EXISTS passage_document ON passage (document_id);"
INDEXES = f"""
{DOCUMENT_INDEX}
CREATE INDEX IF NOT EXISTS passage_language ON passage (language);
CREATE INDEX IF NOT EXISTS attribute_value ON attribute (field, kind, value, pid);
"""
_COLUMNS = "pid, document_id, language, text, metadata, checksum"


# ---- writing


def insert_passages(connection: sqlite3.Connection, passages: Sequence[Passage], field_ids: dict[str, int]) -> None:
    """Store passages whose pids are free. `field_ids` remembers, within a transaction, what it has looked up.

    Raises
    ------
    InputError
        If a text or the metadata cannot be stored.
    """
    rows, attributes = [], []
    for passage in passages:
        try:
            rows.append(_row_of(passage))
            attributes += [
                (passage.pid, _field_id(connection, field, field_ids), kind, value)
                for field, kind, value in attribute_values(passage)
            ]
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(
                f"The passage {passage.pid} of document {passage.document_id!r} cannot be stored: its texts must have "
                f"no lone surrogates, and its metadata must be JSON values. Nothing was stored. ({error})"
            ) from error
    connection.executemany("INSERT INTO passage VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.executemany("INSERT OR IGNORE INTO attribute VALUES (?, ?, ?, ?)", attributes)


def insert_rows(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]], field_ids: dict[str, int]) -> None:
    """Store rows of another index, whose pids are free. Raise `IndexDamagedError` for one that is not as written."""
    insert_passages(connection, [_passage_of(row) for row in rows], field_ids)


def delete_passages(connection: sqlite3.Connection, pids: Iterable[int]) -> None:
    """Remove passages, wherever their vectors are."""
    rows = [(pid,) for pid in pids]
    for table in ("passage", "attribute", "buffer"):
        connection.executemany(f"DELETE FROM {table} WHERE pid = ?", rows)


def _row_of(passage: Passage) -> tuple[Any, ...]:
    metadata = None if passage.metadata is None else json.dumps(dict(passage.metadata), ensure_ascii=False)
    columns = (passage.pid, passage.document_id, passage.language, passage.text, metadata)
    return *columns, _checksum(columns)


def _checksum(columns: tuple[Any, ...]) -> int:
    """Return the CRC-32 of a row. Raise `UnicodeEncodeError` for lone surrogates."""
    return zlib.crc32("\0".join(map(str, columns)).encode())


def attribute_values(passage: Passage) -> Iterator[tuple[str, int, Any]]:
    """Yield the field, the kind and the value of all that filters look up of a passage.

    The passage's own fields are looked up in its row, except that a range of dates reaches into ids that are dates.
    """
    for field, values in fields_of(passage).items():
        own = field in OWN_FIELDS
        if not own:
            yield field, EXISTS, 0
        for value in values:
            if not own:
                yield field, EQUAL, lookup_key(value)
                if (number := range_value(value)) is not None:
                    yield field, NUMBER, number
            if (moment := instant(value)) is not None:
                yield field, INSTANT, moment


def lookup_key(value: Scalar) -> str:
    """Return the text by which a value is looked up for equality."""
    key = equality_key(value)
    return key if len(key) <= LONGEST_KEY else f"#{blake2b(key.encode(), digest_size=16).hexdigest()}"


def _field_id(connection: sqlite3.Connection, name: str, known: dict[str, int]) -> int:
    if name not in known:
        connection.execute("INSERT OR IGNORE INTO field (name) VALUES (?)", (name,))
        [known[name]] = connection.execute("SELECT id FROM field WHERE name = ?", (name,)).fetchone()
    return known[name]


# ---- reading


def fetch_passages(connection: sqlite3.Connection, pids: Sequence[int]) -> dict[int, Passage]:
    """Return those of the passages that are here, by pid."""
    where = "WHERE pid IN (SELECT value FROM json_each(?))"
    return {passage.pid: passage for passage in _select(connection, where, (json.dumps(list(pids)),))}


def pids_around(connection: sqlite3.Connection, pid: int, n: int) -> list[int]:
    """Return the pids of a passage's document from `n` before to `n` after it, itself among them, if it is here.

    The index by document has them in order: what it takes does not grow with the document.
    """
    sql = """
        WITH own AS (SELECT document_id FROM passage WHERE pid = :pid)
        SELECT pid FROM (SELECT pid FROM passage WHERE document_id = (SELECT document_id FROM own) AND pid <= :pid
                         ORDER BY pid DESC LIMIT :n + 1)
        UNION ALL
        SELECT pid FROM (SELECT pid FROM passage WHERE document_id = (SELECT document_id FROM own) AND pid > :pid
                         ORDER BY pid LIMIT :n)
    """
    return sorted(found for (found,) in connection.execute(sql, {"pid": pid, "n": n}))


def passages_of(connection: sqlite3.Connection, document_ids: Iterable[str]) -> list[Passage]:
    """Return all passages of documents, by growing pid."""
    found = [
        passage
        for batch in _id_batches(document_ids)
        for passage in _select(connection, f"WHERE document_id IN ({_marks(batch)})", batch)
    ]
    return sorted(found, key=lambda passage: passage.pid)


def all_passages(connection: sqlite3.Connection) -> Iterator[Passage]:
    """Yield all passages by growing pid."""
    return _select(connection, "ORDER BY pid", ())


def pids_of(connection: sqlite3.Connection, document_ids: Iterable[str]) -> list[int]:
    """Return the pids of all passages of documents."""
    return [
        pid
        for batch in _id_batches(document_ids)
        for (pid,) in connection.execute(f"SELECT pid FROM passage WHERE document_id IN ({_marks(batch)})", batch)
    ]


def known_pids(connection: sqlite3.Connection, pids: Sequence[int]) -> list[int]:
    """Return those of the pids that are taken."""
    sql = "SELECT pid FROM passage WHERE pid IN (SELECT value FROM json_each(?))"
    return [pid for (pid,) in connection.execute(sql, (json.dumps(list(pids)),))]


def known_documents(connection: sqlite3.Connection, document_ids: Iterable[str]) -> set[str]:
    """Return those of the document ids that have passages."""
    return {
        document_id
        for batch in _id_batches(document_ids)
        for (document_id,) in connection.execute(
            f"SELECT document_id FROM passage WHERE document_id IN ({_marks(batch)})", batch
        )
    }


def count_languages(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of passages of each language, most frequent first, ties by code."""
    return dict(connection.execute("SELECT language, count(*) FROM passage GROUP BY 1 ORDER BY 2 DESC, 1"))


def field_summaries(connection: sqlite3.Connection) -> list[Field]:
    """Return the metadata fields and what they hold, by name."""
    fields = connection.execute("SELECT id, name FROM field ORDER BY name").fetchall()
    found = (_field_summary(connection, field, name) for field, name in fields if name not in OWN_FIELDS)
    return [each for each in found if each.passages]  # of a field that all passages with it have lost, the name stays


def _field_summary(connection: sqlite3.Connection, field: int, name: str) -> Field:
    def select(what: str, kind: int, rest: str = "") -> list[tuple[Any, ...]]:
        sql = f"SELECT {what} FROM attribute WHERE field = ? AND kind = ? {rest}"
        return connection.execute(sql, (field, kind)).fetchall()

    # A long value is looked up by a hash, which does not say what it is.
    rest = f"AND value NOT LIKE '#%' GROUP BY value ORDER BY 2 DESC, 1 LIMIT {MOST_VALUES}"
    return Field(
        name.removeprefix(METADATA),
        select("count(*)", EXISTS)[0][0],
        tuple((value_of_key(key), n) for key, n in select("value, count(*)", EQUAL, rest)),
        select("count(DISTINCT value)", EQUAL)[0][0],
        select("min(value)", NUMBER)[0][0],
        select("max(value)", NUMBER)[0][0],
    )


def _id_batches(document_ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield the distinct ids that can be stored at all, some at a time."""
    return batches((each for each in dict.fromkeys(document_ids) if storable(each)), VALUES_BATCH)


def _select(connection: sqlite3.Connection, where: str, parameters: Sequence[Any]) -> Iterator[Passage]:
    for row in connection.execute(f"SELECT {_COLUMNS} FROM passage {where}", parameters):
        yield _passage_of(row)


def _passage_of(row: tuple[Any, ...]) -> Passage:
    """Return the passage in a row. Raise `IndexDamagedError` if it is not the row that was written."""
    *columns, checksum = row
    if _checksum(tuple(columns)) != checksum:
        raise IndexDamagedError(f"The stored passage {row[0]!r} is damaged: its checksum differs. {WAY_OUT}")
    pid, document_id, language, text, metadata = columns
    return Passage(pid, document_id, text, language, None if metadata is None else json.loads(metadata))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items.

    Examples
    --------
    >>> list(batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
