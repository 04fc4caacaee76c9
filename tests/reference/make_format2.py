"""Record indexes of format 2, which `ragatouille_xm.index.local.migration` reads.

    PYTHONPATH=<a checkout of commit 635d323> python tests/reference/make_format2.py

writes ``format2.tar.gz`` beside this file: ``float16`` and ``int8``, two parts each, one of which has lost
passages, with a codebook; and ``format2.json``: what they hold. Vectors follow from pids (`vectors_of`).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).parent
DIM = 8


def vectors_of(pid: int) -> torch.Tensor:
    """Return the token vectors (t, DIM) of a passage."""
    generator = torch.Generator().manual_seed(pid)
    return torch.nn.functional.normalize(torch.randn(1 + pid % 4, DIM, generator=generator), dim=1)


def main() -> None:
    from ragatouille_xm.index.local import merge as compaction
    from ragatouille_xm.index.local.index import EdgeIndex
    from ragatouille_xm.types import Passage, TokenVectors

    compaction.EXACT_BELOW = 20
    held = {}
    with tempfile.TemporaryDirectory() as folder:
        for storage in ("float16", "int8"):
            description = {
                "dim": DIM,
                "checkpoint": "tiny",
                "fingerprint": "f00d",
                "settings": {"max_document_length": 99},
            }
            path, passages = Path(folder, storage), []
            for pid in range(60):
                metadata = {"year": 1990 + pid / 7, "tags": ["a", "é"]} if pid % 3 else None
                passages.append(Passage(pid, f"d{pid // 2}", f"texte n° {pid}", ("fr", "zh-TW")[pid % 2], metadata))
            blocks = [vectors_of(passage.pid) for passage in passages]

            def some(first: int, last: int, passages=passages, blocks=blocks) -> tuple[list[Passage], TokenVectors]:
                lengths = torch.tensor([len(block) for block in blocks[first:last]])
                return passages[first:last], TokenVectors(torch.cat(blocks[first:last]), lengths)

            with EdgeIndex.build(path, storage=storage, **description) as draft:
                draft.add(*some(0, 50))
            index = EdgeIndex.open(path)
            index.add(*some(50, 60))
            index.delete(["d3", "d26"])
            assert len(index.manifest.parts) == 2
            assert index.manifest.codebook is not None
            index.close()
            held[storage] = [
                [p.pid, p.document_id, p.text, p.language, p.metadata] for p in passages if p.pid // 2 not in (3, 26)
            ]
        subprocess.run(
            ["tar", "--sparse", "-czf", HERE / "format2.tar.gz", "-C", folder, "float16", "int8"], check=True
        )
    (HERE / "format2.json").write_text(json.dumps(held, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
