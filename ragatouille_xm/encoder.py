"""Texts → token vectors: tokenise → batch → forward → reorder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch

from .errors import CheckpointError, InputError
from .files import absolute
from .languages import AdapterTable
from .model.checkpoint import Checkpoint, load_checkpoint
from .model.colbert import ColBERT
from .model.devices import chosen_device, default_dtype, usable_device
from .model.replicas import Model, encode_on
from .model.workers import Load, RemoteModel, start_workers
from .query_batches import QueryBatches
from .text.ahead import map_ahead
from .text.batching import plan_batches
from .text.collection import CollectionLanguages
from .text.detect import LanguageDetector, make_detector
from .text.token_settings import WHOLE
from .text.tokenizer import ColBERTTokenizer, TokenBatch, Tokens
from .types import Detection, TokenVectors

logger = logging.getLogger(__name__)

Devices: TypeAlias = str | torch.device | Sequence[str | torch.device]

GPU_TOKENS = 32768
# Measured on one thread at base size: more is no faster (slower with 8-bit integers) and takes memory.
TOKENS_PER_THREAD = 512
CPU_TOKENS = 2048


def token_budget(device: torch.device) -> int:
    """Return the number of tokens that suits a device as one batch."""
    return GPU_TOKENS if device.type != "cpu" else min(CPU_TOKENS, TOKENS_PER_THREAD * torch.get_num_threads())


class Encoder:
    """A loaded checkpoint: tokeniser, model, adapters and language detector. Thread-safe.

    Parameters
    ----------
    checkpoint : Checkpoint
    device : str, torch.device or sequence of them, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default a GPU if there is one. With several, ``["cuda:0", "cuda:1"]``,
        each holds the model, each batch goes to the one that is free, and vectors are returned on the first. Training
        uses one.
    dtype : torch.dtype, optional
        By default float32 on the CPU and bfloat16 on a GPU.
    language_detector : str, callable or LanguageDetector
        ``"py3langid"``, ``"langdetect"``, or your own: see `ragatouille_xm.text.detect.make_detector`.

    Examples
    --------
    >>> encoder = Encoder.from_pretrained("demo")  # doctest: +SKIP
    >>> encoder.encode_queries(["Où est le document ?"], ["fr"]).shape  # doctest: +SKIP
    torch.Size([1, 32, 128])
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: Devices | None = None,
        dtype: torch.dtype | str | None = None,
        language_detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
    ) -> None:
        devices = _devices(device)
        self._dtype = _dtype(dtype)
        self._quantize: str | None = None
        self._workers: list[RemoteModel] = []
        self.adapters = AdapterTable(checkpoint.adapters, checkpoint.default_adapter)
        self.detector = make_detector(language_detector)
        self.replicas = [ColBERT.load(checkpoint, each, self._dtype or default_dtype(each)) for each in devices]
        self.checkpoint = _with_lengths(checkpoint, self.model.backbone.max_tokens)
        self.tokenizer = ColBERTTokenizer(checkpoint.folder, checkpoint.settings, self.model.backbone.max_tokens)
        self._query_rows: Callable[[Sequence[str], Sequence[str]], torch.Tensor] = self._rows_of_queries
        rows = self.model.backbone.vocab_size
        if len(self.tokenizer) > rows:
            raise CheckpointError(
                f"The tokeniser of {checkpoint.name!r} has {len(self.tokenizer)} ids, but the model only {rows}: they "
                "do not belong together."
            )

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: Devices | None = None,
        dtype: torch.dtype | str | None = None,
        language_detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
        quantize: str | None = None,
    ) -> Encoder:
        """Load a hub id, a local folder, or ``"demo"`` for inference; other parameters as for the class.

        On the CPU, weights are packed for speed and cannot be trained: for training, call the constructor.

        Parameters
        ----------
        quantize : "int8" or None, optional
            Compute the linear layers with 8-bit integers, on the CPU: faster, slightly less exact. Vectors stay
            comparable: queries encoded without it can search texts encoded with it, and vice versa.

        Raises
        ------
        CheckpointError
            If it cannot be found or is damaged.
        InputError
            If `quantize` is unknown or not supported by the device; if there are no devices, or of several kinds.
        """
        encoder = cls(load_checkpoint(name), device=device, dtype=dtype, language_detector=language_detector)
        for replica in encoder.replicas:
            replica.pack(quantize)
        encoder._quantize = quantize
        return encoder

    @contextmanager
    def on_workers(self, where: int | str | None) -> Iterator[Encoder]:
        """Return an encoder that has workers encode documents, as long as the context lasts; without `where`, this one.

        Parameters
        ----------
        where : int, str or None
            So many processes, or the address of a Ray cluster: see `ragatouille_xm.model.workers.start_workers`, also
            for the errors.
        """
        if where is None:
            yield self
            return
        name = str(absolute(self.checkpoint.name)) if Path(self.checkpoint.name).is_dir() else self.checkpoint.name
        with start_workers(where, Load(name, self.checkpoint.fingerprint, self._dtype, self._quantize)) as workers:
            other = copy(self)
            other._workers = workers
            yield other

    @property
    def model(self) -> ColBERT:
        """The model on the first device."""
        return self.replicas[0]

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.model.dim

    def detect(
        self, texts: Sequence[str], counts: Mapping[str, int] | None = None, *, together: bool = False
    ) -> list[Detection]:
        """Detect the language of each text, one that has an adapter.

        Parameters
        ----------
        counts : mapping of str to int, optional
            How many texts in each language the collection holds that these are for.
        together : bool
            The texts are of one collection, and are weighed as an index of them weighs them: see `CollectionLanguages`.
        """
        if together:
            return CollectionLanguages(self.detector, self.adapters.languages, counts).detect(texts)
        return self.detector.detect(texts, self.adapters.languages, counts)

    @property
    def models(self) -> Sequence[Model]:
        """What encodes: the workers, if it has some, or its replicas."""
        return self._workers or self.replicas

    @property
    def works_ahead(self) -> bool:
        """Whether a thread prepares the next batch. On a CPU it would compete with the model for cores."""
        return bool(self._workers) or self.model.device.type != "cpu"

    def tokenise(self, texts: Sequence[str], max_length: int | None = None) -> list[Tokens]:
        """Tokenise passages as `encode_documents` does."""
        length = self.checkpoint.settings.doc_maxlen if max_length is None else max_length
        if max_length is None and not 8 <= length <= self.tokenizer.max_tokens:
            raise CheckpointError(
                f"{self.checkpoint.settings_file} has doc_maxlen={length}, but the model takes passages of 8 to "
                f"{self.tokenizer.max_tokens} tokens. Give max_document_length."
            )
        return self.tokenizer.documents(texts, length)

    def encode_documents(
        self,
        texts: Sequence[str],
        languages: Sequence[str],
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        on_batch: Callable[[int], object] | None = None,
        tokens: Sequence[Tokens] | None = None,
    ) -> TokenVectors:
        """Encode passages, each through its language's adapter.

        Parameters
        ----------
        texts, languages : sequence of str
            Of equal length; languages as `AdapterTable.resolve` returns them.
        max_length : int, optional
            Maximum tokens per passage, including special tokens; by default the checkpoint's.
        batch_tokens : int, optional
            Maximum tokens per batch, if less than what suits the device.
        on_batch : callable, optional
            Called with the number of passages of each encoded batch.
        tokens : sequence of Tokens, optional
            `texts` as tokenised by `tokenise`.

        Returns
        -------
        TokenVectors
            In the order of `texts`, on the (first) device, with vocabulary ids.
        """
        if tokens is None:
            tokens = self.tokenise(texts, max_length)
        blocks: list[torch.Tensor] = [torch.empty(0)] * len(tokens)
        for positions, vectors, scored in self._forward(tokens, languages, batch_tokens):
            kept = vectors[scored.to(vectors.device)].split(scored.sum(1).tolist())  # one selection per batch
            for position, block in zip(positions, kept, strict=True):
                blocks[position] = block
            if on_batch is not None:
                on_batch(len(positions))
        if not blocks:
            none = torch.empty(0, dtype=torch.int64)
            return TokenVectors(torch.empty(0, self.dim, device=self.model.device), none, none)
        ids = [i for each in tokens for i, scored_ in zip(each.ids, each.scored, strict=True) if scored_]
        return TokenVectors(torch.cat(blocks), torch.tensor([len(block) for block in blocks]), torch.tensor(ids))

    def encode_queries(self, texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        """Encode queries, each through its language's adapter.

        Returns
        -------
        torch.Tensor
            Shape ``(Q, q_len, dim)``, float32, on the (first) device; shorter queries are padded with rows of zeros,
            which add nothing to a MaxSim score.
        """
        return self._query_rows(texts, languages)

    def join_queries(
        self, size: int = 32, window: float = 0.0, on_batch: Callable[[int], object] | None = None
    ) -> None:
        """Encode what several threads ask for at the same time in one pass; parameters as for `QueryBatches`."""
        self._query_rows = QueryBatches(self._rows_of_queries, size, window, on_batch)

    def _rows_of_queries(self, texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        tokens = self.tokenizer.queries(texts)
        width = max((sum(each.scored) for each in tokens), default=self.checkpoint.settings.query_maxlen)
        result = torch.zeros(len(tokens), width, self.dim, device=self.model.device)
        for positions, vectors, scored in self._forward(tokens, languages, None):
            dropped, order = (each.to(vectors.device)[:, :width, None] for each in (~scored).sort(dim=1, stable=True))
            rows = vectors.gather(1, order.expand(-1, -1, self.dim)) * ~dropped  # what is scored, first
            result[positions, : rows.shape[1]] = rows
        return result

    def _forward(
        self, tokens: Sequence[Tokens], languages: Sequence[str], batch_tokens: int | None
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Yield batches: positions (b,), vectors (b, L, dim), and the mask of scored tokens (b, L)."""
        if len(tokens) != len(languages):
            raise InputError(f"{len(tokens)} texts came with {len(languages)} languages; give one for each.")
        names = [self.adapters.adapter_for(language) for language in languages]
        adapters = [name for name in names if name is not None]
        computes_on = self._workers[0].computes_on if self._workers else self.model.device
        budget = min(token_budget(computes_on), batch_tokens or sys.maxsize)
        batches = plan_batches([len(each.ids) for each in tokens], adapters or languages, budget)
        rows_of_batches = ([tokens[i] for i in positions] for positions in batches)
        adapters_of_batches = ([adapters[i] for i in positions] if adapters else [] for positions in batches)
        if self._workers or (len(self.replicas) > 1 and len(batches) > 1):
            done = encode_on(self.models, zip(map(self._lay, rows_of_batches), adapters_of_batches, strict=True))
            for positions, (vectors, scored) in zip(batches, done, strict=True):
                yield positions, vectors, scored
            return
        laid = (map_ahead if self.works_ahead else map)(self._lay, rows_of_batches)
        for positions, batch, rows in zip(batches, laid, adapters_of_batches, strict=True):
            yield positions, self.model(batch.input_ids, batch.attention_mask, rows), batch.scoring_mask

    def _lay(self, tokens: Sequence[Tokens]) -> TokenBatch:
        batch = self.tokenizer.pad(tokens)
        if self.model.device.type != "cuda":
            return batch
        ids, attended, scored = (
            each.pin_memory() for each in (batch.input_ids, batch.attention_mask, batch.scoring_mask)
        )
        return TokenBatch(ids, attended, scored)


def _with_lengths(checkpoint: Checkpoint, max_tokens: int) -> Checkpoint:
    """Check the length of queries against what the model takes; set that of passages where the checkpoint has none."""
    settings = checkpoint.settings
    if settings.expand_queries and settings.query_maxlen > max_tokens:
        raise CheckpointError(
            f"{checkpoint.settings_file}: query_maxlen={settings.query_maxlen}, but the model of config.json accepts "
            f"{max_tokens} tokens. The two do not belong together."
        )
    if settings.doc_maxlen < WHOLE:
        return checkpoint
    return replace(checkpoint, settings=replace(settings, doc_maxlen=max_tokens))


def _devices(device: Devices | None) -> list[torch.device]:
    if device is None or isinstance(device, str) or not isinstance(device, Sequence):
        return [chosen_device(device)]
    devices = [usable_device(each) for each in device]
    if len({each.type for each in devices}) != 1:
        named = ", ".join(map(str, devices)) or "none"
        raise InputError(
            f"device is a sequence of {named}; it takes one or more devices of one kind, so that vectors come out "
            'alike. Give ["cuda:0", "cuda:1"], or leave it out.'
        )
    return devices


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None:
        return None
    result = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(result, torch.dtype) or not result.is_floating_point:
        raise InputError(f'dtype={dtype!r} is not usable. Give "float32", "bfloat16" or "float16".')
    return result
