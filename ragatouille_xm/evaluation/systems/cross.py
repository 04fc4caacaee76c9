"""Cross-encoders, which encode query and document together and re-rank BM25's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from ...corpus.passages import Document
from ...errors import CheckpointError
from ...model.devices import chosen_device
from ..dataset import Dataset, Query
from ..measure import Ranking
from .base import Found, Settings, System
from .batches import load_pretrained, run_batched
from .weights_id import identity_of
from .xmod import XmodCheckpoint

MAX_LENGTH = 512
PROMPT = "Query: {query} Document: {document} Relevant:"
ANSWERS = ("▁no", "▁yes")

Pair = tuple[Query, Document]


class PairScorer(Protocol):
    """Scores pairs of a query and a document."""

    def score(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Return scores (n,), float32, on the CPU; higher is more relevant."""
        ...


class CrossEncoder:
    """A system that re-ranks the results of another one.

    Parameters
    ----------
    name : str
    settings : Settings
        With a checkpoint.
    scorer : callable
        From settings to a `PairScorer`.
    first_stage : System
    modular : bool
        Whether the language of the passage matters.
    """

    query_batch = 8

    def __init__(self, name: str, settings: Settings, scorer: Any, first_stage: System, modular: bool = False) -> None:
        self.name = name
        self.settings = settings
        self.scorer = scorer
        self.first_stage: System | None = first_stage
        self.modular = modular

    def parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return the checkpoint, the length, the first stage's parameters and, with adapters, the routing."""
        assert self.first_stage is not None
        first = {"first_stage": {"name": self.first_stage.name} | self.first_stage.parameters(dataset)}
        routing = {"document_language": self.settings.document_language} if self.modular else {}
        return identity_of(str(self.settings.checkpoint)) | {"max_length": MAX_LENGTH} | first | routing

    def index_parameters(self, dataset: Dataset) -> dict[str, Any]:
        """Return nothing: there is no index."""
        return {}

    def prepare(self, dataset: Dataset, folder: Path, first: Ranking) -> CrossEncoderSearcher:
        """Load the model."""
        return CrossEncoderSearcher(self.scorer(self.settings), dataset, first)


class CrossEncoderSearcher:
    """A model and the ranking to re-rank."""

    def __init__(self, scorer: PairScorer, dataset: Dataset, first: Ranking) -> None:
        self._scorer = scorer
        self._dataset = dataset
        self._first = first

    def search(self, queries: Sequence[Query], k: int) -> list[Found]:
        """Re-rank the first stage's best `k` documents of each query; ties keep their order."""
        ids = [list(self._first.get(query.query_id, ()))[:k] for query in queries]
        wanted = list(dict.fromkeys(each for row in ids for each in row))
        documents = dict(zip(wanted, self._dataset.texts(wanted), strict=True))
        pairs = [(query, documents[each]) for query, row in zip(queries, ids, strict=True) for each in row]
        scores = iter(self._scorer.score(pairs).tolist())
        return [sorted(((each, next(scores)) for each in row), key=lambda found: -found[1]) for row in ids]

    def close(self) -> None:
        """Do nothing."""


class MonoT5:
    """mT5, which answers yes or no.

    After Nogueira et al. 2020, "Document Ranking with a Pretrained Sequence-to-Sequence Model". The score is the
    log-probability of ``▁yes`` against ``▁no`` as the first word of the answer, as in mMARCO's training.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        name = str(settings.checkpoint)
        self.device = chosen_device(settings.device)
        self.tokenizer: Any = load_pretrained(AutoTokenizer, name)
        self.model: Any = load_pretrained(AutoModelForSeq2SeqLM, name, dtype=torch.float32).to(self.device).eval()
        self.answers: list[int] = self.tokenizer.convert_tokens_to_ids(list(ANSWERS))
        if None in self.answers or self.tokenizer.unk_token_id in self.answers:
            raise CheckpointError(
                f"The tokeniser of {name!r} lacks {' or '.join(ANSWERS)}: it is not an mT5 of mMARCO."
            )

    def score(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Return scores (n,), float32, on the CPU."""
        start = self.model.config.decoder_start_token_id

        def forward(ids: torch.Tensor, mask: torch.Tensor, positions: list[int]) -> torch.Tensor:
            first = torch.full((len(positions), 1), start, device=self.device)
            logits = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=first).logits
            scores: torch.Tensor = logits[:, 0, self.answers].log_softmax(1)[:, 1]
            return scores

        texts = [PROMPT.format(query=query.text, document=document.text) for query, document in pairs]
        rows = self.tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"] if texts else []
        return run_batched(rows, [""] * len(rows), self.tokenizer.pad_token_id, self.device, forward)


class Classifier:
    """An encoder with a head of one output, or of two (not relevant, relevant), such as mMiniLM.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        name = str(settings.checkpoint)
        self.device = chosen_device(settings.device)
        self.tokenizer: Any = load_pretrained(AutoTokenizer, name)
        model: Any = load_pretrained(AutoModelForSequenceClassification, name, dtype=torch.float32)
        self.model = model.to(self.device).eval()

    def score(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Return scores (n,), float32, on the CPU."""

        def forward(ids: torch.Tensor, mask: torch.Tensor, positions: list[int]) -> torch.Tensor:
            return relevance(self.model(input_ids=ids, attention_mask=mask).logits)

        rows = tokenise_pairs(self.tokenizer, pairs)
        return run_batched(rows, [""] * len(rows), self.tokenizer.pad_token_id, self.device, forward)


class MonoXM:
    """X-MOD with a classification head; each pair uses the adapters of its passage's language.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = XmodCheckpoint(str(settings.checkpoint), chosen_device(settings.device))
        read = self.model.weights.get
        self._head = [
            read(f"classifier.{layer}.{part}").to(self.model.device, torch.float32)
            for layer in ("dense", "out_proj")
            for part in ("weight", "bias")
        ]

    def score(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Return scores (n,), float32, on the CPU."""
        documents = [document for _, document in pairs]
        languages = self.model.languages_of(
            [document.text for document in documents],
            [document.language for document in documents],
            self.settings.document_language,
        )
        adapters = self.model.adapters_for(languages)
        dense, dense_bias, out, out_bias = self._head

        def forward(ids: torch.Tensor, mask: torch.Tensor, positions: list[int]) -> torch.Tensor:
            first = self.model.encoder(ids, mask, [adapters[i] for i in positions])[:, 0]
            return relevance(torch.tanh(first @ dense.T + dense_bias) @ out.T + out_bias)

        rows = tokenise_pairs(self.model.tokenizer, pairs)
        return run_batched(rows, adapters, self.model.tokenizer.pad_token_id, self.model.device, forward)


def tokenise_pairs(tokenizer: Any, pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the token ids of each pair; if both do not fit, the longer one is truncated."""
    if not pairs:
        return []
    queries, documents = [query.text for query, _ in pairs], [document.text for _, document in pairs]
    ids: list[list[int]] = tokenizer(queries, documents, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return ids


def relevance(logits: torch.Tensor) -> torch.Tensor:
    """Return one score per row: the only output, or the last minus the first.

    Examples
    --------
    >>> relevance(torch.tensor([[0.5]])).tolist(), relevance(torch.tensor([[-1.0, 2.0]])).tolist()
    ([0.5], [3.0])
    """
    return logits[:, -1] if logits.shape[1] == 1 else logits[:, -1] - logits[:, 0]
