"""An index in the making, which nobody sees until it is committed as a whole."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import STORAGES
from ...errors import IndexDamagedError, IndexNotFoundError, InputError, PassageIndexError, StorageError
from ...types import Passage, TokenVectors
from ..validation import check_add
from .manifest import DRAFT, Manifest, sweep
from .memory import give_back
from .merge import fit_codebook, needs_codebook, posted, saved
from .search import Reader, Snapshot, View
from .segment import Part
from .writer import Successive, checked_number

logger = logging.getLogger(__name__)

SAVE_EVERY = 10.0  # seconds: what a build that is killed loses at the most, beside the batch in hand


class DraftIndex(Reader):
    """A `ragatouille_xm.index.base.PassageIndex` in a growing part, as `EdgeIndex.build` makes it.

    What is older than ten seconds outlives a process that dies, and `resume` goes on with it. One thread at a time.
    """

    def __init__(self, folder: Path, manifest: Manifest, part: Part) -> None:
        self._folder = folder
        self._manifest = manifest
        self._dim = manifest.dim
        self._next_pid = manifest.next_pid
        self._lock = threading.RLock()
        self._part = part
        self._saved = time.monotonic()

    @classmethod
    def begin(cls, folder: Path, manifest: Manifest) -> DraftIndex:
        """Begin with nothing."""
        return cls(folder, manifest, Part.create(folder, manifest.dim, manifest.storage))

    @classmethod
    def resume(cls, folder: Path, wanted: Manifest) -> DraftIndex | None:
        """Go on with a build that was broken off, if there is one that is whole.

        Raises
        ------
        InputError
            If it is of another checkpoint, or has other settings, than `wanted`.
        """
        part: Part | None = None
        try:
            found = Manifest.read(folder, DRAFT)
            _check_same(found, wanted)
            if found.first_pid != wanted.first_pid:
                raise IndexDamagedError("the index that it was to replace has changed since, or it came to its end")
            [entry] = found.parts
            part = Part.reopen(folder / entry.name, found.dim, found.storage, found.next_pid)
            if part.passages != found.passages:
                raise IndexDamagedError(f"{part.passages} passages are left of {found.passages}")
        except IndexNotFoundError:
            return None
        except PassageIndexError as error:
            logger.warning("the build of %s cannot be resumed and begins again: %s", folder, error)
            if part is not None:
                with suppress(StorageError):
                    part.close()
            return None
        logger.info("going on with the build of %s at %d passages", folder, part.passages)
        return cls(folder, found, part)

    def _snapshot(self) -> Snapshot:
        return Snapshot((View(self._part),))

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before, and never will be again."""
        with self._lock:
            first, self._next_pid = self._next_pid, self._next_pid + checked_number(n)
            return first

    def add(self, passages: Sequence[Passage], vectors: TokenVectors, *, replace: bool = False) -> None:
        """Store passages, overwriting those of the same pid; with `replace`, the rest of their documents goes.

        Raises
        ------
        InputError
            If they cannot be stored; nothing was changed.
        StorageError
            If writing fails. The build must be given up.
        """
        check_add(passages, vectors, self._dim)
        if not passages:
            return
        with self._lock:
            kept = {passage.pid for passage in passages}
            known = self._of_documents([p.document_id for p in passages]) if replace else []
            self._part.append(passages, vectors)
            self._remove([pid for pid in known if pid not in kept])
            self._next_pid = max(self._next_pid, *(pid + 1 for pid in kept))
            if time.monotonic() > self._saved + SAVE_EVERY:
                self.save()

    @contextmanager
    def writer(self, *, replace: bool = False) -> Iterator[Successive]:
        """Add in several steps, each of which stays if a later one fails: all count once the build has ended."""
        yield Successive(self, replace)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Remove all passages of the documents; return how many went. Unknown ids are passed over."""
        with self._lock:
            pids = self._of_documents(document_ids)
            self._remove(pids)
            return len(pids)

    def _of_documents(self, document_ids: Sequence[str]) -> list[int]:
        return [pid for pid, _ in self._part.of_documents(document_ids)]

    def _remove(self, pids: Sequence[int]) -> None:
        if pids:
            self._part.remove(pids)

    def optimize(self, *, refit: bool = False) -> None:
        """Do nothing: the end of the build does it."""

    def close(self) -> None:
        """Do nothing: the end of the build does it."""

    def save(self) -> None:
        """Make what is there outlive this process, for `resume`."""
        self._part.flush()
        give_back()
        self._so_far().write(self._folder, DRAFT)
        self._saved = time.monotonic()

    def _so_far(self) -> Manifest:
        return replace(self._manifest, next_pid=self._next_pid, parts=(self._part.entry,))

    def finish(self) -> Manifest:
        """Bring the part into its final form, with a codebook if it is large; return the manifest that commits it."""
        self.save()
        manifest = self._so_far()
        self._part.seal()
        pair = manifest.parts[0], View(self._part)
        if needs_codebook(manifest):
            codebook = fit_codebook([pair[1]], manifest)
            manifest = replace(manifest, codebook=saved(codebook, self._folder, manifest.tokens))
            pair = posted(pair, self._folder, codebook, manifest.codebook)
        return replace(manifest, parts=(pair[0],) if self._part.passages else ())

    def discard(self) -> None:
        """Release files and memory."""
        with suppress(StorageError):
            self._part.close()


@contextmanager
def building(folder: Path, manifest: Manifest, *, resume: bool) -> Iterator[DraftIndex]:
    """Yield a draft that takes the place of what is in `folder` once the context ends well.

    After a failure nothing is left of it, or with `resume` what `DraftIndex.resume` goes on with.
    """
    first = beginning(folder)
    manifest = replace(manifest, first_pid=first, next_pid=first)
    draft = DraftIndex.resume(folder, manifest) if resume else None
    if draft is None:
        (folder / DRAFT).unlink(missing_ok=True)
    sweep(folder)
    draft = draft or DraftIndex.begin(folder, manifest)
    keep = resume
    try:
        yield draft
        draft.finish().write(folder)
        keep = False
    finally:
        if not keep:  # at once: what it names is not swept away
            (folder / DRAFT).unlink(missing_ok=True)
        draft.discard()
        sweep(folder)


def _check_same(saved: Manifest, wanted: Manifest) -> None:
    for name in ("fingerprint", "dim", "storage", "settings"):
        there, here = getattr(saved, name), getattr(wanted, name)
        if there != here:
            raise InputError(
                f"The build that was broken off has {name} {there!r}, this one {here!r}: it cannot go on with that. "
                "Give the same checkpoint and settings, or overwrite_index=True to begin again."
            )


def first_manifest(
    dim: int, checkpoint: str, fingerprint: str, settings: Mapping[str, Any], storage: str = "int16"
) -> Manifest:
    """Return the manifest of an empty index. Raise `InputError` for what cannot be kept in one."""
    if storage not in STORAGES:
        raise InputError(f"storage={storage!r} is not known. Use one of {', '.join(map(repr, STORAGES))}.")
    if not isinstance(dim, int) or dim < 1:
        raise InputError(f"dim={dim!r} is not a width of token vectors.")
    try:
        json.dumps(dict(settings))
    except (TypeError, ValueError) as error:
        raise InputError(f"The settings {settings!r} cannot be kept: {error}. Use JSON values.") from error
    return Manifest(dim, checkpoint, fingerprint, dict(settings), storage)


def beginning(folder: Path) -> int:
    """Return where the pids of a new index begin: behind those of the one that it replaces, for searches under way."""
    try:
        return Manifest.read(folder).next_pid
    except PassageIndexError:
        return 0
