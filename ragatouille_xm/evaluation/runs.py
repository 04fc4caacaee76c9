"""Resumable TREC run files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError, RagatouilleXMError, StorageError
from ..files import open_regular, parse_json
from .dataset import Query
from .systems.base import Found


class RunFile:
    """A run of one system on one dataset: ``query Q0 document rank score tag``, best first.

    ``<name>.json`` next to it records its parameters and progress: rows count only once they are recorded there, so the
    torn rest of a killed process is truncated.

    Parameters
    ----------
    path : Path
        Ends in ``.trec``.
    parameters : mapping
        JSON values that determine the ranking.
    overwrite : bool
        Start from scratch.

    Raises
    ------
    InputError
        If the existing run was made with other parameters; the message names them.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.parameters = json.loads(json.dumps(parameters))
        self.done = 0
        self.finished = False
        self._bytes = 0
        if not overwrite and self._notes.is_file():
            self._resume(_read_notes(self._notes))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            self._note()

    @property
    def tag(self) -> str:
        """The last column of each row: the file's name."""
        return self.path.stem

    def append(self, queries: Sequence[Query], found: Sequence[Found]) -> None:
        """Append the rows of some queries, all or none."""
        rows = [
            f"{query.query_id} Q0 {document} {rank} {score:.6f} {self.tag}\n"
            for query, hits in zip(queries, found, strict=True)
            for rank, (document, score) in enumerate(hits, start=1)
        ]
        block = "".join(rows).encode("utf-8")
        with self.path.open("r+b") as file:
            file.seek(self._bytes)
            file.write(block)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self._bytes += len(block)
        self.done += len(queries)
        self._note()

    def finish(self) -> None:
        """Record that all queries are done."""
        self.finished = True
        self._note()

    def ranking(self) -> dict[str, list[str]]:
        """Return document ids by query id, best first."""
        return read_run(self.path)

    @property
    def _notes(self) -> Path:
        return self.path.with_suffix(".json")

    def _note(self) -> None:
        notes = {
            "parameters": self.parameters,
            "queries": self.done,
            "bytes": self._bytes,
            "finished": self.finished,
        }
        temporary = self._notes.with_suffix(".tmp")
        temporary.write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, self._notes)

    @staticmethod
    def made_with(path: Path, parameters: Mapping[str, Any]) -> bool:
        """Return whether a run exists at `path`, complete or not, that was made with these parameters."""
        try:
            notes = _read_notes(path.with_suffix(".json"))
        except (InputError, FileNotFoundError):
            return False
        return bool(notes["parameters"] == json.loads(json.dumps(parameters)))

    def _resume(self, notes: Mapping[str, Any]) -> None:
        was = notes["parameters"]
        if was != self.parameters:
            raise InputError(
                f"The run {str(self.path)!r} was made with other parameters: {_differences(was, self.parameters)}. "
                "Give --overwrite to replace it, or another --out."
            )
        if not self.path.is_file() or self.path.stat().st_size < notes["bytes"]:
            raise InputError(f"The run {str(self.path)!r} has lost rows. Give --overwrite to make it again.")
        self.done, self._bytes, self.finished = notes["queries"], notes["bytes"], notes["finished"]


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Raise operating system errors about writing below `out` as `StorageError`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RagatouilleXMError):
            raise
        raise StorageError(
            f"Could not write below {str(out)!r}: {error}. Finished work is kept: free some disk space or check the "
            "permissions, and repeat the call to continue."
        ) from error


def read_run(path: Path) -> dict[str, list[str]]:
    """Return the rankings of a TREC run file, in the order of its rows.

    Raises
    ------
    InputError
        If a row does not have six columns; the message names file and line.
    """
    ranking: dict[str, list[str]] = {}
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {number}: this is not UTF-8 ({error.reason}).") from error
            cells = line.split()
            if len(cells) != 6:
                raise InputError(f"{path}, line {number}: this is not a row of six columns: {line[:60]!r}.")
            ranking.setdefault(cells[0], []).append(cells[2])
    return ranking


def fingerprint_of(queries: Sequence[Query]) -> str:
    """Return a hash of the queries and their order."""
    digest = hashlib.sha256()
    for query in queries:
        digest.update(f"{query.query_id}\t{query.text}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path, links=True) as file:
            notes = parse_json(file.read())
        kinds = {"parameters": dict, "queries": int, "bytes": int, "finished": bool}
        if isinstance(notes, dict) and all(isinstance(notes.get(name), kind) for name, kind in kinds.items()):
            return notes
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        pass
    raise InputError(f"{str(path)!r} is damaged. Give --overwrite to make the run again.")


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    return ", ".join(f"{key} was {was.get(key)!r} and is {now.get(key)!r}" for key in keys)
