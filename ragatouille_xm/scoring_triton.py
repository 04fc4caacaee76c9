"""MaxSim on a GPU as one Triton kernel: token similarities never leave the chip.

Otherwise they are written to memory and read back, which for many queries is several times the traffic of the vectors
themselves. The idea is from Pony et al., "Flash-MaxSim: IO-Aware Fused Kernels for Late-Interaction Retrieval",
2026, arXiv:2605.29517. This kernel takes passages of any length at any offset, and vectors of 8-bit integers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROW_BLOCK = 128  # query rows that one program compares with a passage
TOKEN_BLOCK = 32  # passage tokens compared at a time
SMALLEST = 16  # side of a matrix product on tensor cores


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    queries,
    vectors,
    scales,
    starts,
    lengths,
    scores,
    groups,
    passages,
    dim,
    group_size: tl.constexpr,
    rows: tl.constexpr,
    width: tl.constexpr,
    token_block: tl.constexpr,
    scaled: tl.constexpr,
):
    # Programs of one passage are adjacent, so that its vectors are still in the cache.
    passage = tl.program_id(0) // groups
    group = tl.program_id(0) % groups
    start = tl.load(starts + passage)
    length = tl.load(lengths + passage).to(tl.int32)
    column = tl.arange(0, width)
    row = group * group_size * rows + tl.arange(0, group_size * rows)
    asked = tl.load(queries + row[:, None] * width + column[None, :])
    best = tl.full([group_size * rows], float("-inf"), tl.float32)
    for first in range(0, length, token_block):
        token = first + tl.arange(0, token_block)
        inside = token < length
        place = start + token  # 64 bits: an index may exceed 32
        held = inside[None, :] & (column < dim)[:, None]
        some = tl.load(vectors + place[None, :] * dim + column[:, None], mask=held, other=0)
        similarity = tl.dot(asked, some.to(asked.dtype))
        if scaled:
            similarity *= tl.load(scales + place, mask=inside, other=0)[None, :]
        best = tl.maximum(best, tl.max(tl.where(inside[None, :], similarity, float("-inf")), 1))
    total = tl.sum(tl.reshape(best, (group_size, rows)), 1)
    query = group * group_size + tl.arange(0, group_size)
    tl.store(scores + query.to(tl.int64) * passages + passage, total)


def maxsim(
    queries: torch.Tensor,
    vectors: torch.Tensor,
    starts: torch.Tensor,
    lengths: torch.Tensor,
    scales: torch.Tensor | None = None,
) -> torch.Tensor:
    """Score passages; all tensors are on one device.

    Parameters
    ----------
    queries : torch.Tensor
        Shape ``(Q, q, dim)``, floating; rounded to float16.
    vectors : torch.Tensor
        Shape ``(T, dim)``: float16 or int8. Copied if not contiguous.
    starts, lengths : torch.Tensor
        Shape ``(n,)``, int64: the first token vector of each passage, and their number.
    scales : torch.Tensor, optional
        Shape ``(T,)``, float32: the scale of each token vector.

    Returns
    -------
    torch.Tensor
        Shape ``(Q, n)``, float32, summed in float32.
    """
    count, rows, dim = queries.shape
    row_block = min(max(triton.next_power_of_2(rows), SMALLEST), ROW_BLOCK)
    pieces = triton.cdiv(rows, row_block)  # of a long query
    group = min(ROW_BLOCK // row_block, triton.next_power_of_2(count * pieces))
    groups = triton.cdiv(count * pieces, group)
    width = max(triton.next_power_of_2(dim), SMALLEST)
    # Rows of zeros add nothing to a score.
    padded = torch.zeros(groups * group, row_block, width, dtype=torch.float16, device=vectors.device)
    padded[: count * pieces].view(count, pieces * row_block, width)[:, :rows, :dim] = queries
    scores = torch.empty(len(padded), len(starts), device=vectors.device)
    if not scores.numel():
        return scores[:count]
    vectors = vectors.contiguous()  # the kernel assumes no strides
    with torch.cuda.device_of(vectors):  # Triton uses the current device
        _kernel[(groups * len(starts),)](
            padded,
            vectors,
            vectors if scales is None else scales.contiguous(),
            starts.contiguous(),
            lengths.contiguous(),
            scores,
            groups,
            len(starts),
            dim,
            group_size=group,
            rows=row_block,
            width=width,
            token_block=TOKEN_BLOCK,
            scaled=scales is not None,
        )
    return scores[: count * pieces].view(count, pieces, -1).sum(1)
