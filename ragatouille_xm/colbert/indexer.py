"""`Indexer`: building indexes with colbert-ai's interface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..catalog import build_index
from ..config import OVERWRITE
from ..corpus.passages import read_documents
from ..corpus.splitting import whole
from ..encoder import Encoder
from ..errors import InputError
from ..files import absolute
from ..index.local.index import LocalIndex
from ..indexing import Indexer as DocumentIndexer
from ..text.batching import batch_tokens_of
from ..types import Languages
from .data import Collection
from .infra.config import ColBERTConfig
from .infra.run import resolve_config


class Indexer:
    """Builds indexes in the folder of the current experiment: see `Run`.

    Parameters
    ----------
    checkpoint : str or Path
        Hub id, local folder, or ``"demo"``.
    config : ColBERTConfig, optional
    verbose : int
        0 shows no progress bar.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be found or is damaged.
    InputError
        If `config` contradicts the checkpoint.

    Examples
    --------
    >>> from ragatouille_xm.colbert import Run, RunConfig
    >>> with Run().context(RunConfig(nranks=1, experiment="colbert")):  # doctest: +SKIP
    ...     indexer = Indexer(checkpoint="antoinelouis/colbert-xm")
    ...     indexer.index(name="mine", collection=["Ceci est un document.", "这是第二个文档。"])
    '/home/me/experiments/colbert/indexes/mine'
    """

    def __init__(self, checkpoint: str | Path, config: ColBERTConfig | None = None, verbose: int = 3) -> None:
        self.config = resolve_config(config)
        self.verbose = verbose
        self.index_path: str | None = None
        self.checkpoint = str(checkpoint)
        self.encoder = Encoder.from_pretrained(checkpoint, device=self.config.device)
        self.config.check(self.encoder)

    def configure(self, **options: Any) -> None:
        """Change configuration options."""
        self.config = self.config.updated(ColBERTConfig(**options))
        self.config.check(self.encoder)

    def get_index(self) -> str | None:
        """Return the folder of the last index built."""
        return self.index_path

    def index(
        self,
        name: str,
        collection: Any,
        overwrite: bool | str = False,
        *,
        languages: Languages = None,
        pooling: int = 1,
    ) -> str:
        """Build an index.

        Each passage is stored whole, truncated at ``doc_maxlen`` tokens, and encoded through the adapter of its own
        language. Its pid is its position. A blank passage is not stored, and a warning names it.

        Parameters
        ----------
        name : str
        collection : list of str, str, Path or Collection
            The passages, or a file with them.
        overwrite : bool or str
            False refuses to replace an index; True and ``"force_silent_overwrite"`` do, once the new one is complete;
            ``"reuse"`` and ``"resume"`` keep an existing one (an interrupted build leaves none).
        languages : str or sequence of (str or None), optional
            Language of all passages, or of each (BCP-47 code or adapter id); by default detected.
        pooling : int
            2 keeps half of a passage's token vectors, 3 a third: similar ones are merged into their mean.

        Returns
        -------
        str
            The index's folder, which `ragatouille_xm.RAGPretrainedModel.from_index` also opens.

        Raises
        ------
        InputError
            If the index exists, or a value is invalid.
        """
        if overwrite not in OVERWRITE:
            raise InputError(
                f'overwrite={overwrite!r} is not known. Use True (or "force_silent_overwrite"), False, or "reuse" (or '
                '"resume").'
            )
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"name={name!r} cannot be an index's name. Use letters, digits, '-' and '_'.")
        path = absolute(self.config.index_folder / name)
        if LocalIndex.exists(path):
            if not overwrite:
                raise InputError(f"There is an index at {str(path)!r} already. Give overwrite=True, or another name.")
            if overwrite in ("reuse", "resume"):
                self.index_path = str(path)
                return self.index_path
        self._build(path, Collection.cast(collection), languages, pooling)
        self.index_path = str(path)
        return self.index_path

    def _build(self, path: Path, collection: Collection, languages: Languages, pooling: int) -> None:
        length = (
            self.encoder.checkpoint.settings.doc_maxlen if self.config.doc_maxlen is None else self.config.doc_maxlen
        )
        bsize = self.config.index_bsize
        batch_tokens = None if bsize is None else batch_tokens_of(bsize, length)
        given = read_documents(collection, None, None, languages, self.encoder.adapters.resolve)
        build_index(
            path,
            DocumentIndexer(
                self.encoder, whole, length, batch_tokens, len(collection), self.verbose > 0, pooling, lexical=True
            ),
            (replace(document, document_id=str(pid)) for pid, document in enumerate(given)),
            keep=False,
        ).close()
