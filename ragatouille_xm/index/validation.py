"""What every engine checks before it reads or writes anything."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import category

import torch

from ..errors import InputError
from ..types import Passage, TokenVectors
from .lexical import PieceCounts


def is_index_name(name: object) -> bool:
    r"""Return whether an index can have a name, in a folder or in a server.

    Examples
    --------
    >>> [is_index_name(name) for name in ("news", "näws é", "a/b", "..", "a\n", " ", None)]
    [True, True, False, False, False, False, False]
    """
    return isinstance(name, str) and name.strip() not in ("", ".", "..") and not any(map(_never_in_a_name, name))


def _never_in_a_name(character: str) -> bool:
    """Return whether a character separates folders, is a control character or a line break, or is no character."""
    return character in "/\\" or category(character) in ("Cc", "Cs", "Zl", "Zp")


def check_add(passages: Sequence[Passage], vectors: TokenVectors, dim: int) -> None:
    """Raise `InputError` unless the passages and their vectors can be stored together in an index of width `dim`."""
    seen: set[int] = set()
    for pid in (passage.pid for passage in passages):
        if not isinstance(pid, int) or isinstance(pid, bool) or not 0 <= pid < 2**63:
            raise InputError(f"A pid must be an int from 0 to 2**63 - 1, not {pid!r}: take it from reserve().")
        if pid in seen:
            raise InputError(f"The pid {pid} is given twice in one call.")
        seen.add(pid)
    for passage in passages:
        for name in ("document_id", "text", "language"):
            if not isinstance(value := getattr(passage, name), str):
                raise InputError(f"The {name} of passage {passage.pid} is {value!r}: give a string.")
    if vectors.vectors.ndim != 2 or vectors.dim != dim:
        raise InputError(
            f"The token vectors have the shape {tuple(vectors.vectors.shape)}; this index takes (T, {dim})."
        )
    if len(passages) != len(vectors):
        raise InputError(f"{len(passages)} passages were given with the vectors of {len(vectors)}.")
    lengths: list[int] = vectors.lengths.tolist()
    if sum(lengths) != len(vectors.vectors) or min(lengths, default=1) < 1:
        raise InputError(
            f"The lengths of the passages must be 1 or more and sum to the {len(vectors.vectors)} token vectors; "
            f"they sum to {sum(lengths)} and the smallest is {min(lengths, default=0)}."
        )
    # A sum is a quarter of the work, and is not finite if a value is not.
    if not vectors.vectors.sum(dtype=torch.float32).isfinite() and not vectors.vectors.isfinite().all():
        raise InputError(
            "The token vectors hold values that are not finite: the checkpoint or its precision is at fault."
        )


def check_pieces(pieces: PieceCounts | None, passages: int, *, expected: bool) -> None:
    """Raise `InputError` unless an index with lexical search gets the pieces of its passages, and another one none."""
    if pieces is None:
        if expected and passages:
            raise InputError("This index is made for lexical search: give the pieces of the passages as well.")
    elif not expected:
        raise InputError("This index was made without lexical search: it cannot keep pieces of passages.")
    elif len(pieces) != passages:
        raise InputError(f"{passages} passages were given with the pieces of {len(pieces)}.")


def check_hybrid(pieces: PieceCounts, queries: int, weight: float, *, lexical: bool) -> None:
    """Raise `InputError` unless the index keeps pieces, each query has its own, and `weight` is from 0 to 1."""
    if not lexical:
        raise InputError("This index was made without lexical search: index the documents again with lexical=True.")
    if len(pieces) != queries:
        raise InputError(f"{queries} queries were given with the pieces of {len(pieces)}.")
    if not 0 <= weight <= 1:
        raise InputError(f"The weight of lexical scores is {weight!r}: give a number from 0 to 1.")


def check_search(queries: torch.Tensor, k: int, dim: int) -> None:
    """Raise `InputError` unless the queries and `k` suit an index of width `dim`."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InputError(f"k must be an int of 1 or more, not {k!r}.")
    if queries.ndim != 3 or queries.shape[2] != dim:
        raise InputError(f"The queries have the shape {tuple(queries.shape)}; this index takes (Q, q_len, {dim}).")
    if not queries.isfinite().all():
        raise InputError("The queries hold values that are not finite: the checkpoint or its precision is at fault.")


def check_batch_size(batch_size: int) -> None:
    """Raise `InputError` unless batches have at least one passage."""
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or more, not {batch_size}.")


class PidSequence:
    """The pids of one write transaction: hands them out, and checks that they grow from call to call.

    Parameters
    ----------
    next_pid : int
        The first pid that was never handed out.

    Attributes
    ----------
    next_pid : int
        Likewise, now.

    Examples
    --------
    >>> pids = PidSequence(7)
    >>> pids.reserve(3), pids.next_pid
    (7, 10)
    """

    def __init__(self, next_pid: int) -> None:
        self.next_pid = next_pid
        self._last = -1

    def reserve(self, n: int) -> int:
        """Return the first of `n` pids that were never handed out before.

        Raises
        ------
        InputError
            If `n` is not a whole number from 0.
        """
        if not isinstance(n, int) or n < 0:
            raise InputError(f"reserve() takes a whole number of 0 or more, not {n!r}.")
        first, self.next_pid = self.next_pid, self.next_pid + n
        return first

    def advance(self, passages: Sequence[Passage]) -> None:
        """Move on to the passages of the next call, at least one.

        Raises
        ------
        InputError
            If one of them does not come after all passages before.
        """
        pids = [passage.pid for passage in passages]
        if min(pids) <= self._last:
            raise InputError(f"The pid {min(pids)} comes after {self._last} in one addition: take pids from reserve().")
        self._last = max(pids)
        self.next_pid = max(self.next_pid, self._last + 1)
