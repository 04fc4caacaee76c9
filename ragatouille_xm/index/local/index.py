"""The persistent index: a folder of parts that never change, and a manifest of those that count."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import IndexLockedError, IndexNotFoundError, InputError, StorageError
from ...types import Passage, TokenVectors
from ..files import check_space, is_full, storage_errors
from ..quantization.codebook import Codebook
from ..validation import check_add
from .build import DraftIndex, building, first_manifest
from .inventory import size_of
from .loading import FolderReader, Loaded
from .lock import forget_lock, write_lock
from .manifest import Manifest, PartEntry, stamp, sweep
from .merge import changed, copy_alive, fit_codebook, needs_codebook, outgrown, posted, saved, without
from .search import Snapshot, View
from .segment import Part
from .writer import PartAddition, checked_number

logger = logging.getLogger(__name__)

MOST_PARTS = 16  # a search looks into each


class EdgeIndex(FolderReader):
    """Passages in a folder on disk, searched in process by Qdrant Edge.

    Implements `ragatouille_xm.index.base.PassageIndex`. Make one with `open`, `create` or `build`. Any number of
    processes and threads may search; each sees the changes of all others from its next call on. One at a time may
    write; each call is a commit of its own: it is durable when it returns, and nothing of it is there if it fails or
    its process dies. ``docs/index_format.md`` describes the files.

    Parameters
    ----------
    folder : Path
        Folder of an index.

    Examples
    --------
    >>> import tempfile, torch
    >>> folder = tempfile.mkdtemp()
    >>> index = EdgeIndex.create(folder, dim=2, checkpoint="demo", fingerprint="0", settings={})
    >>> vectors = TokenVectors(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), torch.tensor([2, 1]))
    >>> index.add([Passage(0, "a", "one two", "en"), Passage(1, "b", "three", "en")], vectors)
    >>> EdgeIndex.open(folder).search(torch.tensor([[[0.0, 1.0]]]), k=1).pids.tolist()
    [[1]]
    """

    @classmethod
    def open(cls, path: str | Path) -> EdgeIndex:
        """Open an index, for searching and for writing.

        Raises
        ------
        IndexNotFoundError
            If there is none at `path`.
        IndexDamagedError
            If a part of it is missing or cannot be read.
        IndexFormatError
            If a newer version wrote it.
        StorageError
            If the folder cannot be written to, which the engine needs even for reading.
        """
        folder = Path(path)
        try:
            return cls(folder)
        except StorageError:
            if not is_full(folder):
                raise
        with write_lock(folder):  # what a writer that has died left behind may be what fills the disk
            sweep(folder)
        return cls(folder)

    @classmethod
    def create(cls, path: str | Path, **description: Any) -> EdgeIndex:
        """Make an empty index, where there is none, and open it. Parameters as for `build`.

        Raises
        ------
        InputError
            If there is one already.
        """
        try:
            Manifest.read(Path(path))
        except IndexNotFoundError:
            with cls.build(path, **description):
                pass
            return cls.open(path)
        raise InputError(f"There is an index at {str(path)!r} already. Open it, or replace it with build().")

    @classmethod
    @contextmanager
    def build(
        cls,
        path: str | Path,
        *,
        dim: int,
        checkpoint: str,
        fingerprint: str,
        settings: Mapping[str, Any],
        storage: str = "int16",
        resume: bool = False,
    ) -> Iterator[DraftIndex]:
        """Build an index from nothing, in the place of the one that may be at `path`.

        The new one is there as a whole once the context ends; until then, and if it ends with an exception, the old
        one serves on. Nobody else can write meanwhile.

        Parameters
        ----------
        path : str or Path
        dim : int
            Width of a token vector.
        checkpoint : str
            Name of the checkpoint that fills the index.
        fingerprint : str
            Hash of its weights.
        settings : mapping
            JSON values to keep with the index.
        storage : str
            How token vectors are stored: ``"int16"``, or ``"int8"`` in about half the space.
        resume : bool
            Go on with a build of the same checkpoint and settings whose process died, or that failed with `resume`;
            nothing is lost if this one fails.

        Yields
        ------
        DraftIndex
            To be filled.

        Raises
        ------
        InputError
            If the build to resume is of another checkpoint or has other settings.
        IndexLockedError
            If somebody is writing to the index at `path`.
        StorageError
            If it cannot be written.
        """
        folder = Path(path)
        manifest = first_manifest(dim, checkpoint, fingerprint, settings, storage)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with write_lock(folder):
                try:
                    with building(folder, manifest, resume=resume) as draft:
                        yield draft
                finally:
                    forget_lock(folder)
        finally:
            with suppress(OSError):
                folder.rmdir()  # of a failed first build; any other folder is not empty

    # ---- writing

    @contextmanager
    def _writing(self) -> Iterator[Loaded]:
        """Hold the right to write; yield the state to build upon. What a failure leaves behind is removed."""
        self._here()
        with self._writer, write_lock(self.folder):
            try:
                sweep(self.folder)
                yield self._load()
            finally:
                sweep(self.folder)

    def _commit(self, manifest: Manifest, views: Iterable[View], codebook: Codebook | None) -> Loaded:
        """Make a new state the one that counts. `views` are those of the manifest's parts."""
        manifest.write(self.folder)
        self._loaded = Loaded(stamp(self.folder), manifest, Snapshot(tuple(views), codebook, manifest.growth))
        return self._loaded

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again.

        Raises
        ------
        IndexLockedError, StorageError
            As for `add`.
        """
        with self._writing() as now:
            first = now.manifest.next_pid
            if checked_number(n):
                manifest = replace(now.manifest, next_pid=first + n)  # of the same state: readers need not reload
                self._commit(manifest, now.snapshot.views, now.snapshot.codebook)
            return first

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, *, replace: bool = False) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, the rest of their documents goes.

        All of it in one commit: durable on return, or nothing changed.

        Raises
        ------
        InputError
            If they cannot be stored.
        IndexLockedError
            If another process is writing.
        StorageError
            If writing fails.
        """
        check_add(passages, vectors, self._dim)
        if passages:
            with self.writer(replace=replace) as addition:
                addition.store(passages, vectors)

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[PartAddition]:
        """Add in several steps, which are one commit once the context ends; if it fails, nothing changed.

        Nobody else can write meanwhile.

        Raises
        ------
        IndexLockedError, StorageError
            As for `add`.
        """
        with self._writing() as now:
            with self._making() as part:
                addition = PartAddition(part, now, replace)
                yield addition
                if not part.passages:
                    return part.close()
                part.seal()
                gone = dict(zip(now.snapshot.views, addition.gone, strict=True))
                pair = posted((part.entry, View(part)), self.folder, now.snapshot.codebook, now.manifest.codebook)
                kept = [*without(now.manifest, now.snapshot, gone.__getitem__), pair]
                self._commit_pairs(now, kept, next_pid=addition.next_pid)
            if len(kept) > MOST_PARTS:
                self._tidy_if_possible()

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many went. Unknown ids are passed over.

        Raises
        ------
        IndexLockedError, StorageError
            As for `add`.
        """
        with self._writing() as now:
            kept = without(now.manifest, now.snapshot, lambda view: {pid for pid, _ in view.of_documents(document_ids)})
            removed = now.snapshot.passages - sum(entry.alive for entry, _ in kept)
            if removed:
                self._commit_pairs(now, kept)
            return removed

    def _commit_pairs(self, now: Loaded, pairs: Sequence[tuple[PartEntry, View]], **changes: Any) -> Loaded:
        manifest = now.manifest.changed(parts=tuple(entry for entry, _ in pairs), **changes)
        return self._commit(manifest, (view for _, view in pairs), now.snapshot.codebook)

    @contextmanager
    def _making(self) -> Iterator[Part]:
        part = Part.create(self.folder, self._dim, self._load().manifest.storage)
        try:
            yield part
        except BaseException:
            with suppress(StorageError):
                part.close()
            raise

    # ---- keeping it fast

    def optimize(self, *, refit: bool = False) -> None:
        """Merge small parts, drop deleted passages from the disk, and fit the codebook to what the index has become.

        Does only what has become due; while another process is writing, nothing. With `refit`, an index that has
        changed since its codebook was fitted becomes one part with a new one. Searches go on meanwhile, and if the
        process dies the index is as it was.

        Raises
        ------
        IndexLockedError
            With `refit`, if another process is writing.
        StorageError
            If writing fails; what the index finds has not changed.
        """
        now = self._load().manifest
        if needs_codebook(now) or outgrown(now.parts) or (refit and changed(now)):
            try:
                with self._writing() as loaded:
                    self._tidy(loaded, refit)
            except IndexLockedError:
                if refit:
                    raise
                logger.info("%s is being written to: not optimized now", self.folder)

    def _tidy_if_possible(self) -> None:
        try:
            self._tidy(self._load())
        except StorageError as error:  # what was added is committed
            logger.warning("the parts of %s could not be merged: %s", self.folder, error)

    def _tidy(self, now: Loaded, refit: bool = False) -> None:
        manifest = now.manifest
        if chosen := list(manifest.parts) if refit and changed(manifest) else outgrown(manifest.parts):
            now = self._merge(now, chosen)
        if needs_codebook(manifest) or (refit and changed(manifest) and manifest.codebook):
            self._refit(now)

    def _refit(self, now: Loaded) -> None:
        """Fit a new codebook; only the inverted lists are written anew."""
        codebook = fit_codebook(now.snapshot.views, now.manifest)
        entry = saved(codebook, self.folder, now.manifest.tokens)
        pairs = zip(now.manifest.parts, now.snapshot.views, strict=True)
        kept = [posted(pair, self.folder, codebook, entry) for pair in pairs]
        manifest = now.manifest.changed(parts=tuple(part for part, _ in kept), codebook=entry)
        self._commit(manifest, (view for _, view in kept), codebook)

    def _merge(self, now: Loaded, chosen: Sequence[PartEntry]) -> Loaded:
        """Put what is alive of some parts into one new part."""
        names = {part.name for part in chosen}
        pairs = list(zip(now.manifest.parts, now.snapshot.views, strict=True))
        logger.info("merging %d of %d parts of %s", len(names), len(pairs), self.folder)
        check_space(self.folder, sum(size_of(self.folder / name) for name in names))
        with self._making() as made:
            for view in (view for old, view in pairs if old.name in names):
                copy_alive(view, made)
            made.seal()
            merged = posted((made.entry, View(made)), self.folder, now.snapshot.codebook, now.manifest.codebook)
            kept = [merged, *(pair for pair in pairs if pair[0].name not in names)]
            return self._commit_pairs(now, kept)
