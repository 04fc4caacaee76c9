"""Which checkpoints are saved in which form, and what is compared of the folders; for `make_saved.py` and the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHECKPOINTS: dict[str, dict[str, str]] = {  # name, which begins with the kind of `tiny` → metadata
    "xmod prefix": {},
    "xmod insert": {"marker": "insert"},
    "xmod markers": {"marker": "insert", "query_token_id": "▁the", "doc_token_id": "▁book"},
    "xlmr prefix": {},
    "bert": {},
}
FORMATS = {  # of each library, the form that it reads
    "colbert-ai": "colbert-ai",
    "sentence-transformers": "sentence-transformers",
    "pylate": "sentence-transformers",
}


def written(folder: Path) -> dict[str, Any]:
    """Return the content of the JSON files of a folder; of the tokeniser, what it puts around a text."""
    found: dict[str, Any] = {}
    for path in sorted([*folder.rglob("*.json"), *folder.glob("*.metadata")]):
        content = json.loads(path.read_text(encoding="utf-8"))
        name = path.relative_to(folder).as_posix()
        found[name] = content["post_processor"] if name == "tokenizer.json" else content
    return found
