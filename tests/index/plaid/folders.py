"""Folders of colbert-ai for tests: the recorded ones, and those that our exporter makes of random vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.index.plaid.engine import PlaidIndex
from ragatouille_xm.index.plaid.export import export_plaid
from ragatouille_xm.index.plaid.folder import PlaidFolder
from ragatouille_xm.types import Passage, TokenVectors

REFERENCE = Path(__file__).parents[2] / "reference"
RECORDED = REFERENCE / "plaid"
ANSWERS: dict[str, Any] = json.loads((REFERENCE / "plaid.json").read_text(encoding="utf-8"))
NAMES = list(ANSWERS["folders"])


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random vectors of unit length."""
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def filled(n: int = 60, dim: int = 32, seed: int = 0) -> ExactIndex:
    """Return an index of random passages; every third pid is left out, and two passages make a document."""
    index = ExactIndex(dim)
    lengths = torch.randint(1, 12, (n,), generator=torch.Generator().manual_seed(seed))
    languages = ("en", "fr", "zh-TW")
    passages = [
        Passage(i + i // 2, f"d{i // 2}", f"text {i}", languages[i % 3], {"n": i // 2} if i % 4 < 2 else None)
        for i in range(n)
    ]
    index.add(passages, TokenVectors(unit(int(lengths.sum()), dim, seed=seed), lengths))
    return index


def exported(index: ExactIndex, folder: Path, **options: Any) -> PlaidIndex:
    """Export an index and open what was written."""
    export_plaid(index, folder, **{"checkpoint": "tiny", "max_document_length": 64} | options)
    return PlaidIndex(PlaidFolder.open(folder), "en")


def assert_inverted(opened: PlaidFolder) -> None:
    """Check that the passages of each centroid are those of which a token has it."""
    pids = torch.arange(len(opened.lengths)).repeat_interleave(opened.lengths)
    of = torch.cat([chunk.codes for chunk in opened.chunks]).long()
    start = 0
    for cell, end in enumerate(opened.ends.tolist()):
        assert opened.inverted[start:end].tolist() == sorted(set(pids[of == cell].tolist()))
        start = end


def decoded(index: PlaidIndex) -> ExactIndex:
    """Return an exact index over the decoded vectors."""
    exact = ExactIndex(index.dim)
    for passages, vectors in index.scroll(with_vectors=True, batch_size=7):
        exact.add(passages, vectors)
    return exact
