"""`Checkpoint`: texts to token vectors with colbert-ai's interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ...corpus.passages import read_documents
from ...encoder import Encoder
from ...errors import InputError
from ...index.exact import ExactIndex
from ...queries import list_of_queries
from ...retriever import Retriever
from ...text.batching import batch_tokens_of
from ...text.tokenizer import ColBERTTokenizer
from ...types import Languages
from ..infra.config import ColBERTConfig


class Checkpoint:
    """A checkpoint that encodes queries and passages, each text through its own language's adapter.

    Parameters
    ----------
    name : str, Path or Encoder
        Hub id, local folder, ``"demo"``, or what is loaded already.
    colbert_config : ColBERTConfig, optional
        ``doc_maxlen`` and ``query_maxlen`` count; the rest is the checkpoint's.
    verbose : int
        Accepted for compatibility.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be found or is damaged.
    InputError
        If `colbert_config` contradicts it.

    Examples
    --------
    >>> checkpoint = Checkpoint("antoinelouis/colbert-xm")  # doctest: +SKIP
    >>> checkpoint.queryFromText(["Où est le document ?"]).shape  # doctest: +SKIP
    torch.Size([1, 32, 128])
    """

    def __init__(
        self, name: str | Path | Encoder, colbert_config: ColBERTConfig | None = None, verbose: int = 3
    ) -> None:
        self.colbert_config = ColBERTConfig.from_existing(colbert_config)
        device = self.colbert_config.device
        self.encoder = name if isinstance(name, Encoder) else Encoder.from_pretrained(name, device=device)
        self.configure()

    def configure(self, **options: Any) -> None:
        """Change configuration options."""
        config = self.colbert_config.updated(ColBERTConfig(**options))
        config.check(self.encoder)
        if config.query_maxlen is not None:
            _fill_queries_to(config.query_maxlen, self.encoder)
        self.colbert_config = config

    def queryFromText(  # noqa: N802 (colbert-ai's name)
        self,
        queries: str | Sequence[str],
        bsize: int | None = None,
        to_cpu: bool = False,
        *,
        full_length_search: bool = False,
        languages: Languages = None,
    ) -> torch.Tensor:
        """Encode queries.

        Parameters
        ----------
        queries : sequence of str
        bsize, full_length_search
            Accepted for compatibility: batches suit the device, and queries are never truncated.
        to_cpu : bool
            Return the vectors on the CPU.
        languages : str or sequence of (str or None), optional
            Of all queries, or of each; by default detected.

        Returns
        -------
        torch.Tensor
            Shape ``(Q, q_len, dim)``, float32; shorter queries are padded with rows of zeros.

        Raises
        ------
        InputError
            If a query is blank, or not a string.
        """
        retriever = Retriever(self.encoder, ExactIndex(self.encoder.dim), self.encoder.tokenizer.max_tokens)
        found = retriever.encode(list_of_queries(queries), languages)
        return found.cpu() if to_cpu else found

    def docFromText(  # noqa: N802 (colbert-ai's name)
        self,
        docs: Sequence[str],
        bsize: int | None = None,
        keep_dims: bool | str = True,
        to_cpu: bool = False,
        showprogress: bool = False,
        *,
        languages: Languages = None,
    ) -> Any:
        """Encode passages, each truncated at ``doc_maxlen`` tokens.

        Parameters
        ----------
        docs : sequence of str
        bsize : int, optional
            Most passages of full length in a batch.
        keep_dims : bool or "flatten"
            As in colbert-ai, see below.
        to_cpu, showprogress : bool
        languages : str or sequence of (str or None), optional
            Of all passages, or of each; by default detected.

        Returns
        -------
        torch.Tensor, list or tuple
            With ``keep_dims=True``, shape ``(n, longest, dim)`` with rows of zeros where a token is not scored; with
            False, a list of ``(t_i, dim)``. If `bsize` is given, in a tuple of one. With ``"flatten"``, which needs
            `bsize`, vectors ``(T, dim)`` and the list of their numbers in each passage. All float32.

        Raises
        ------
        InputError
            If a value is invalid.
        """
        if keep_dims not in (True, False, "flatten") or (keep_dims == "flatten" and bsize is None):
            raise InputError(f'keep_dims={keep_dims!r} is not usable. Give True, False, or "flatten" with bsize=.')
        tokens = self.encoder.tokenise(docs, self.colbert_config.doc_maxlen)
        with tqdm(total=len(docs), unit="passage", disable=None if showprogress else True) as bar:
            found = self.encoder.encode_documents(
                docs,
                self._languages(docs, languages),
                tokens=tokens,
                batch_tokens=None if bsize is None else batch_tokens_of(bsize),
                on_batch=bar.update,
            )
        vectors = found.vectors.cpu() if to_cpu or keep_dims == "flatten" else found.vectors
        if keep_dims == "flatten":
            return vectors, found.lengths.tolist()
        result: Any = list(vectors.split(found.lengths.tolist()))
        if keep_dims:
            result = vectors.new_zeros(len(docs), max((len(each.ids) for each in tokens), default=0), found.dim)
            for row, each, block in zip(result, tokens, found, strict=True):
                row[: len(each.ids)][each.scored] = block.to(row.device)
        return result if bsize is None else (result,)

    def _languages(self, texts: Sequence[str], languages: Languages) -> list[str]:
        adapters = self.encoder.adapters
        given = [each.language for each in read_documents(texts, None, None, languages, adapters.resolve)]
        detected = self.encoder.detect(texts, together=True)
        return [
            one.language if each is None else adapters.resolve(each) for each, one in zip(given, detected, strict=True)
        ]


def _fill_queries_to(length: int, encoder: Encoder) -> None:
    """Make an encoder fill queries up to another length than its checkpoint's."""
    most = encoder.tokenizer.max_tokens
    if isinstance(length, bool) or not isinstance(length, int) or not 3 <= length <= most:
        raise InputError(f"query_maxlen={length!r} is not usable: give a whole number from 3 to {most}.")
    checkpoint = encoder.checkpoint
    encoder.tokenizer = ColBERTTokenizer(checkpoint.folder, replace(checkpoint.settings, query_maxlen=length), most)
