"""colbert-ai's configuration: the place of an experiment's indexes, and the options of indexing and searching."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..encoder import Encoder
from ..errors import InputError

C = TypeVar("C", bound="RunConfig")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Folders and devices. None means "not given".

    Attributes
    ----------
    root, experiment : str or None
        Indexes are in ``<root>/<experiment>/indexes/``; by default ``experiments`` and ``default``.
    index_root : str or None
        Folder for indexes, instead of the above.
    gpus : int or None
        0 uses only the CPU; otherwise a GPU is used if there is one.
    nranks, rank, name, amp, overwrite, avoid_fork_if_possible
        Accepted for compatibility, without effect: nothing is forked here.
    """

    root: str | None = None
    experiment: str | None = None
    index_root: str | None = None
    gpus: int | None = None
    nranks: int | None = None
    rank: int | None = None
    name: str | None = None
    amp: bool | None = None
    overwrite: bool | None = None
    avoid_fork_if_possible: bool | None = None

    @property
    def folder(self) -> Path:
        """The folder of the experiment."""
        root = "experiments" if self.root is None else self.root
        return Path(root) / ("default" if self.experiment is None else self.experiment)

    @property
    def index_folder(self) -> Path:
        """The folder for indexes."""
        return self.folder / "indexes" if self.index_root is None else Path(self.index_root)

    @property
    def device(self) -> str | None:
        """The device to run on; None chooses automatically."""
        return "cpu" if self.gpus == 0 else None

    def updated(self: C, other: RunConfig | None) -> C:
        """Return this configuration, updated with the values given in `other`."""
        given = {} if other is None else {f.name: getattr(other, f.name) for f in fields(other)}
        return replace(self, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class ColBERTConfig(RunConfig):
    """Options of indexing and searching. None means "not given".

    Attributes
    ----------
    doc_maxlen : int or None
        Maximum tokens per passage, including special tokens; the rest is truncated. By default the checkpoint's.
    query_maxlen : int or None
        Tokens that a query is filled up to with ``<mask>``; a longer query keeps all its tokens. By default the
        checkpoint's.
    index_bsize : int or None
        Maximum number of full-length passages per batch.
    ncells : int or None
        Centroids probed per query token.
    ndocs : int or None
        Passages that the first stage hands to MaxSim, all of which are scored.
    dim, similarity, mask_punctuation, attend_to_mask_tokens
        Fixed by the checkpoint; any other value is refused.
    nbits, bsize, kmeans_niters, centroid_score_threshold, load_index_with_mmap
        Accepted for compatibility, without effect on our indexes.
    """

    doc_maxlen: int | None = None
    query_maxlen: int | None = None
    index_bsize: int | None = None
    ncells: int | None = None
    ndocs: int | None = None
    dim: int | None = None
    similarity: str | None = None
    mask_punctuation: bool | None = None
    attend_to_mask_tokens: bool | None = None
    nbits: int | None = None
    bsize: int | None = None
    kmeans_niters: int | None = None
    centroid_score_threshold: float | None = None
    load_index_with_mmap: bool | None = None

    def check(self, encoder: Encoder) -> None:
        """Raise `InputError` if this contradicts the checkpoint of `encoder`."""
        settings = encoder.checkpoint.settings
        fixed = {
            "dim": encoder.dim,
            "similarity": "cosine",
            "mask_punctuation": settings.mask_punctuation,
            "attend_to_mask_tokens": settings.attend_to_mask_tokens,
        }
        for name, value in fixed.items():
            if getattr(self, name) not in (None, value):
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not what the checkpoint {encoder.checkpoint.name!r} was "
                    f"trained with ({value!r}). Leave it out."
                )


_CURRENT: ContextVar[RunConfig] = ContextVar("ragatouille_xm.colbert.run", default=RunConfig())  # noqa: B039 (frozen)


class Run:
    """The current configuration.

    It belongs to the thread or task that entered `context`; others start with the defaults.

    Examples
    --------
    >>> with Run().context(RunConfig(experiment="news", nranks=1)):
    ...     with Run().context(RunConfig(root="/data")):
    ...         Run().config.index_folder.as_posix()
    '/data/news/indexes'
    >>> Run().config.index_folder.as_posix()
    'experiments/default/indexes'
    """

    @property
    def config(self) -> RunConfig:
        """The current configuration."""
        return _CURRENT.get()

    @contextmanager
    def context(self, runconfig: RunConfig, inherit_config: bool = True) -> Iterator[None]:
        """Apply `runconfig`, on top of the current configuration unless `inherit_config` is off."""
        token = _CURRENT.set((self.config if inherit_config else RunConfig()).updated(runconfig))
        try:
            yield
        finally:
            _CURRENT.reset(token)


def resolve_config(config: ColBERTConfig | None, **options: Any) -> ColBERTConfig:
    """Return the configuration of an indexer or a searcher. As in colbert-ai, `Run` overrides `config`.

    Raises
    ------
    InputError
        If `config` is not a configuration.
    """
    if config is not None and not isinstance(config, RunConfig):
        raise InputError(f"config is a {type(config).__name__}; give a ColBERTConfig.")
    return ColBERTConfig().updated(config).updated(Run().config).updated(ColBERTConfig(**options))
