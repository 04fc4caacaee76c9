"""Masked-language modelling: hiding tokens, and the head that predicts them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.checkpoint import Checkpoint

HEAD_NAMES = ("dense.weight", "dense.bias", "layer_norm.weight", "layer_norm.bias", "bias")
_PREFIX = "lm_head."


class Masked(NamedTuple):
    """Token ids, some of them hidden.

    Attributes
    ----------
    input_ids : torch.Tensor
        Shape ``(b, L)``.
    chosen : torch.Tensor
        Shape ``(b, L)``, bool: the tokens to predict.
    """

    input_ids: Tensor
    chosen: Tensor


def hide_tokens(
    input_ids: Tensor, text: Tensor, mask_id: int, candidates: Tensor, generator: torch.Generator, share: float = 0.15
) -> Masked:
    """Choose tokens to predict: 80 % of these become the mask, 10 % another token, and 10 % stay.

    Parameters
    ----------
    input_ids : torch.Tensor
        Shape ``(b, L)``, int64, on the CPU.
    text : torch.Tensor
        Shape ``(b, L)``, bool: eligible tokens (no special tokens, marker or padding). At least one is chosen.
    mask_id : int
    candidates : torch.Tensor
        Shape ``(c,)``, int64: possible replacements.
    generator : torch.Generator
    share : float
        Share of tokens to choose.

    Notes
    -----
    Devlin et al. 2019 (BERT, NAACL), section 3.1.
    """
    chance = torch.rand(input_ids.shape, generator=generator)
    chosen = text & (chance < share)
    if not chosen.any():
        chosen = text & (chance == chance[text].min())
    what = torch.rand(input_ids.shape, generator=generator)
    others = candidates[torch.randint(len(candidates), input_ids.shape, generator=generator)]
    hidden = torch.where(what < 0.8, torch.full_like(input_ids, mask_id), torch.where(what < 0.9, others, input_ids))
    return Masked(torch.where(chosen, hidden, input_ids), chosen)


class MaskedLanguageHead(nn.Module):
    """From hidden states to words: dense, GELU, LayerNorm, the product with the word embeddings, and a bias.

    It has the layout and names of transformers' X-MOD head (``lm_head.…``). If the checkpoint has one, it is used
    frozen. If not (ColBERT training drops it), a new one starts as the identity: the hidden states of a model trained
    for another task are not aligned with the word embeddings, and without a transform the adapter would have to rotate
    them, which would harm retrieval. It is trained along with the adapters and kept in the checkpoint for the next
    language.

    Parameters
    ----------
    checkpoint : Checkpoint
    words : torch.Tensor
        Shape ``(vocabulary, hidden)``: the word embeddings, frozen.
    candidates : torch.Tensor
        Shape ``(c,)``, int64, increasing: the ids to choose from, which are those in the training texts. A softmax over
        all 250,002 of XLM-R would cost more than the model, mostly for words of other languages.
    eps : float
        The LayerNorm's.
    """

    def __init__(self, checkpoint: Checkpoint, words: Tensor, candidates: Tensor, eps: float) -> None:
        super().__init__()
        hidden = words.shape[1]
        self.dense = nn.Linear(hidden, hidden)
        self.layer_norm = nn.LayerNorm(hidden, eps)
        self.bias = nn.Parameter(torch.zeros(len(words)))
        self.stored = set(checkpoint.weights.names) >= {_PREFIX + name for name in HEAD_NAMES}
        if self.stored:
            self.load_state_dict({name: checkpoint.weights.get(_PREFIX + name).float() for name in HEAD_NAMES})
            self.requires_grad_(False)
        else:
            nn.init.eye_(self.dense.weight)
            nn.init.zeros_(self.dense.bias)
        self.to(words.device)
        self.register_buffer("candidates", candidates.to(words.device), persistent=False)
        self.register_buffer("words", words.detach()[self.candidates].float(), persistent=False)

    candidates: Tensor
    words: Tensor

    def forward(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return the mean cross-entropy of predicting `ids` ``(m,)`` from `states` ``(m, hidden)``."""
        x = self.layer_norm(F.gelu(self.dense(states)))
        logits = F.linear(x, self.words, self.bias[self.candidates])
        return F.cross_entropy(logits.float(), torch.searchsorted(self.candidates, ids.to(self.candidates.device)))

    def stored_tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store in a checkpoint, on the CPU."""
        return {_PREFIX + name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
