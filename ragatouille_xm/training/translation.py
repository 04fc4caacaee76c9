"""Training a language's adapter on parallel text: translate-distil (Yang et al. 2024, arXiv 2405.00977)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..encoder import Encoder
from ..errors import InputError
from ..model.checkpoint import Checkpoint, load_checkpoint
from .adapters import adapter_name, initial_adapter
from .batches import Batch, Texts
from .config import TrainingConfig
from .data import Shuffled
from .loop import pursue
from .losses import distillation_loss, late_interaction_scores
from .module import TrainableColBERT
from .pairs import Pair, PairsValidation, check_languages, hold_out
from .setup import HEAD, as_colbert_ai

PAIRS = TrainingConfig(batch_size=16, steps=1000, learning_rate=1e-3, validate_every=100, save_every=100)


def distil_language_adapter(
    checkpoint: str | Path,
    language: str,
    pairs: Sequence[Pair],
    output: str | Path,
    config: TrainingConfig = PAIRS,
    *,
    known_language: str = "en",
    start_from: str | None = None,
    resume: bool = False,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Train one language's adapter on parallel text, so that its texts score as their translations do.

    For each batch of pairs, the checkpoint's own scores of the known language's texts, each as a query against all as
    passages, are the teacher's. With queries, passages or both in the new language, the scores are to have the same
    distribution. Only this adapter changes. A tenth of the pairs, 100 at most, is held out: the best checkpoint is the
    one with which texts find their translations best among these, and may be the start.

    Parameters
    ----------
    checkpoint : str or Path
        Hub id, folder, or ``"demo"``, with language adapters.
    language : str
        BCP-47 code (``"ha"``) or the name of an adapter (``"ha_NG"``): new, or one to train further.
    pairs : sequence of Pair
        Texts in a language the checkpoint knows well, and the same in `language`: see `read_pairs`.
    output : str or Path
        Folder of the run: see `ragatouille_xm.training.train`.
    config : TrainingConfig
        Settings of the loop; a batch is of pairs. Lengths are the checkpoint's; `negatives`, `in_batch`,
        `distillation`, `dim` and `nbits` have no part in it.
    known_language : str
        Language of the pairs' known texts.
    start_from : str, optional
        As for `train_language_adapters`.
    resume, device, progress
        As for `ragatouille_xm.training.train`.

    Returns
    -------
    Path
        The best checkpoint's folder.

    Raises
    ------
    InputError
        If there are fewer than 20 pairs, the texts are in other languages than said, or `output` is invalid.
    LanguageError
        If a language is invalid, or the checkpoint has no adapters.
    CheckpointError
        If `checkpoint` cannot be loaded.
    MissingExtraError
        If accelerate is not installed.
    """
    pairs, held_out = hold_out(pairs, config.seed)
    settings = load_checkpoint(checkpoint).settings
    config = replace(config, query_maxlen=settings.query_maxlen, doc_maxlen=settings.doc_maxlen)
    return pursue(
        partial(Translation, language=language, known_language=known_language, start_from=start_from, pairs=pairs),
        _prepare,
        checkpoint,
        Shuffled(pairs, config.seed),
        output,
        config,
        validation=PairsValidation(held_out, known_language, language),
        resume=resume,
        device=device,
        progress=progress,
    )


def _prepare(checkpoint: Checkpoint, config: TrainingConfig) -> Checkpoint:
    checkpoint = as_colbert_ai(checkpoint)
    if HEAD not in checkpoint.weights.names:
        raise InputError(f"{checkpoint.name!r} is no ColBERT: without a head, it has nothing to teach. Train it first.")
    return checkpoint


class Translation:
    """Pairs of texts: the adapter of the second one's language is trained.

    Parameters
    ----------
    encoder : Encoder
    language, known_language, start_from
        As for `distil_language_adapter`.
    pairs : sequence of Pair
        To check that they are in these languages.
    """

    start_counts = True

    def __init__(
        self, encoder: Encoder, language: str, known_language: str, start_from: str | None, pairs: Sequence[Pair]
    ) -> None:
        adapters = encoder.checkpoint.adapters
        name = adapter_name(language, encoder.adapters)
        own = initial_adapter(name, encoder, start_from, 0)
        check_languages(pairs, encoder, known_language, language)
        self.module = TrainableColBERT(encoder, {name: own})
        self.config: Mapping[str, Any] = {"languages": [*adapters, *([name] if name not in adapters else [])]}
        self.metadata: Mapping[str, Any] = {}
        self._tokenizer, self._doc_maxlen = encoder.tokenizer, encoder.checkpoint.settings.doc_maxlen
        self._adapters = (encoder.adapters.adapter_for(known_language) or "", name)

    def collate(self, examples: Sequence[Pair]) -> Batch:
        """Make a batch of ``2 · b`` texts, the known language's first, both as queries and as passages."""
        texts = [pair.known for pair in examples] + [pair.new for pair in examples]
        adapters = [name for name in self._adapters for _ in examples]
        tokenised = self._tokenizer.queries(texts), self._tokenizer.documents(texts, self._doc_maxlen)
        queries, passages = (Texts(self._tokenizer.pad(tokens), adapters) for tokens in tokenised)
        return Batch(queries, passages, torch.eye(len(texts)).bool(), None, together=len(examples))

    def loss(self, queries: Tensor, passages: Tensor, batch: Batch) -> Tensor:
        """Return the mean divergence of three kinds of scores from the teacher's; see `translation_loss`."""
        queries = queries * batch.queries.tokens.scoring_mask.to(queries.device)[:, :, None]
        scored = batch.passages.tokens.scoring_mask.to(queries.device)
        return translation_loss(late_interaction_scores(queries, passages, scored))


def translation_loss(scores: Tensor) -> Tensor:
    """Return the mean divergence of the scores with translations from those without.

    Parameters
    ----------
    scores : torch.Tensor
        Shape ``(2 · b, 2 · b)``, of queries against passages, the known language's first: what it scores within itself
        is the teacher's.

    Returns
    -------
    torch.Tensor
        Shape ``()``; 0 if translations score as what they translate.

    Examples
    --------
    >>> one = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    >>> translation_loss(torch.cat([torch.cat([one, one], 1)] * 2)).item()
    0.0
    """
    b = len(scores) // 2
    teacher = scores[:b, :b].detach()
    students = (scores[b:, :b], scores[:b, b:], scores[b:, b:])
    losses = [distillation_loss(each, teacher) for each in students]
    return torch.stack(losses).mean()
