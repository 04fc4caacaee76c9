"""The options of indexing and searching, and the place of an experiment's indexes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ...encoder import Encoder
from ...errors import InputError
from ...model.checkpoint import load_checkpoint
from ...opening import open_passages

C = TypeVar("C", bound="RunConfig")
ROOT, EXPERIMENT = "experiments", "default"


@dataclass(kw_only=True)
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
    overwrite : bool or None
        Whether `Run.open` and what is saved through it may replace a file.
    nranks : int or None
        Ranks that `Collection.enumerate_batches` deals chunks to. Indexing takes no notice: nothing is forked here.
    rank, name, amp, avoid_fork_if_possible
        Accepted for compatibility, without effect.
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
        root = ROOT if self.root is None else self.root
        return Path(root) / (EXPERIMENT if self.experiment is None else self.experiment)

    @property
    def index_folder(self) -> Path:
        """The folder for indexes."""
        return self.folder / "indexes" if self.index_root is None else Path(self.index_root)

    @property
    def device(self) -> str | None:
        """The device to run on; None chooses automatically."""
        return "cpu" if self.gpus == 0 else None

    @classmethod
    def from_existing(cls: type[C], *sources: RunConfig | None) -> C:
        """Return a configuration with the values given in `sources`, of which the last wins.

        Examples
        --------
        >>> both = RunConfig.from_existing(RunConfig(root="a", nranks=1), None, RunConfig(root="b"))
        >>> both == RunConfig(root="b", nranks=1)
        True
        """
        result = cls()
        for source in sources:
            result = result.updated(source)
        return result

    def configure(self, **options: Any) -> None:
        """Change options of this configuration; `TypeError` for one that does not exist."""
        vars(self).update(vars(self.updated(type(self)(**options))))

    def updated(self: C, other: RunConfig | None) -> C:
        """Return this configuration, updated with the values given in `other`."""
        given = {} if other is None else {f.name: getattr(other, f.name) for f in fields(other)}
        return replace(self, **{name: value for name, value in given.items() if value is not None})


@dataclass(kw_only=True)
class ColBERTConfig(RunConfig):
    """Options of indexing and searching. None means "not given".

    Attributes
    ----------
    checkpoint : str or None
        What `load_from_checkpoint` and `load_from_index` have read; `Indexer` and `Searcher` go by their own argument.
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

    checkpoint: str | None = None
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

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path) -> ColBERTConfig:
        """Return what a checkpoint was trained with.

        Parameters
        ----------
        checkpoint_path : str or Path
            Hub id, local folder, or ``"demo"``.

        Raises
        ------
        CheckpointError
            If it cannot be found, is damaged, or has no head.
        """
        checkpoint = load_checkpoint(checkpoint_path)
        settings = checkpoint.settings
        return cls(
            checkpoint=str(checkpoint_path),
            dim=checkpoint.dim,
            doc_maxlen=settings.doc_maxlen,
            query_maxlen=settings.query_maxlen,
            mask_punctuation=settings.mask_punctuation,
            attend_to_mask_tokens=settings.attend_to_mask_tokens,
            similarity="cosine",
        )

    @classmethod
    def load_from_index(cls, index_path: str | Path) -> ColBERTConfig:
        """Return what an index, in a folder of ours or of colbert-ai's, says of itself: its checkpoint and width.

        Raises
        ------
        IndexNotFoundError, IndexDamagedError, IndexFormatError
            If there is no usable index.
        """
        index = open_passages(index_path)
        try:
            return cls(checkpoint=index.checkpoint or None, dim=index.dim)
        finally:
            index.close()

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
