"""Queries by id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...corpus.passages import check_order, is_column
from ...errors import InputError
from ...files import parse_json
from .files import read_lines, save_rows


class Queries:
    """Queries by id.

    Parameters
    ----------
    path : str or Path, optional
        Lines of ``qid`` and query, separated by a tab; or, in a ``.json`` or ``.jsonl`` file, objects with ``qid`` and
        ``question``.
    data : mapping, optional
        From ids to queries.

    Raises
    ------
    InputError
        If the file does not exist, a line is malformed, or an id is used twice.

    Examples
    --------
    >>> dict(Queries(data={7: "Où est le livre ?"}).items())
    {7: 'Où est le livre ?'}
    """

    def __init__(self, path: str | Path | None = None, data: Mapping[Any, Any] | None = None) -> None:
        if data is None and path is None:
            raise InputError("The queries are neither a path nor a mapping from ids to queries.")
        pairs = _read_queries(Path(path)) if data is None and path is not None else (data or {}).items()
        self.path = path
        self.data: dict[Any, str] = {}
        self._qas: dict[Any, Mapping[str, Any]] = {}
        for qid, query in pairs:
            if qid in self.data:
                raise InputError(f"The query id {qid!r} is used twice.")
            if isinstance(query, Mapping):
                self._qas[qid] = query
            self.data[qid] = query["question"] if isinstance(query, Mapping) else query

    @classmethod
    def cast(cls, obj: Any) -> Queries:
        """Return a path, a mapping or a list (ids are positions) as queries; return queries unchanged."""
        if isinstance(obj, cls):
            return obj
        if isinstance(obj, (str, Path)):
            return cls(path=obj)
        if isinstance(obj, Mapping):
            return cls(data=obj)
        if is_column(obj):
            check_order(obj, "The list of queries")
            return cls(data=dict(enumerate(obj)))
        raise InputError(f"The queries are a {type(obj).__name__}; give a mapping from ids to queries, or a .tsv file.")

    def provenance(self) -> str | Path | None:
        """Return the file that the queries are from."""
        return self.path

    def qas(self) -> dict[Any, Mapping[str, Any]]:
        """Return the whole objects, with answers and all, of the queries that came as such.

        Examples
        --------
        >>> Queries(data={7: {"question": "Où ?", "answers": ["là"]}, 8: "Quand ?"}).qas()
        {7: {'question': 'Où ?', 'answers': ['là']}}
        """
        return dict(self._qas)

    def save(self, new_path: str | Path) -> str:
        """Write tab-separated lines of query id and query; return the file. Parameters as for `Collection.save`."""
        return save_rows(new_path, self.data.items())

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, qid: Any) -> str:
        return self.data[qid]

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        return iter(self.data.items())

    def keys(self) -> Iterable[Any]:
        """Return the ids."""
        return self.data.keys()

    def values(self) -> Iterable[str]:
        """Return the queries."""
        return self.data.values()

    def items(self) -> Iterable[tuple[Any, str]]:
        """Return ids and queries."""
        return self.data.items()


def _read_queries(path: Path) -> Iterator[tuple[Any, Any]]:
    for place, line in read_lines(path):
        try:
            if path.suffix in (".json", ".jsonl"):
                record = parse_json(line)
                record["question"]
                yield record["qid"], record
            else:
                qid, query, *_ = line.split("\t")
                yield int(qid), query
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{place}: expected 'number<tab>query', or in .json an object with qid and question."
            ) from error
