"""Retrieval sets in MS MARCO's tsv format: a folder, or one with a subfolder per language."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..corpus.passages import Document
from ..errors import InputError
from .dataset import Dataset, Query, keep_judged, language_of

COLLECTION, QUERIES, QRELS = "collection.tsv", "queries.tsv", "qrels.tsv"
_GRADE = re.compile(r"-?[0-9]{1,9}")


def find_folder(name: str) -> Path | None:
    """Return the folder that a dataset's name means, or None.

    Raises
    ------
    InputError
        If it can only mean a folder, and there is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")):
        raise InputError(f"There is no folder {name!r}. Give a folder with {COLLECTION}, {QUERIES} and {QRELS}.")
    return None


def load_folder(folder: Path) -> Dataset:
    """Open a folder of tsv files, or one whose subfolders have them.

    Parameters
    ----------
    folder : Path
        If its name, or that of a subfolder, is a language code, that is the language. The ids of a collection of
        subfolders are prefixed with their names: ``fr/17``.

    Raises
    ------
    InputError
        If a file is missing or a line is malformed.
    """
    folder = folder.resolve()
    if (folder / COLLECTION).is_file():
        return _Folder(folder).dataset()
    parts = [_Folder(path) for path in sorted(folder.iterdir()) if (path / COLLECTION).is_file()]
    if not parts:
        raise InputError(f"{str(folder)!r} has no {COLLECTION}, and neither have its subfolders.")
    return _combine(folder, parts)


class _Folder:
    """One collection on disk. Texts are read by the offset of their line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.language = language_of(folder.name)
        self._offsets: dict[str, int] | None = None

    def dataset(self) -> Dataset:
        queries, qrels = keep_judged(self.queries(), self.qrels(), str(self.folder))
        return Dataset(
            name=str(self.folder),
            family=self.folder.parent.name,
            queries=queries,
            qrels=qrels,
            documents=self.documents,
            texts=self.texts,
            identity={"collection": self.digest()},
        )

    def documents(self, prefix: str = "") -> Iterator[Document]:
        seen: set[str] = set()
        for number, _, pid, text in self._collection():
            if pid in seen:
                raise InputError(f"{self.folder / COLLECTION}, line {number}: the id {pid!r} is used twice.")
            seen.add(pid)
            yield Document(prefix + pid, text, None, self.language)

    def texts(self, ids: Sequence[str], prefix: str = "") -> list[Document]:
        if self._offsets is None:
            self._offsets = {pid: start for _, start, pid, _ in self._collection()}
        result = []
        with (self.folder / COLLECTION).open("rb") as file:
            for pid in ids:
                file.seek(self._offsets[pid])
                text = file.readline().decode("utf-8").rstrip("\r\n").split("\t", 1)[1]
                result.append(Document(prefix + pid, text, None, self.language))
        return result

    def queries(self) -> list[Query]:
        rows = list(_pairs(self.folder / QUERIES))
        seen: set[str] = set()
        for number, _, qid, text in rows:
            if qid in seen or not text.strip():
                wrong = f"the id {qid!r} is used twice" if qid in seen else f"the query {qid!r} is blank"
                raise InputError(f"{self.folder / QUERIES}, line {number}: {wrong}.")
            seen.add(qid)
        return [Query(qid, text, self.language) for _, _, qid, text in rows]

    def qrels(self) -> dict[str, dict[str, int]]:
        result: dict[str, dict[str, int]] = {}
        path = self.folder / QRELS
        for number, _, line in _lines(path):
            cells = line.split()
            if len(cells) != 4 or not _GRADE.fullmatch(cells[3]):
                raise InputError(f"{path}, line {number}: expected 'query-id 0 passage-id grade': {line[:60]!r}.")
            result.setdefault(cells[0], {})[cells[2]] = int(cells[3])
        return result

    def digest(self) -> str:
        digest = hashlib.sha256()
        with (self.folder / COLLECTION).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()[:16]

    def _collection(self) -> Iterator[tuple[int, int, str, str]]:
        return _pairs(self.folder / COLLECTION)


def _combine(folder: Path, parts: Sequence[_Folder]) -> Dataset:
    """Combine several datasets into one, with ids prefixed by their folder's name."""
    by_name = {part.folder.name: part for part in parts}
    queries: list[Query] = []
    qrels: dict[str, dict[str, int]] = {}
    for name, part in by_name.items():
        queries += [Query(f"{name}/{qid}", text, language) for qid, text, language in part.queries()]
        for qid, grades in part.qrels().items():
            qrels[f"{name}/{qid}"] = {f"{name}/{pid}": grade for pid, grade in grades.items()}

    def documents() -> Iterator[Document]:
        for name, part in by_name.items():
            yield from part.documents(f"{name}/")

    def texts(ids: Sequence[str]) -> list[Document]:
        wanted: dict[str, list[str]] = {}
        for each in ids:
            name, _, pid = each.partition("/")
            wanted.setdefault(name, []).append(pid)
        found = {d.document_id: d for name, pids in wanted.items() for d in by_name[name].texts(pids, f"{name}/")}
        return [found[each] for each in ids]

    kept, judgements = keep_judged(queries, qrels, str(folder))
    return Dataset(
        name=str(folder),
        family=f"{folder.name}, one collection",
        queries=kept,
        qrels=judgements,
        documents=documents,
        texts=texts,
        identity={"collections": {name: part.digest() for name, part in by_name.items()}},
    )


def _lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the number, byte offset and text of each line that is not blank."""
    if not path.is_file():
        raise InputError(f"{str(path.parent)!r} has no {path.name}. A dataset needs {COLLECTION}, {QUERIES}, {QRELS}.")
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {number}: this is not UTF-8 ({error.reason}).") from error
            if line.strip():
                yield number, offset, line
            offset += len(raw)


def _pairs(path: Path) -> Iterator[tuple[int, int, str, str]]:
    """Yield the number, byte offset, id and text of each line."""
    for number, offset, line in _lines(path):
        key, tab, text = line.partition("\t")
        if not tab or not key or key.split() != [key]:
            raise InputError(f"{path}, line {number}: expected an id, a tab and a text: {line[:60]!r}.")
        yield number, offset, key, text
