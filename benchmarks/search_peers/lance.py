"""LanceDB: rows of vectors in one table, with an index of product codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from search_peers.system import Corpus, K, Search


def build_lance(corpus: Corpus, folder: Path) -> None:
    import lancedb
    import pyarrow as pa

    schema = pa.schema([("position", pa.int64()), ("vector", pa.list_(pa.list_(pa.float32(), 128)))])

    def batches() -> Iterator[pa.RecordBatch]:
        for first, vectors, lengths in corpus.blocks():
            rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), 128)
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
            positions = pa.array(np.arange(first, first + len(lengths)))
            yield pa.RecordBatch.from_arrays([positions, pa.ListArray.from_arrays(offsets, rows)], schema=schema)

    table = lancedb.connect(str(folder / "index")).create_table("t", data=batches(), schema=schema)
    table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_PQ")


def lance(probes: int, refine: int) -> Callable[[Path, Corpus], Search]:
    def open_index(folder: Path, corpus: Corpus) -> Search:
        import lancedb

        table = lancedb.connect(str(folder / "index")).open_table("t")

        def find(query: np.ndarray[Any, Any]) -> list[int]:
            search = table.search(query, vector_column_name="vector").nprobes(probes).refine_factor(refine).limit(K)
            return [row["position"] for row in search.select(["position"]).to_list()]

        return find

    return open_index


LANCE = {"default probes, refine 10": lance(20, 10), "refine 40": lance(20, 40)}
