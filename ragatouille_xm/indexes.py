"""The named indexes of one model: where they are, building, opening and closing them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .config import INDEXES_FOLDER
from .corpus.cutting import Cutter
from .corpus.passages import Document
from .encoder import Encoder
from .errors import IndexFormatError, InputError
from .index.qdrant import EdgeIndex
from .retriever import Retriever


class Indexes:
    """Indexes by name below ``<root>/colbert/indexes/``, where RAGatouille has them.

    Parameters
    ----------
    encoder : Encoder
        Fills and searches all of them.
    root : str or Path
    """

    def __init__(self, encoder: Encoder, root: str | Path) -> None:
        self.encoder = encoder
        self.root = Path(root)
        self.current: str | None = None
        self._opened: dict[str, Retriever] = {}

    @staticmethod
    def root_of(path: Path) -> Path:
        """Return the root below which the index folder `path` lies."""
        above = path.resolve().parents
        return above[min(2, len(above) - 1)]

    def path(self, name: str) -> Path:
        """Return the folder of an index.

        Raises
        ------
        InputError
            If `name` cannot be a folder's name.
        """
        if not isinstance(name, str) or not name.strip() or name in (".", "..") or any(c in name for c in "/\\\0"):
            raise InputError(f"index_name={name!r} cannot be a folder's name. Use letters, digits, '-' and '_'.")
        return self.root / INDEXES_FOLDER / name

    def get(self, name: str | None = None) -> Retriever:
        """Return an index, opened if need be; by default the one used last.

        Raises
        ------
        InputError
            If no name is given and none was used yet.
        IndexNotFoundError, IndexDamagedError, IndexFormatError
            If there is no usable index of that name.
        """
        name = name if name is not None else self.current
        if name is None:
            raise InputError("No index is open. Call index(), or give index_name=.")
        if name not in self._opened:
            self.register(name, EdgeIndex.open(self.path(name)))
        self.current = name
        return self._opened[name]

    def register(self, name: str, index: EdgeIndex) -> None:
        """Take over an open index, which becomes the one used last.

        Raises
        ------
        IndexFormatError
            If another checkpoint filled it.
        """
        mine, theirs = self.encoder.checkpoint, index.manifest
        if theirs.fingerprint != mine.fingerprint:
            index.close()
            raise IndexFormatError(
                f"The index {name!r} was filled by the checkpoint {theirs.checkpoint!r}, not by {mine.name!r}, or by "
                "other weights of that name. Open it with from_index, or index the documents again."
            )
        self._opened[name] = Retriever(self.encoder, index, int(theirs.settings["max_document_length"]))
        self.current = name

    def build(
        self,
        name: str,
        documents: Iterable[Document],
        *,
        cut: Cutter,
        max_document_length: int,
        batch_tokens: int | None,
        total: int | None,
        progress: bool,
    ) -> Path:
        """Build an index aside and put it in the place of `name` in one step; an older one serves until then.

        Returns
        -------
        Path
            The index's folder.
        """
        path = self.path(name)
        checkpoint = self.encoder.checkpoint
        with EdgeIndex.build(
            path,
            dim=self.encoder.dim,
            checkpoint=checkpoint.name,
            fingerprint=checkpoint.fingerprint,
            settings={"max_document_length": max_document_length},
        ) as building:
            Retriever(self.encoder, building, max_document_length).add(
                documents, cut=cut, total=total, progress=progress, batch_tokens=batch_tokens
            )
        if (replaced := self._opened.pop(name, None)) is not None:
            replaced.close()
        self.register(name, EdgeIndex.open(path))
        return path

    def close(self) -> None:
        """Release all indexes."""
        while self._opened:
            self._opened.popitem()[1].close()
