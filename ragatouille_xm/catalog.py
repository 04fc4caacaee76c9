"""The named indexes of one model: where they are, building, opening and closing them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import INDEXES_FOLDER, STORAGES
from .corpus.passages import Document
from .encoder import Encoder
from .errors import IndexFormatError, InputError, PassageIndexError
from .files import absolute, shown_place
from .index.base import IndexBuild
from .index.local.gpu import search_device
from .index.local.index import LocalIndex
from .index.plaid.engine import PlaidIndex
from .index.plaid.folder import PlaidFolder
from .index.quantization.faiss_kmeans import USE_FAISS, require_faiss
from .index.servers import IndexServer
from .index.validation import is_index_name
from .indexing import Indexer
from .opening import default_language, open_index
from .relevance import Gauge
from .retriever import Retriever

if TYPE_CHECKING:
    import torch

    from .index.qdrant.index import QdrantIndex

logger = logging.getLogger(__name__)


def build_index(
    path: Path,
    indexer: Indexer,
    documents: Iterable[Document],
    *,
    storage: str = STORAGES[0],
    use_faiss: bool = False,
    resume: bool = False,
    keep: bool = True,
    server: IndexServer | None = None,
) -> LocalIndex | QdrantIndex:
    """Build an index of what `indexer` makes of documents, all or nothing, and open it; an older one serves until then.

    Parameters
    ----------
    path : Path
        In a server, its last part is the index's name.
    indexer : Indexer
    documents : iterable of Document
    storage : str
    use_faiss : bool
        Fit the codebook by faiss.
    resume : bool
        Take over what a build that was broken off has encoded, where it is what would be encoded now.
    keep : bool
        Keep what is encoded if the build fails, for another one with `resume`.
    server : IndexServer, optional
        Which keeps it.
    """
    encoder = indexer.encoder
    settings: dict[str, Any] = {
        "max_document_length": indexer.max_document_length,
        "pooling": indexer.pooling,
    }
    if use_faiss:
        require_faiss()  # now, and not once everything is encoded
        settings[USE_FAISS] = True
    description: dict[str, Any] = {
        "dim": encoder.dim,
        "checkpoint": encoder.checkpoint.name,
        "fingerprint": encoder.checkpoint.fingerprint,
        "settings": settings,
        "storage": storage,
        "resume": resume,
        "lexical": indexer.lexical,
        "keep": keep,
    }
    opened: AbstractContextManager[IndexBuild]
    opened = LocalIndex.build(path, **description) if server is None else server.build(path.name, **description)
    with opened as target:
        if resume:
            indexer.resume(target, documents)
        else:
            indexer.add(target, documents)
    made = LocalIndex.open(path) if server is None else server.open(path.name)
    try:
        Retriever(encoder, made, indexer.max_document_length).calibrate()
    except PassageIndexError as error:  # the index counts; it is tried again after the next change
        logger.warning("the index was built, and its relevance could not be calibrated: %s", error)
    return made


class IndexCatalog:
    """Indexes by name below ``<root>/colbert/indexes/``, where RAGatouille has them.

    Parameters
    ----------
    encoder : Encoder
        Fills and searches all of them.
    root : str or Path
    device : str or torch.device, optional
        Where the token vectors of indexes in folders of ours are held and scored; by default the engine does it.

    Raises
    ------
    InputError
        If there is no such kind of device.
    """

    def __init__(self, encoder: Encoder, root: str | Path, device: str | torch.device | None = None) -> None:
        self.encoder = encoder
        self.root = absolute(root)
        self.device = None if device is None else search_device(device)
        self.current: str | None = None
        self._opened: dict[str, Retriever] = {}
        self._known: dict[str, tuple[Path, str | None]] = {}  # folder, and language given, of those opened before
        self._servers: dict[str, IndexServer] = {}  # of the indexes that are not in a folder

    @staticmethod
    def root_of(path: Path) -> Path:
        """Return the root below which the index folder `path` lies."""
        above = path.resolve().parents
        return above[min(2, len(above) - 1)]

    def path(self, name: str) -> Path:
        """Return the folder of an index: where it was opened before, or where one of that name belongs.

        Raises
        ------
        InputError
            If `name` cannot be a folder's name.
        """
        if not is_index_name(name):
            shown = shown_place(name) if isinstance(name, str) else name
            raise InputError(f"index_name={shown!r} cannot be a folder's name. Use letters, digits, '-' and '_'.")
        return self._known[name][0] if name in self._known else self.root / INDEXES_FOLDER / name

    def has(self, name: str, server: IndexServer | None = None) -> bool:
        """Return whether there is an index of that name, ours or colbert-ai's, whole or not."""
        path = self.path(name)
        if server is not None:
            return name in server.names()
        return LocalIndex.exists(path) or PlaidFolder.recognises(path)

    def get(self, name: str | None = None) -> Retriever:
        """Return an index, opened if need be; by default the one that was built, opened or asked for last.

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
        retriever = self._opened.get(name)  # another thread may close it, or put a new one in its place
        if retriever is None:
            server = self._servers.get(name)
            if server is not None:
                retriever = self.register(name, server.open(name), server=server)
            else:
                _, language = self._known.get(name, (None, None))
                retriever = self.register(name, open_index(self.path(name)), language)
        self.current = name
        return retriever

    def gauge(self, name: str | None = None) -> Gauge | None:
        """Return what an index measures relevance by, by default the one used last; None if that is not open."""
        if name is None and self.current not in self._opened:
            return None
        return self.get(name).gauge()

    def register(
        self,
        name: str,
        index: LocalIndex | PlaidFolder | QdrantIndex,
        language: str | None = None,
        server: IndexServer | None = None,
    ) -> Retriever:
        """Take over an open index, which becomes the one used last, and return what searches it.

        Parameters
        ----------
        name : str
        index : LocalIndex, PlaidFolder or QdrantIndex
        language : str, optional
            For a folder of colbert-ai, which stores none: that of all passages, and so of the queries; by default the
            checkpoint's default adapter's.
        server : IndexServer, optional
            Which keeps it.

        Raises
        ------
        IndexFormatError
            If another checkpoint filled it.
        InputError
            If a language is given for an index that has the language of each passage.
        """
        if isinstance(index, PlaidFolder):
            return self._keep(name, self._over(index, language), index.folder, language)
        if language is not None:
            index.close()
            raise InputError(f"The index {name!r} has the language of each passage: leave out language={language!r}.")
        mine, theirs = self.encoder.checkpoint, index.meta
        if theirs.fingerprint != mine.fingerprint:
            index.close()
            raise IndexFormatError(
                f"The index {name!r} was filled by the checkpoint {theirs.checkpoint!r}, not by {mine.name!r}, or by "
                "other weights of that name. Open it with from_index, or index the documents again."
            )
        settings = theirs.settings
        retriever = Retriever(
            self.encoder,
            index,
            int(settings["max_document_length"]),
            settings.get("query_language"),
            int(settings.get("pooling", 1)),
        )
        if isinstance(index, LocalIndex) and self.device is not None:
            index.to_device(self.device)
        if server is not None:
            self._opened[name], self._servers[name], self.current = retriever, server, name
        elif isinstance(index, LocalIndex):
            self._keep(name, retriever, index.folder)
        return retriever

    def _keep(self, name: str, retriever: Retriever, folder: Path, language: str | None = None) -> Retriever:
        self._opened[name], self._known[name], self.current = retriever, (folder, language), name
        self._servers.pop(name, None)
        return retriever

    def _over(self, folder: PlaidFolder, language: str | None) -> Retriever:
        """Return a retriever over a folder of colbert-ai, which does not tell which weights filled it."""
        if folder.codec.dim != self.encoder.dim:
            raise IndexFormatError(
                f"The index at {str(folder.folder)!r} has vectors of {folder.codec.dim} dimensions, the checkpoint "
                f"{self.encoder.checkpoint.name!r} {self.encoder.dim}: another one filled it ({folder.checkpoint!r})."
            )
        adapters = self.encoder.adapters
        resolved = None if language is None else adapters.resolve(language)
        index = PlaidIndex(folder, default_language(adapters), resolved)
        return Retriever(self.encoder, index, folder.doc_maxlen, index.settings.get("query_language"))

    def build(
        self,
        name: str,
        indexer: Indexer,
        documents: Iterable[Document],
        server: IndexServer | None = None,
        **options: Any,
    ) -> str:
        """Build an index aside and put it in the place of `name` in one step; `options` are those of `build_index`.

        Returns
        -------
        str
            The index's folder, or its address.
        """
        folder = self.path(name)
        path = folder if server is None else Path(name)
        made = build_index(path, indexer, documents, server=server, **options)
        self.register(name, made, server=server)  # the one before is not closed: another thread may be searching it
        return self.place(name)

    def reuse(self, name: str, server: IndexServer | None = None) -> str:
        """Make an existing index the one used last; return its folder, or its address."""
        if server is None:
            self.get(name)
        else:
            self.register(name, server.open(name), server=server)
        return self.place(name)

    def place(self, name: str) -> str:
        """Return the folder of an index, or its address."""
        return f"{self._servers[name].url}/{name}" if name in self._servers else str(self.path(name))

    def close(self) -> None:
        """Release all indexes."""
        for name in list(self._opened):
            if (retriever := self._opened.pop(name, None)) is not None:  # None if another thread was first
                retriever.close()
        for server in self._servers.values():
            server.close()
