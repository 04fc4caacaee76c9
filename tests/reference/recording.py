"""How the owners of checkpoint formats are recorded: the folder that they wrote, and what they make of texts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from golden import HERE, amend, versions
from texts import DOCUMENTS, QUERIES, TOKENS

FOLDERS = HERE / "checkpoints"
FILE = "checkpoints.json"
_NAMES = ("leading_blanks", "trailing_blank", "markers", "mask_typed", "specials_glued", "punctuation_apart")
RECORDED_DOCUMENTS = (*DOCUMENTS[:7], "", "?! ... , ;", DOCUMENTS[-1], *(TOKENS[name] for name in _NAMES))
# Ours keeps all tokens of a longer query, and these are not longer than any checkpoint's.
RECORDED_QUERIES = (*QUERIES[:4], "", "  the [Q] book ", "?!", "the <mask>")


class Text(NamedTuple):
    """What a library makes of a text: a row for each token."""

    ids: Any
    attended: Any
    scored: Any
    vectors: Any  # of the scored tokens only


def save(
    name: str, folder: Path, queries: Sequence[Text], documents: Sequence[Text], scores: Any, *made_by: str
) -> None:
    """Keep a folder of a checkpoint, and what its owner makes of `RECORDED_QUERIES` and `RECORDED_DOCUMENTS`."""
    target = FOLDERS / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("README.md", ".git*", "sparse_linear.pt"))
    arrays: dict[str, Any] = {"scores": np.asarray(scores, np.float32)}
    for kind, texts in (("query", queries), ("doc", documents)):
        arrays[f"{kind}_lengths"] = np.array([len(text.ids) for text in texts], np.int32)
        for part in Text._fields:
            dtype = {"ids": np.int32, "vectors": np.float32}.get(part, bool)
            arrays[f"{kind}_{part}"] = np.concatenate([np.asarray(getattr(text, part), dtype) for text in texts])
    np.savez_compressed(FOLDERS / f"{name}.npz", **arrays)
    amend(
        FILE,
        documents=list(RECORDED_DOCUMENTS),
        queries=list(RECORDED_QUERIES),
        **{name: {"made_by": versions(*made_by)}},
    )
