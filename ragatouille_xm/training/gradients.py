"""The gradient of a batch: as a whole, or chunk by chunk with a gradient cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from .batches import Batch, Texts
from .config import TrainingConfig
from .losses import distillation_loss, in_batch_softmax_loss, late_interaction_scores, own_scores, pairwise_softmax_loss

Backward = Callable[[Tensor], object]
Loss = Callable[[Tensor, Tensor, Batch], Tensor]  # of a batch, from the vectors of its queries and passages


def batch_loss(queries: Tensor, passages: Tensor, batch: Batch, config: TrainingConfig) -> Tensor:
    """Return the loss of a batch from its vectors.

    Parameters
    ----------
    queries, passages : torch.Tensor
        Shapes ``(b, q, dim)`` and ``(b · n, L, dim)``, of all tokens.
    batch : Batch
    config : TrainingConfig

    Returns
    -------
    torch.Tensor
        Shape ``()``: pairwise softmax (or distillation), plus the in-batch softmax if enabled.
    """
    device = queries.device
    queries = queries * batch.queries.tokens.scoring_mask.to(device)[:, :, None]
    scored = batch.passages.tokens.scoring_mask.to(device)
    scores = late_interaction_scores(queries, passages, scored)
    own = own_scores(scores)
    loss = pairwise_softmax_loss(own) if batch.teacher is None else distillation_loss(own, batch.teacher.to(device))
    return loss + in_batch_softmax_loss(scores, batch.relevant.to(device)) if config.in_batch else loss


def plain_gradient(model: nn.Module, batch: Batch, loss_of: Loss, backward: Backward, share: float) -> float:
    """Add the gradient of `share` times the loss to the parameters; return the loss."""
    loss = loss_of(encode(model, batch.queries, batch.together), encode(model, batch.passages, batch.together), batch)
    backward(loss * share)
    return loss.item()


def cached_gradient(
    model: nn.Module,
    batch: Batch,
    loss_of: Loss,
    chunk_size: int,
    backward: Backward,
    share: float,
    no_sync: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> float:
    """Like `plain_gradient`, in the memory of `chunk_size` texts.

    Gao et al. 2021 ("Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP), section 3:
    all texts are encoded without a graph; the gradient of the loss with respect to the vectors is computed and kept;
    then each chunk is encoded again, and that gradient is propagated through it. The sum over the chunks is the
    gradient of the whole batch.

    Parameters
    ----------
    no_sync : callable, optional
        Context that keeps processes from exchanging gradients before the last chunk.
    """
    chunks = [texts.chunks(chunk_size) for texts in (batch.queries, batch.passages)]
    with torch.no_grad():
        vectors = [encode(model, texts, chunk_size) for texts in (batch.queries, batch.passages)]
    queries, passages = (each.requires_grad_() for each in vectors)
    loss = loss_of(queries, passages, batch)
    gradients = torch.autograd.grad(loss * share, (queries, passages))
    work = [
        (chunk, part)
        for each, gradient in zip(chunks, gradients, strict=True)
        for chunk, part in zip(each, gradient.split(len(each[0])), strict=True)
    ]
    for i, (chunk, part) in enumerate(work):
        with nullcontext() if i == len(work) - 1 else no_sync():
            found = encode(model, chunk)
            if found.requires_grad:  # not of texts whose adapter is frozen, when adapters alone are trained
                backward((found * part).sum())
    return loss.item()


def encode(model: nn.Module, texts: Texts, chunk_size: int | None = None) -> Tensor:
    """Return unit vectors of all tokens, ``(n, L, dim)``, at most `chunk_size` texts at a time."""
    parts = texts.chunks(chunk_size)
    vectors = [model(each.tokens.input_ids, each.tokens.attention_mask, each.adapters) for each in parts]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors)
