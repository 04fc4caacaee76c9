"""Record colbert-ai's training losses on drawn vectors. Run where colbert-ai 0.2.22 is, see README.md.

python make_training_golden.py
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from colbert.modeling.colbert import ColBERT, colbert_score
from golden import amend, versions
from torch.nn import functional as F

CASES = ((2, 2, 3, 4), (4, 2, 5, 7), (3, 4, 4, 6), (5, 1, 3, 3))  # queries, passages of each, tokens of each


def draw(n: int, nway: int, q: int, d: int, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return unit vectors of queries and passages, and which passage tokens count."""
    generator = torch.Generator().manual_seed(n * 100 + nway)
    queries = F.normalize(torch.randn(n, q, dim, generator=generator), dim=-1)
    passages = F.normalize(torch.randn(n * nway, d, dim, generator=generator), dim=-1)
    kept = torch.randint(1, d + 1, (n * nway,), generator=generator)
    return queries, passages, torch.arange(d)[None] < kept[:, None]


def record(case: tuple[int, int, int, int]) -> dict[str, Any]:
    nway = case[1]
    queries, passages, mask = draw(*case)
    config: Any = SimpleNamespace(nway=nway, interaction="colbert", total_visible_gpus=0)
    model: Any = SimpleNamespace(colbert_config=config)
    in_batch = ColBERT.compute_ib_loss(model, queries, passages, mask[:, :, None])
    own = colbert_score(queries.repeat_interleave(nway, 0), passages, mask[:, :, None], config=config)
    # as colbert.training.training.train has them in its loop
    scores = own.view(-1, nway)
    pairwise = torch.nn.CrossEntropyLoss()(scores, torch.zeros(len(scores), dtype=torch.long))
    teacher = torch.arange(float(scores.numel())).view(-1, nway) % 5
    divergence = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(
        F.log_softmax(scores, dim=-1), F.log_softmax(teacher, dim=-1)
    )
    tensors = {"queries": queries, "passages": passages, "scored": mask, "own": scores, "teacher": teacher}
    values = {"in_batch": in_batch, "pairwise": pairwise, "distillation": divergence}
    return {
        **{name: [round(x, 7) for x in value.float().flatten().tolist()] for name, value in tensors.items()},
        **{name: value.item() for name, value in values.items()},
        "shape": list(case),
    }


if __name__ == "__main__":
    amend("training.json", made_by=versions("colbert-ai", "torch"), cases={str(case): record(case) for case in CASES})
