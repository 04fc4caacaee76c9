"""The state of an index folder that is searched now, and how it comes into memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...config import SearchConfig
from ...corpus.filters import Condition
from ...errors import IndexDamagedError, PassageIndexError, StorageError
from ...types import Hits
from ..quantization.codebook import Codebook
from ..validation import check_search
from .gpu import Residents, search_device
from .manifest import Manifest, stamp
from .postings import read_postings
from .search import Reader, Snapshot, View, Wanted
from .segment import Part


@dataclass(frozen=True)
class Loaded:
    """A snapshot and where it comes from."""

    stamp: tuple[int, int, int]
    manifest: Manifest
    snapshot: Snapshot


class FolderReader(Reader):
    """The reading half of `ragatouille_xm.index.local.index.EdgeIndex`.

    Parameters
    ----------
    folder : Path
        Folder of an index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._closed = False
        self._inherited: list[Loaded | None] = []
        self._residents: Residents | None = None
        self._start()
        self._dim = self._load().manifest.dim

    @property
    def manifest(self) -> Manifest:
        """What the index consists of now."""
        return self._load().manifest

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that filled it."""
        return self.manifest.checkpoint

    @property
    def first_pid(self) -> int:
        """The first pid that was handed out when it was built from nothing."""
        return self.manifest.first_pid

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the caller of `build` kept with it."""
        return self.manifest.settings

    def _start(self) -> None:
        """Begin with nothing loaded."""
        self._process = os.getpid()
        self._loaded: Loaded | None = None
        self._writer = threading.RLock()
        self._loader = threading.Lock()
        if self._residents is not None:
            self._residents = Residents(self._residents.device)

    def _snapshot(self) -> Snapshot:
        return self._load().snapshot

    def _here(self) -> None:
        """Make sure that this process may use it. Raise `PassageIndexError` once it is closed."""
        if self._closed:
            raise PassageIndexError(f"The index at {str(self.folder)!r} was closed. Open it again.")
        if self._process != os.getpid():  # forked without the engine's threads: what was loaded there hangs here
            self._inherited.append(self._loaded)
            self._start()

    def _load(self) -> Loaded:
        """Return the newest state, loading what is new in it."""
        self._here()
        loaded = self._loaded
        if loaded is not None and loaded.stamp == stamp(self.folder):
            return loaded
        with self._loader:
            while True:
                seen = stamp(self.folder)  # before reading: a change in between is noticed the next time
                manifest = Manifest.read(self.folder)
                try:
                    self._loaded = Loaded(seen, manifest, self._snapshot_of(manifest))
                except IndexDamagedError:
                    if manifest.state != Manifest.read(self.folder).state:  # replaced, and its parts removed, meanwhile
                        continue
                    raise
                return self._loaded

    def _snapshot_of(self, manifest: Manifest) -> Snapshot:
        old = self._loaded
        if old is not None and old.manifest.state == manifest.state:
            return old.snapshot
        known = {view.part.folder.name: view.part for view in old.snapshot.views} if old else {}
        codebook: Codebook | None = None
        if manifest.codebook is not None:
            if old and (old.manifest.build, old.manifest.codebook) == (manifest.build, manifest.codebook):
                codebook = old.snapshot.codebook
            else:
                codebook = Codebook.load(self.folder / manifest.codebook.file)
        views = tuple(
            View(
                known.get(entry.name)
                or Part.load(self.folder / entry.name, manifest.dim, manifest.storage, entry.passages),
                frozenset(entry.deleted),
                read_postings(self.folder / entry.postings_file(manifest.codebook)) if manifest.codebook else None,
            )
            for entry in manifest.parts
        )
        return Snapshot(views, codebook, manifest.growth)

    # ---- on a device

    def keep_on(self, device: str | torch.device) -> None:
        """From now on, hold the token vectors in the memory of a device and score them there.

        They are loaded at the next search. A device that is not there, or has no room, is passed over with a warning.

        Raises
        ------
        InputError
            If there is no such kind of device.
        """
        self._residents = Residents(search_device(device))

    def search(
        self, queries: torch.Tensor, k: int, *, filter: Condition | None = None, config: SearchConfig = SearchConfig()
    ) -> Hits:
        """Return the best `k` passages by MaxSim among those that `filter` admits: see `Reader.search`.

        What is kept on a device is scored there, completely unless ``config.candidates`` is given, or ``config.fast``.
        """
        if self._residents is not None:
            check_search(queries, k, self._dim)
            snapshot = self._snapshot()
            residents = self._residents  # only now: a forked process begins anew with a snapshot
            if residents and snapshot.passages:
                hits = residents.search(snapshot, queries, k, Wanted.of(filter), config)
                if hits is not None:
                    return hits
        return super().search(queries, k, filter=filter, config=config)

    def close(self) -> None:
        """Release files and memory. Closing twice is allowed."""
        with self._writer, self._loader:
            self._closed = True
            loaded, self._loaded = self._loaded, None
            self._residents = None
        for view in loaded.snapshot.views if loaded else ():
            with suppress(StorageError):
                view.part.close()
