"""The systems by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from ...errors import InputError
from .base import Settings, System


class Entry(NamedTuple):
    """A system that can be run by name.

    Attributes
    ----------
    kind : str
        As in the published tables: lexical, cross-encoder, single-vector or multi-vector.
    title : str
        Its name in the tables.
    checkpoint : str or None
        The published one; None if it needs none, or none is known for certain.
    about : str
    make : callable
        From a name and settings to the system.
    routed : bool
        Whether texts are encoded through their language's adapters.
    """

    kind: str
    title: str
    checkpoint: str | None
    about: str
    make: Callable[[str, Settings], System]
    routed: bool = False

    @property
    def needs_checkpoint(self) -> bool:
        """Whether it has a model."""
        return self.kind != "lexical"


def _bm25(name: str, settings: Settings) -> System:
    from .bm25 import BM25

    return BM25(name, settings)


def _cross(scorer: str, modular: bool = False) -> Callable[[str, Settings], System]:
    def make(name: str, settings: Settings) -> System:
        from . import cross

        first = _bm25("bm25", replace(settings, checkpoint=None))
        return cross.CrossEncoder(name, settings, getattr(cross, scorer), first, modular)

    return make


def _single(modular: bool = False, **recipe: str | int | bool) -> Callable[[str, Settings], System]:
    def make(name: str, settings: Settings) -> System:
        from .recipe import Recipe
        from .single import SingleVector

        return SingleVector(name, settings, Recipe(**recipe), modular)  # type: ignore[arg-type]

    return make


def _late(name: str, settings: Settings) -> System:
    from .late import LateInteraction

    return LateInteraction(name, settings)


SYSTEMS: dict[str, Entry] = {
    "bm25": Entry("lexical", "BM25", None, "bm25s, with Pyserini's settings", _bm25),
    "mono-mt5": Entry(
        "cross-encoder", "mono-mT5", "unicamp-dl/mt5-base-mmarco-v2", "re-ranks BM25's results", _cross("MonoT5")
    ),
    "mono-mminilm": Entry(
        "cross-encoder", "mono-mMiniLM", "unicamp-dl/mMiniLM-L6-v2-mmarco-v2", "re-ranks BM25's results",
        _cross("Classifier"),
    ),
    "mono-xm": Entry(
        "cross-encoder", "mono-XM", "antoinelouis/mono-xm", "re-ranks BM25's results, through adapters",
        _cross("MonoXM", True), True,
    ),
    "dpr-x": Entry(
        "single-vector", "DPR-X", "eugene-yang/dpr-xlmr-large-mtt-neuclir", "XLM-R, mean pooling",
        _single(normalised=False, max_length=256),
    ),
    "me5-base": Entry(
        "single-vector", "mE5-base", "intfloat/multilingual-e5-base", "with its prefixes, mean pooling",
        _single(query_prefix="query: ", document_prefix="passage: "),
    ),
    "dpr-xm": Entry(
        "single-vector", "DPR-XM", "antoinelouis/dpr-xm", "X-MOD, mean pooling, through adapters",
        _single(True, max_length=128), True,
    ),
    "mcolbert": Entry("multi-vector", "mColBERT", None, "a ColBERT on mBERT", _late),
    "colbert-xm": Entry("multi-vector", "ColBERT-XM", "antoinelouis/colbert-xm", "this package's own", _late, True),
}  # fmt: skip


def make_system(name: str, settings: Settings = Settings()) -> System:
    """Return a system by name.

    Parameters
    ----------
    name : str
        One of `SYSTEMS`.
    settings : Settings

    Raises
    ------
    InputError
        If there is no such system, or a checkpoint is missing or superfluous.
    """
    if name not in SYSTEMS:
        raise InputError(f"There is no system {name!r}. There are: {', '.join(SYSTEMS)}.")
    entry = SYSTEMS[name]
    if settings.checkpoint is not None and not entry.needs_checkpoint:
        raise InputError(f"{name} has no checkpoint: leave out {settings.checkpoint!r}.")
    checkpoint = settings.checkpoint or entry.checkpoint
    if checkpoint is None and entry.needs_checkpoint:
        raise InputError(
            f"{name} needs a checkpoint, since none is known to be published: give {name}=<hub id or folder>."
        )
    return entry.make(name, replace(settings, checkpoint=checkpoint))
