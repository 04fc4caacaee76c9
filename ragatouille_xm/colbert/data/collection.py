"""Passages by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...corpus.passages import check_order, is_column
from ...errors import InputError
from ..infra.run import Run
from .files import read_lines, save_rows


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

    def provenance(self) -> str | Path | None:
        """Return the file that the passages are from."""
        return self.path

    def save(self, new_path: str | Path) -> str:
        """Write tab-separated lines of pid and passage; return the file.

        Parameters
        ----------
        new_path : str or Path
            A ``.tsv`` file; a relative path is below the ``<root>/<experiment>/`` of `Run`.

        Raises
        ------
        InputError
            If it does not end in ``.tsv``, exists, or cannot be written.
        """
        return save_rows(new_path, enumerate(self.data))

    def get_chunksize(self) -> int:
        """Return the number of passages of a chunk: 25,000, or as many as give each rank one."""
        return min(25_000, 1 + len(self) // _ranks())

    def enumerate(self, rank: int) -> Iterator[tuple[int, str]]:
        """Yield pid and passage of each passage in the chunks of a rank: see `enumerate_batches`."""
        for _, offset, passages in self.enumerate_batches(rank):
            yield from enumerate(passages, start=offset)

    def enumerate_batches(self, rank: int, chunksize: int | None = None) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the chunks of a rank: number, pid of the first passage, passages.

        Chunks go round the ``nranks`` of `Run`, one by default.

        Examples
        --------
        >>> list(Collection(data=["a", "b", "c"]).enumerate_batches(rank=0, chunksize=2))
        [(0, 0, ['a', 'b']), (1, 2, ['c'])]
        """
        size = chunksize or self.get_chunksize()
        for number, offset in enumerate(range(0, len(self), size)):
            if number % _ranks() == rank:
                yield number, offset, list(self.data[offset : offset + size])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, pid: int) -> str:
        return self.data[pid]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)


def _ranks() -> int:
    return Run().config.nranks or 1


def _read_passages(path: Path) -> Iterator[str]:
    for position, (place, line) in enumerate(read_lines(path)):
        pid, *cells = line.split("\t")
        if not cells or pid.strip() != str(position):
            raise InputError(f"{place}: expected '{position}<tab>passage' or '{position}<tab>passage<tab>title'.")
        passage, *title = cells
        yield f"{title[0]} | {passage}" if title else passage
