"""Results of several queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...corpus.passages import is_column
from ...errors import InputError
from .files import read_lines, save_rows

Scored = tuple[int, int, float]
"""pid, rank, score."""


class Ranking:
    """The results of several queries.

    Parameters
    ----------
    path : str or Path, optional
        A file as `save` writes it.
    data : mapping or iterable of tuple, optional
        For each query id its results; or all results, each with its query id before it.
    provenance : object, optional
        Where they come from; by default `path`.

    Attributes
    ----------
    data : dict
        For each query id, a list of (pid, rank, score), best first.
    flat_ranking : list of tuple
        All results: (query id, pid, rank, score).

    Raises
    ------
    InputError
        If the file does not exist, or a line is malformed.

    Examples
    --------
    >>> Ranking(data={7: [(3, 1, 21.5), (0, 2, 19.0)]}).tolist()
    [(7, 3, 1, 21.5), (7, 0, 2, 19.0)]
    """

    def __init__(
        self,
        path: str | Path | None = None,
        data: Mapping[Any, Sequence[Scored]] | Iterable[Sequence[Any]] | None = None,
        *,
        provenance: object = None,
    ) -> None:
        if data is None and not isinstance(path, (str, Path)):
            raise InputError(f"The ranking is {path!r}, which is not a path. Give a .tsv file, or results as data=.")
        self._provenance = path if provenance is None else provenance
        given = _read_ranking(Path(str(path))) if data is None else data
        self.data: dict[Any, Sequence[Scored]] = dict(given) if isinstance(given, Mapping) else _by_query(given)
        self.flat_ranking = [(qid, *scored) for qid, found in self.data.items() for scored in found]

    @classmethod
    def cast(cls, obj: Any) -> Ranking:
        """Return a path, a mapping or a list of all results as a ranking; return a ranking unchanged."""
        if isinstance(obj, cls):
            return obj
        if isinstance(obj, (str, Path)):
            return cls(path=obj)
        if isinstance(obj, Mapping) or is_column(obj):
            return cls(data=obj)
        raise InputError(f"The ranking is a {type(obj).__name__}; give a mapping from query ids to results, or a file.")

    def provenance(self) -> object:
        """Return where the results come from: a file, or what `Searcher.search_all` was asked."""
        return self._provenance

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
            If it does not end in ``.tsv``, exists, or cannot be written.
        """
        return save_rows(new_path, self.flat_ranking)


def _by_query(rows: Iterable[Sequence[Any]]) -> dict[Any, Sequence[Scored]]:
    result: dict[Any, list[Any]] = {}
    for qid, *scored in rows:
        result.setdefault(qid, []).append(tuple(scored))
    return dict(result)


def _read_ranking(path: Path) -> Iterator[Sequence[Any]]:
    for place, line in read_lines(path):
        try:
            qid, pid, rank, *score = line.split("\t")
            yield int(qid) if qid.isdecimal() else qid, int(pid), int(rank), *map(float, score)
        except ValueError as error:
            raise InputError(f"{place}: expected 'query id<tab>pid<tab>rank<tab>score'.") from error
