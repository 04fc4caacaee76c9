"""Training data in files, read on demand: MS MARCO's tsv, colbert-ai's and sentence-transformers' JSON lines."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, NamedTuple, overload

import numpy as np

from ..errors import InputError
from ..files import open_regular, parse_json
from .data import TrainingExample


class Row(NamedTuple):
    """A training example by ids."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    scores: tuple[float, ...] | None = None


class Lines(Sequence[str]):
    """The lines of a text file, gzipped or not, read on demand. Thread-safe.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If it cannot be read, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            self._file: IO[bytes] = open_regular(path, links=True)  # is read more than once
            if path.suffix == ".gz":
                self._file = _decompress(self._file)
        except (OSError, EOFError, ValueError, zlib.error) as error:  # ValueError: of a name with NUL
            raise InputError(f"{str(path)!r} cannot be read: {error}.") from error
        lengths = np.fromiter((len(line) for line in self._file), np.int64)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        if not len(lengths):
            raise InputError(f"{str(path)!r} is empty.")

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[each] for each in range(len(self))[i]]
        i = range(len(self))[i]  # raises IndexError, which ends an iteration
        with self._lock:
            self._file.seek(int(self._starts[i]))
            raw = self._file.readline()
        try:
            return raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise self.error_at(i, f"this is not UTF-8 ({error.reason})") from error

    def error_at(self, i: int, what: str) -> InputError:
        """Return an error that names the file and the line."""
        return InputError(f"{self.path}, line {i + 1}: {what}.")


class TsvTexts(Mapping[str, str]):
    """Texts by id: a collection or queries in MS MARCO's format, ``id ⇥ text``, or colbert-ai's, ``id ⇥ text ⇥ title``.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If a line has no id or no text, or an id is used twice; the message names file and line.
    """

    def __init__(self, path: str | Path) -> None:
        self._lines = Lines(Path(path))
        self._line_numbers: dict[str, int] = {}
        for i, line in enumerate(self._lines):
            key, _, rest = line.partition("\t")
            if not key or not rest.strip():
                raise self._lines.error_at(i, f"expected an id, a tab and a text: {line[:60]!r}")
            if key in self._line_numbers:
                raise self._lines.error_at(i, f"the id {key!r} is used twice")
            self._line_numbers[key] = i

    def __len__(self) -> int:
        return len(self._line_numbers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._line_numbers)

    def __contains__(self, key: object) -> bool:
        return key in self._line_numbers

    def __getitem__(self, key: str) -> str:
        text, tab, title = self._lines[self._line_numbers[key]].partition("\t")[2].partition("\t")
        return f"{title} | {text}" if tab and title.strip() else text  # as colbert-ai joins them


class RowExamples(Sequence[TrainingExample]):
    """Examples in a file with rows of ids; texts are read on demand.

    Parameters
    ----------
    lines : Lines
    parse : callable
        From a line to its examples; raises `ValueError` with a reason.
    queries, collection : mapping of str to str
        Texts by id.
    language : str, optional
        Language of all texts; by default the run's, else detected.

    Raises
    ------
    InputError
        If a line cannot be read, or an id is unknown; the message names file and line. All lines are checked first.
    """

    def __init__(
        self,
        lines: Lines,
        parse: Callable[[str], list[Row]],
        queries: Mapping[str, str],
        collection: Mapping[str, str],
        *,
        language: str | None = None,
    ) -> None:
        self._lines, self._parse, self._queries, self._collection = lines, parse, queries, collection
        self._language = language
        counts = np.fromiter((len(self._parse_line(i)) for i in range(len(lines))), np.int64, len(lines))
        self._line_of = np.repeat(np.arange(len(lines)), counts)
        self._position_of = np.arange(len(self._line_of)) - np.repeat(np.cumsum(counts) - counts, counts)
        if not len(self._line_of):
            raise InputError(f"{str(lines.path)!r} has no row with both a positive and a negative passage.")

    def __len__(self) -> int:
        return len(self._line_of)

    @overload
    def __getitem__(self, i: int) -> TrainingExample: ...
    @overload
    def __getitem__(self, i: slice) -> list[TrainingExample]: ...
    def __getitem__(self, i: int | slice) -> TrainingExample | list[TrainingExample]:
        if isinstance(i, slice):
            return [self[each] for each in range(len(self))[i]]
        row = self._parse(self._lines[int(self._line_of[i])])[int(self._position_of[i])]
        return TrainingExample(
            self._queries[row.query],
            self._collection[row.positive],
            tuple(self._collection[each] for each in row.negatives),
            row.scores,
            self._language,
            self._language,
        )

    def _parse_line(self, i: int) -> list[Row]:
        line = self._lines[i]
        try:
            rows = self._parse(line)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise self._lines.error_at(i, f"{error}: {line[:60]!r}") from error
        for row in rows:
            if row.query not in self._queries:
                raise self._lines.error_at(i, f"the queries have no id {row.query!r}")
            for each in (row.positive, *row.negatives):
                if each not in self._collection:
                    raise self._lines.error_at(i, f"the collection has no id {each!r}")
        return rows


def read_examples(
    path: str | Path,
    *,
    queries: str | Path | Mapping[str, str] | None = None,
    collection: str | Path | Mapping[str, str] | None = None,
    language: str | None = None,
) -> Sequence[TrainingExample]:
    """Read a file of training data. Its format follows from its name and first line.

    ==================  ================================================================================
    ``.tsv``            ``query-id ⇥ positive-id ⇥ negative-id`` (MS MARCO's qidpidtriples), optionally more
                        negatives; without `queries` and `collection`, the three texts themselves
    ``.jsonl``          ``[query-id, positive-id, negative-id, …]``, or colbert-ai's distillation format
                        ``[query-id, [passage-id, score], …]``
    ``.jsonl``          ``{"qid": …, "pos": […], "neg": {system: […]}}``: sentence-transformers'
                        msmarco-hard-negatives; negatives of the systems alternate
    ==================  ================================================================================

    Files may be gzipped (``.gz``).

    Parameters
    ----------
    path : str or Path
    queries, collection : str, Path or mapping, optional
        A tsv file of ids and texts, or the texts by id.
    language : str, optional
        Language of all texts.

    Returns
    -------
    sequence of TrainingExample

    Raises
    ------
    InputError
        If a file is missing, a line is malformed, or an id is unknown; the message names file and line.
    """
    lines = Lines(Path(path))
    name = lines.path.name.removesuffix(".gz")
    is_json = name.endswith((".jsonl", ".json", ".ndjson"))
    if (queries is None) != (collection is None):
        raise InputError("Give both queries and collection, or neither.")
    if queries is None or collection is None:
        if is_json:
            raise InputError(f"{str(path)!r} holds ids. Give queries and collection, with their texts.")
        own = _IdentityMap()
        return RowExamples(lines, _texts_row, own, own, language=language)
    of_json = _hard_negatives_rows if lines[0].lstrip().startswith("{") else _json_row
    parse = of_json if is_json else _ids_row
    return RowExamples(lines, parse, _texts(queries), _texts(collection), language=language)


class _IdentityMap(dict[str, str]):
    """Maps every text to itself."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return key


def _texts(given: str | Path | Mapping[str, str]) -> Mapping[str, str]:
    return TsvTexts(given) if isinstance(given, (str, Path)) else given


def _texts_row(line: str) -> list[Row]:
    cells = line.split("\t")
    if len(cells) != 3 or not all(cell.strip() for cell in cells):
        raise ValueError("expected a query, a positive and a negative, separated by tabs")
    return [Row(cells[0], cells[1], (cells[2],))]


def _ids_row(line: str) -> list[Row]:
    cells = line.split()
    if len(cells) < 3:
        raise ValueError("expected the ids of a query, a positive and negatives")
    return [Row(cells[0], cells[1], tuple(cells[2:]))]


def _json_row(line: str) -> list[Row]:
    row = parse_json(line)
    if not isinstance(row, list) or len(row) < 3:
        raise ValueError("expected [query-id, positive-id, negative-id, …]")
    query, *passages = row
    if not any(isinstance(each, list) for each in passages):
        ids = [_id(each) for each in passages]
        return [Row(_id(query), ids[0], tuple(ids[1:]))]
    if not all(isinstance(each, list) and len(each) == 2 for each in passages):
        raise ValueError("either every passage is [id, score], or none is")
    ids = [_id(each) for each, _ in passages]
    return [Row(_id(query), ids[0], tuple(ids[1:]), tuple(float(score) for _, score in passages))]


def _hard_negatives_rows(line: str) -> list[Row]:
    row = parse_json(line)
    positives = _ids(row["pos"])
    found = [_ids(ids) for ids in row["neg"].values()]
    longest = max(map(len, found), default=0)
    alternating = (ids[rank] for rank in range(longest) for ids in found if rank < len(ids))
    negatives = tuple(each for each in dict.fromkeys(alternating) if each not in positives)
    return [Row(_id(row["qid"]), positive, negatives) for positive in positives] if negatives else []


def _id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not an id")
    return str(value)


def _ids(values: object) -> list[str]:
    if not isinstance(values, list):
        raise ValueError(f"{str(values)[:40]!r} is not a list of ids")
    return [_id(each) for each in values]


def _decompress(content: IO[bytes]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the lines
    with content, gzip.open(content) as packed:
        shutil.copyfileobj(packed, file)
    file.seek(0)
    return file
