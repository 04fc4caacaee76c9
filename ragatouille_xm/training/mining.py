"""Hard negatives: irrelevant passages that the retriever itself ranks high."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence

import torch
from tqdm import tqdm

from ..encoder import Encoder
from ..errors import InputError
from ..index.exact import ExactIndex
from ..types import Passage

logger = logging.getLogger(__name__)

MAXIMUM_RANK = 110  # as in RAGatouille
TEXT_BATCH = 512
QUERY_BATCH = 64


def mine_hard_negatives(
    encoder: Encoder,
    queries: Sequence[str],
    passages: Sequence[str],
    known: Mapping[str, frozenset[str]],
    n: int = 10,
    *,
    minimum_rank: int = 10,
    maximum_rank: int = MAXIMUM_RANK,
    language: str | None = None,
    seed: int = 42,
    progress: bool = False,
) -> dict[str, list[str]]:
    """Draw negatives for each query from the top of an exhaustive search.

    Parameters
    ----------
    encoder : Encoder
    queries, passages : sequence of str
        Distinct.
    known : mapping of str to frozenset of str
        Passages to avoid for a query: its relevant ones, and its negatives so far.
    n : int
        Negatives per query; fewer only if fewer passages are left.
    minimum_rank, maximum_rank : int
        The best `minimum_rank` passages that are not known are skipped, since some may be unlabelled answers; negatives
        come from the ranks after them, up to `maximum_rank`. If there are not enough, the rest is drawn at random from
        all other passages, with one warning.
    language : str, optional
        Language of all texts; by default detected.
    seed : int
    progress : bool

    Returns
    -------
    dict of str to list of str
        By query; hardest first.

    Raises
    ------
    InputError
        If a number is invalid.

    Notes
    -----
    Xiong et al. 2021 (ANCE, ICLR): negatives from the model's own ranking. Ranks 10 to 110 as in RAGatouille, which
    uses another model for it.
    """
    _check_ranks(n, minimum_rank, maximum_rank)
    index = _index_of(encoder, passages, language, progress)
    result: dict[str, list[str]] = {}
    generator = random.Random(seed)
    short = 0
    for start in tqdm(range(0, len(queries), QUERY_BATCH), desc="mining", disable=None if progress else True):
        batch = list(queries[start : start + QUERY_BATCH])
        vectors = encoder.encode_queries(batch, _languages(encoder, batch, language))
        k = min(len(passages), maximum_rank + max(len(known.get(query, ())) for query in batch))
        for query, pids in zip(batch, index.search(vectors, k).pids.tolist(), strict=True):
            avoided = known.get(query, frozenset())
            ranked = [passages[pid] for pid in pids if pid >= 0 and passages[pid] not in avoided]
            window = ranked[minimum_rank:maximum_rank]
            drawn = sorted(generator.sample(range(len(window)), min(n, len(window))))
            found = [window[i] for i in drawn]
            if len(found) < n:
                more = [text for text in passages if text not in avoided and text not in found]
                found += generator.sample(more, min(n - len(found), len(more)))
                short += 1
            result[query] = found
    if short:
        logger.warning(
            "for %d of %d queries fewer than %d passages rank from %d to %d: the rest of their negatives are random",
            short,
            len(queries),
            n,
            minimum_rank,
            maximum_rank,
        )
    return result


def draw_negatives(
    queries: Sequence[str], passages: Sequence[str], known: Mapping[str, frozenset[str]], n: int, *, seed: int = 42
) -> dict[str, list[str]]:
    """Draw random negatives for each query, avoiding known passages.

    Examples
    --------
    >>> draw_negatives(["q"], ["a", "b"], {"q": frozenset({"a"})}, 5)
    {'q': ['b']}
    """
    generator = random.Random(seed)
    result = {}
    for query in queries:
        avoided = known.get(query, frozenset())
        drawn = generator.sample(range(len(passages)), min(n + len(avoided), len(passages)))
        result[query] = [passages[i] for i in drawn if passages[i] not in avoided][:n]
    return result


def _index_of(encoder: Encoder, passages: Sequence[str], language: str | None, progress: bool) -> ExactIndex:
    index = ExactIndex(encoder.dim, device=encoder.model.device, dtype=torch.float16)
    with tqdm(total=len(passages), desc="encoding", unit="passage", disable=None if progress else True) as bar:
        for start in range(0, len(passages), TEXT_BATCH):
            texts = list(passages[start : start + TEXT_BATCH])
            languages = _languages(encoder, texts, language)
            vectors = encoder.encode_documents(texts, languages, on_batch=bar.update)
            rows = enumerate(zip(texts, languages, strict=True), start=start)
            index.add([Passage(pid, str(pid), text, each, None) for pid, (text, each) in rows], vectors)
    return index


def _languages(encoder: Encoder, texts: Sequence[str], language: str | None) -> list[str]:
    if language is not None:
        return [encoder.adapters.resolve(language)] * len(texts)
    return [each.language for each in encoder.detect(texts)]


def _check_ranks(n: int, minimum_rank: int, maximum_rank: int) -> None:
    if n < 1:
        raise InputError(f"{n} negatives per query are not enough: give 1 or more.")
    if not isinstance(minimum_rank, int) or not 0 <= minimum_rank < maximum_rank:
        raise InputError(
            f"Negatives cannot come from the ranks {minimum_rank!r} to {maximum_rank}: give a whole number of 0 or "
            f"more as the minimum rank, below {maximum_rank}."
        )
