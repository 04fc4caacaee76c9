"""From documents to an index: detect languages, split, encode, and hand passages to a writer."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from tqdm import tqdm

from .corpus.passages import Document, is_blank
from .corpus.splitting import Splitter
from .encoder import Encoder
from .errors import DuplicateDocumentError
from .index.base import IndexBuild, IndexWriter
from .index.lexical import PieceCounts
from .pooling import check_pooling, pool_tokens
from .text.ahead import map_ahead
from .text.collection import CollectionLanguages
from .text.tokenizer import Tokens
from .types import Passage

logger = logging.getLogger(__name__)

# For each model: enough to sort by length, little enough to keep in memory.
DOCUMENT_BATCH = 512  # texts of documents
PASSAGE_BATCH = 512  # token vectors of passages


class Prepared(NamedTuple):
    """Documents on their way into an index, before model and index are needed.

    Attributes
    ----------
    documents : list of Document
    languages : list of str
        Of each document.
    chunks : list of (int, str)
        Position in `documents` and text of each passage.
    tokens : list of Tokens
        Of each passage.
    """

    documents: list[Document]
    languages: list[str]
    chunks: list[tuple[int, str]]
    tokens: list[Tokens]

    @property
    def blank(self) -> list[str]:
        """The ids of the documents that are blank."""
        with_text = {position for position, text in self.chunks if not is_blank(text)}
        return [each.document_id for position, each in enumerate(self.documents) if position not in with_text]

    def without(self, positions: Collection[int]) -> Prepared:
        """Return the same without some of the documents."""
        new_position: dict[int, int] = {}
        for position in range(len(self.documents)):
            if position not in positions:
                new_position[position] = len(new_position)
        kept = [i for i, (position, _) in enumerate(self.chunks) if position in new_position]
        return Prepared(
            [self.documents[position] for position in new_position],
            [self.languages[position] for position in new_position],
            [(new_position[self.chunks[i][0]], self.chunks[i][1]) for i in kept],
            [self.tokens[i] for i in kept],
        )

    def parts(self, most: int) -> Iterator[Prepared]:
        """Yield the same in parts of at most so many passages, or of one document that has more."""
        passages = Counter(position for position, _ in self.chunks)
        part: set[int] = set()
        held = 0
        every = set(range(len(self.documents)))
        for position in range(len(self.documents)):
            if part and held + passages[position] > most:
                yield self.without(every - part)
                part, held = set(), 0
            part.add(position)
            held += passages[position]
        if part:
            yield self.without(every - part)


@dataclass(frozen=True)
class Indexer:
    """Encodes documents and stores them as passages.

    Attributes
    ----------
    encoder : Encoder
    split : callable
        Splits a batch of documents: see `ragatouille_xm.corpus.splitting.Splitter`.
    max_document_length : int
        Most tokens of a passage, specials included.
    batch_tokens : int, optional
        Most tokens that go through the model at once.
    total : int, optional
        Number of documents, for the progress bar.
    progress : bool
        Show one.
    pooling : int
        What the number of a passage's token vectors is divided by: see `ragatouille_xm.pooling.pool_tokens`.
    lexical : bool
        Whether the index keeps the pieces of passages for lexical search.

    Raises
    ------
    InputError
        If `pooling` is not usable.
    """

    encoder: Encoder
    split: Splitter
    max_document_length: int
    batch_tokens: int | None = None
    total: int | None = None
    progress: bool = False
    pooling: int = 1
    lexical: bool = False

    def __post_init__(self) -> None:
        check_pooling(self.pooling)

    def add(
        self,
        writer: IndexWriter,
        documents: Iterable[Document],
        known: Callable[[Sequence[str]], Collection[str]] | None = None,
        *,
        counts: Mapping[str, int] | None = None,
        replace: bool = False,
    ) -> int:
        """Store documents, streaming; return how many passages they became.

        A blank document has no passage; a warning names the first of them.

        Parameters
        ----------
        writer : IndexWriter
        documents : iterable of Document
        known : callable, optional
            Names those of some document ids that the index has; they are refused.
        counts : mapping of str to int, optional
            How many passages in each language the index has, which tells what short texts are.
        replace : bool
            Whether the writer replaces documents, so that blank ones are to be removed.

        Raises
        ------
        DuplicateDocumentError
            If `known` names one.
        """

        def check(prepared: Prepared) -> Prepared:
            there = known([document.document_id for document in prepared.documents]) if known else ()
            if there:
                raise DuplicateDocumentError(
                    f"The index already has {preview(there)}. Use update_in_index to replace documents, or delete them "
                    "first."
                )
            return prepared

        languages = self._languages(counts)
        return self._store(writer, documents, check, languages, writer.delete if replace else None)

    def resume(self, build: IndexBuild, documents: Iterable[Document]) -> int:
        """Make a build that was broken off hold what `documents` give; return how many passages were encoded.

        What it stores of a document is kept if it is what would be stored now: the same passages, languages and
        metadata. Documents that are not given any more are removed.
        """
        given: set[str] = set()

        def skip_stored(prepared: Prepared) -> Prepared:
            given.update(each.document_id for each in prepared.documents)
            given.difference_update(prepared.blank)  # what the build stores of them is removed
            return prepared.without(_stored(build, prepared))

        n_passages = self._store(build, documents, skip_stored, self._languages())
        build.delete([document_id for document_id in build.document_ids() if document_id not in given])
        return n_passages

    def _languages(self, counts: Mapping[str, int] | None = None) -> CollectionLanguages:
        return CollectionLanguages(self.encoder.detector, self.encoder.adapters.languages, counts)

    def _store(
        self,
        writer: IndexWriter,
        documents: Iterable[Document],
        choose: Callable[[Prepared], Prepared],
        languages: CollectionLanguages,
        remove: Callable[[Sequence[str]], object] | None = None,
    ) -> int:
        n_passages = n_documents = 0
        blank: list[str] = []
        began = time.monotonic()
        hidden = None if self.progress else True
        bar: tqdm[Any]
        with tqdm(total=self.total, desc="indexing", unit="document", disable=hidden) as bar:
            batches = _batches(documents, DOCUMENT_BATCH * len(self.encoder.models))
            prepare = partial(self._prepare, languages)
            for prepared in (map_ahead if self.encoder.works_ahead else map)(prepare, batches):
                chosen = choose(prepared)
                bar.update(len(prepared.documents) - len(chosen.documents))
                for part in chosen.parts(PASSAGE_BATCH * len(self.encoder.models)):
                    n_passages += self._store_batch(writer, part, bar)
                if (found := prepared.blank) and remove is not None:
                    remove(found)
                blank += found
                n_documents += len(prepared.documents)
                bar.set_postfix_str(f"{n_passages / (time.monotonic() - began):.0f} passages/s")
        if languages.decided:
            logger.info("languages of the documents: %s", languages.summary())
        if blank:
            named = preview(blank)
            logger.warning("%d of %d documents are blank and have no passage: %s", len(blank), n_documents, named)
        return n_passages

    def _prepare(self, languages: CollectionLanguages, documents: list[Document]) -> Prepared:
        """Detect, split and tokenise a batch, while the model encodes the one before.

        A document's language is the user's, or detected once for all its passages. A blank document has none.
        """
        resolve = self.encoder.adapters.resolve
        texts = [None if is_blank(each.text) else each.text for each in documents]
        stated = [each.language if text is not None else None for each, text in zip(documents, texts, strict=True)]
        found = languages.detect(texts, [None if each is None else resolve(each) for each in stated])
        chunks = self.split(documents)
        tokens = self.encoder.tokenise([text for _, text in chunks], self.max_document_length)
        return Prepared(documents, [each.language for each in found], chunks, tokens)

    def _store_batch(self, writer: IndexWriter, prepared: Prepared, bar: tqdm[Any]) -> int:
        documents, languages, chunks, tokens = prepared
        if not chunks:
            bar.update(len(documents))
            return 0
        first = writer.reserve(len(chunks))  # for blank ones too, so that pids are positions if nothing is split
        kept = [i for i, (_, text) in enumerate(chunks) if not is_blank(text)]
        passages = [
            Passage(first + i, documents[position].document_id, text, languages[position], documents[position].metadata)
            for i, (position, text) in ((i, chunks[i]) for i in kept)
        ]
        if not passages:
            bar.update(len(documents))
            return 0
        before, encoded = bar.n, 0

        def show_documents(n: int) -> None:  # in proportion to the passages that are encoded
            nonlocal encoded
            encoded += n
            bar.update(before + len(documents) * encoded // len(passages) - bar.n)

        vectors = self.encoder.encode_documents(
            [passage.text for passage in passages],
            [passage.language for passage in passages],
            max_length=self.max_document_length,
            batch_tokens=self.batch_tokens,
            on_batch=show_documents,
            tokens=[tokens[i] for i in kept],
        )
        if self.pooling > 1:
            added = [each for i in kept for each in self.encoder.tokenizer.added(tokens[i])]
            vectors = pool_tokens(vectors, added, self.pooling)
        pieces = pieces_of(self.encoder, [passage.text for passage in passages]) if self.lexical else None
        writer.add(passages, vectors, pieces)
        return len(passages)


def pieces_of(encoder: Encoder, texts: Sequence[str]) -> PieceCounts:
    """Return the pieces of texts, of queries as of passages."""
    return PieceCounts.of(encoder.tokenizer.lexical_ids(texts))


def _batches(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    stream = iter(documents)
    while batch := list(islice(stream, size)):
        yield batch


def _stored(build: IndexBuild, prepared: Prepared) -> set[int]:
    """Return the positions of the documents that a build stores as they would be stored now."""
    stored: dict[str, list[tuple[str, str, str]]] = {}
    for passage in build.passages_of([document.document_id for document in prepared.documents]):
        entry = (passage.text, passage.language, json.dumps(passage.metadata))  # in JSON, 1 is not True
        stored.setdefault(passage.document_id, []).append(entry)
    wanted: dict[int, list[tuple[str, str, str]]] = {}
    for position, text in prepared.chunks:
        entry = (text, prepared.languages[position], json.dumps(prepared.documents[position].metadata))
        wanted.setdefault(position, []).append(entry)
    return {
        position
        for position, entries in wanted.items()
        if stored.get(prepared.documents[position].document_id) == entries
    }


def preview(ids: Iterable[Any], n: int = 3) -> str:
    """Name the first few ids.

    Examples
    --------
    >>> preview({"d", "b", "a", "c"})
    "'a', 'b', 'c' and 1 more"
    """
    every = sorted(ids) if isinstance(ids, (set, frozenset)) else list(ids)
    more = f" and {len(every) - n} more" if len(every) > n else ""
    return ", ".join(repr(each) for each in every[:n]) + more
