"""What does an index lose, and save, if similar token vectors of a passage are merged when it is built?

    python benchmarks/pooling.py --data ../shared/data/A [--passages 150] [--queries 60]

Sections of LibreOffice's help in 14 languages in one index (titles as queries, only those of the test part of
`demo_checkpoint/split.py`), encoded once by the demo checkpoint, the trained one if ./integrations/demo is installed or
on PYTHONPATH. Then for each pooling and storage an index is built of the same vectors:

- bytes of its files beside the database, for each token vector before pooling
- MRR@10 of the queries, by the default search; significance of the difference to the same storage unpooled
- overlap with the ten best by exact MaxSim of the unpooled vectors in float32
- CPU milliseconds of a query, encoded already, one thread, median of 60

``titles`` is the reverse, for very short passages: titles are indexed, the beginning of a section is the query.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from demo_checkpoint.split import languages_in
from machine import cpu
from retrieval import Set

from ragatouille_xm.demo.checkpoint import RECIPE
from ragatouille_xm.demo.delta import find_delta
from ragatouille_xm.encoder import Encoder
from ragatouille_xm.evaluation.significance import holm, paired_test
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.pooling import pool_tokens
from ragatouille_xm.scoring import maxsim
from ragatouille_xm.types import Passage, TokenVectors

POOLINGS, STORAGES = (1, 2, 3), ("int16", "int8")
K = 10
TIMED = 60
BATCH = 512
BEGINNING = 100  # characters of a section that ask for its title

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Collection:
    """Passages encoded, which of their rows the tokeniser added, and queries with the position of their answer."""

    vectors: TokenVectors
    added: list[bool]
    queries: torch.Tensor
    answers: list[int]
    encoding_ms: float  # CPU, for a passage

    @cached_property
    def truth(self) -> Array:
        """The ten best of each query by exact MaxSim."""
        return maxsim(self.queries, self.vectors.vectors, self.vectors.lengths).topk(K).indices.numpy()


@torch.inference_mode()
def encode(encoder: Encoder, texts: Sequence[tuple[str, str]], queries: Sequence[tuple[str, str, int]]) -> Collection:
    """Encode passages (language, text) and queries (language, text, position of the answer)."""
    start = time.process_time()
    vectors = encoder.encode_documents([text for _, text in texts], [language for language, _ in texts])
    took = time.process_time() - start
    asked = encoder.encode_queries([text for _, text, _ in queries], [language for language, _, _ in queries])
    added = [each for one in encoder.tokenise([text for _, text in texts]) for each in encoder.tokenizer.added(one)]
    return Collection(vectors, added, asked, [answer for _, _, answer in queries], 1000 * took / len(texts))


def collections(encoder: Encoder, data: Path, n_passages: int, n_queries: int) -> dict[str, Collection]:
    passages, queries, titles, beginnings = [], [], [], []
    for language in languages_in(data):
        found = Set.read(data / language).of_the_test()
        asked = list(found.queries)[:n_queries]
        kept = [*asked, *(key for key in found.passages if key not in found.queries)][:n_passages]
        queries += [(language, found.queries[key], len(passages) + i) for i, key in enumerate(asked)]
        passages += [(language, found.passages[key]) for key in kept]
        beginnings += [(language, found.passages[key][:BEGINNING], len(titles) + i) for i, key in enumerate(asked)]
        titles += [(language, title) for title in found.queries.values()]
    return {"passages": encode(encoder, passages, queries), "titles": encode(encoder, titles, beginnings)}


def build(folder: Path, vectors: TokenVectors, storage: str) -> None:
    given: dict[str, Any] = {"dim": vectors.dim, "checkpoint": "demo", "fingerprint": "", "settings": {}}
    blocks = list(vectors)
    with LocalIndex.build(folder, **given, storage=storage) as draft:
        for first in range(0, len(blocks), BATCH):
            some = blocks[first : first + BATCH]
            passages = [Passage(first + i, str(first + i), "", "en") for i in range(len(some))]
            draft.add(passages, TokenVectors(torch.cat(some), torch.tensor([len(block) for block in some])))


def reciprocal_ranks(found: Array, answers: Sequence[int]) -> Array:
    hits = found == np.array(answers)[:, None]
    return np.where(hits.any(1), 1 / (1 + hits.argmax(1)), 0.0)


def overlap(found: Array, truth: Array) -> float:
    return mean(len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True))


def measure(given: Collection) -> list[dict[str, Any]]:
    tokens = len(given.vectors.vectors)
    rows, ranks = [], {}
    for pooling in POOLINGS:
        start = time.process_time()
        pooled = pool_tokens(given.vectors, given.added, pooling)
        took = time.process_time() - start
        for storage in STORAGES:
            with TemporaryDirectory() as root:
                folder = Path(root) / "index"
                build(folder, pooled, storage)
                size = sum(path.stat().st_size for path in folder.iterdir() if not path.name.startswith("index.db"))
                index = LocalIndex.open(folder)
                row: dict[str, Any] = {
                    "pooling": pooling,
                    "storage": storage,
                    "rows_of_100_tokens": round(100 * len(pooled.vectors) / tokens, 1),
                    "bytes_a_token": round(size / tokens, 1),
                    "pooling_ms_a_passage": round(1000 * took / len(pooled), 2),
                }
                found = index.search(given.queries, K).pids
                ranks[pooling, storage] = reciprocal_ranks(found, given.answers)
                row["mrr"] = round(100 * float(ranks[pooling, storage].mean()), 2)
                row["overlap"] = round(overlap(found, given.truth), 4)
                row["ms"] = round(timed(index, given.queries), 2)
                index.close()
            rows.append(row)
            print(row, flush=True)
    compare(rows, ranks)
    return rows


def compare(rows: list[dict[str, Any]], ranks: dict[tuple[int, str], Array]) -> None:
    """Test the reciprocal ranks of each pooling against those of the same storage unpooled, with Holm's correction."""
    pooled = [row for row in rows if row["pooling"] > 1]
    values = [paired_test(ranks[row["pooling"], row["storage"]], ranks[1, row["storage"]]) for row in pooled]
    for row, p in zip(pooled, holm(values), strict=True):
        row["p_corrected"] = round(p, 4)


def timed(index: LocalIndex, queries: torch.Tensor) -> float:
    times = []
    for i in range(0, len(queries), max(len(queries) // TIMED, 1)):
        start = time.process_time()
        index.search(queries[i : i + 1], K)
        times.append(1000 * (time.process_time() - start))
    return median(times)


def machine() -> dict[str, Any]:
    return {"cpu": cpu(), "threads": torch.get_num_threads(), "torch": version("torch")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "A")
    parser.add_argument("--passages", type=int, default=150, help="of each language")
    parser.add_argument("--queries", type=int, default=60, help="of each language")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pooling.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    delta = find_delta(RECIPE)
    encoder = Encoder.from_pretrained("demo", device="cpu")
    report: dict[str, Any] = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "checkpoint": f"demo, trained ({delta.checksum[:8]})" if delta else "demo, untrained",
        "languages": len(languages_in(given.data)),
        "collections": {},
    }
    for name, collection in collections(encoder, given.data, given.passages, given.queries).items():
        lengths = collection.vectors.lengths
        report["collections"][name] = {
            "passages": len(lengths),
            "queries": len(collection.answers),
            "tokens_a_passage": round(float(lengths.float().mean()), 1),
            "encoding_ms_a_passage": round(collection.encoding_ms, 1),
            "rows": measure(collection),
        }
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
