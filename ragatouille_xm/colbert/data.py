"""colbert-ai's passages, queries and rankings, and its tab-separated files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..corpus.passages import check_order, is_column
from ..errors import InputError
from ..files import parse_json
from .infra import Run

Scored = tuple[int, int, float]  # pid, rank, score


class Collection:
    """Passages by position, which is their pid.

    Parameters
    ----------
    path : str or Path, optional
        Lines of ``pid``, passage and optional title, separated by tabs; pids count from 0.
    data : sequence of str, optional
        The passages themselves.

    Raises
    ------
    InputError
        If the file does not exist, or a line is malformed.

    Examples
    --------
    >>> Collection(data=["Ceci est un document.", "这是第二个文档。"])[1]
    '这是第二个文档。'
    """

    def __init__(self, path: str | Path | None = None, data: Sequence[str] | None = None) -> None:
        if data is None and path is None:
            raise InputError("The collection is neither a path nor a list of passages.")
        self.path = path
        self.data = list(_read_passages(Path(path))) if data is None and path is not None else data or []

    @classmethod
    def cast(cls, obj: Any) -> Collection:
        """Return a path or a list of passages as a collection; return a collection unchanged."""
        if isinstance(obj, cls):
            return obj
        if isinstance(obj, (str, Path)):
            return cls(path=obj)
        if is_column(obj):
            check_order(obj, "The collection")
            return cls(data=list(obj))
        raise InputError(f"The collection is a {type(obj).__name__}; give a list of passages, or a .tsv file.")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, pid: int) -> str:
        return self.data[pid]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)


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
        for qid, query in pairs:
            if qid in self.data:
                raise InputError(f"The query id {qid!r} is used twice.")
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


class Ranking:
    """The results of several queries.

    Attributes
    ----------
    data : dict
        For each query id, a list of (pid, rank, score), best first.
    flat_ranking : list of tuple
        All results: (query id, pid, rank, score).

    Examples
    --------
    >>> Ranking({7: [(3, 1, 21.5), (0, 2, 19.0)]}).tolist()
    [(7, 3, 1, 21.5), (7, 0, 2, 19.0)]
    """

    def __init__(self, data: Mapping[Any, Sequence[Scored]]) -> None:
        self.data = dict(data)
        self.flat_ranking = [(qid, *scored) for qid, found in self.data.items() for scored in found]

    def todict(self) -> dict[Any, Sequence[Scored]]:
        """Return the results of each query."""
        return dict(self.data)

    def tolist(self) -> list[tuple[Any, int, int, float]]:
        """Return all results, one tuple for each."""
        return list(self.flat_ranking)

    def items(self) -> Iterable[tuple[Any, Sequence[Scored]]]:
        """Return query ids and results."""
        return self.data.items()

    def save(self, new_path: str | Path) -> str:
        """Write tab-separated lines of query id, pid, rank and score; return the file.

        Parameters
        ----------
        new_path : str or Path
            A ``.tsv`` file; a relative path is below the ``<root>/<experiment>/`` of `Run`.

        Raises
        ------
        InputError
            If it does not end in ``.tsv``, or exists.
        """
        path = Run().config.folder / new_path
        if path.suffix != ".tsv":
            raise InputError(f"A ranking is saved as .tsv, not as {path.name!r}.")
        if path.exists():
            raise InputError(f"There is a file {str(path)!r} already. Give another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join("\t".join(map(str, row)) + "\n" for row in self.flat_ranking), encoding="utf-8")
        return str(path)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file, each with its position for messages."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path}, line {number}", line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}. Give a .tsv file in UTF-8, or the texts.") from error


def _read_passages(path: Path) -> Iterator[str]:
    for position, (place, line) in enumerate(_lines(path)):
        pid, *cells = line.split("\t")
        if not cells or pid.strip() != str(position):
            raise InputError(f"{place}: expected '{position}<tab>passage' or '{position}<tab>passage<tab>title'.")
        passage, *title = cells
        yield f"{title[0]} | {passage}" if title else passage


def _read_queries(path: Path) -> Iterator[tuple[Any, Any]]:
    for place, line in _lines(path):
        try:
            if path.suffix in (".json", ".jsonl"):
                record = parse_json(line)
                yield record["qid"], record["question"]
            else:
                qid, query, *_ = line.split("\t")
                yield int(qid), query
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{place}: expected 'number<tab>query', or in .json an object with qid and question."
            ) from error
