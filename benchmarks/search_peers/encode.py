"""Token vectors of real texts, kept in files that any of the systems can read with numpy alone.

    python -m benchmarks.search_peers.encode FOLDER --data ../shared/data/A [--passages 86000] [--queries 50]

encodes, with the demo checkpoint, the collections and queries in ``--data`` (``<mask>`` fill on, as ColBERT has it) and
as many passages of ``FOLDER/passages.tsv`` as are wanted (`texts.py`). It goes on where it was broken off.
``FOLDER/A`` and ``FOLDER/more`` then hold parts ``NNNN.npz``: vectors (t, 128) float16, lengths (n,) int64, vocabulary
ids (t,) int32; ``FOLDER/queries.npz``: queries (q, 32, 128) float16, and the position of the passage that answers each.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ragatouille_xm.encoder import Encoder

LENGTH_A, LENGTH_MORE = 180, 64  # tokens at which a passage is cut off
AT_ONCE = 512


def encode_part(encoder: Encoder, path: Path, texts: Sequence[str], languages: Sequence[str], length: int) -> None:
    if path.exists():
        return
    start = time.process_time()
    found = encoder.encode_documents(texts, languages, max_length=length)
    assert found.ids is not None
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        np.savez(
            out,
            vectors=found.vectors.half().numpy(),
            lengths=found.lengths.numpy(),
            ids=found.ids.to(dtype=found.lengths.dtype).numpy().astype(np.int32),
        )
    os.replace(partial, path)
    rate = len(found.vectors) / (time.process_time() - start)
    print(path.name, languages[0], len(found.vectors), f"{rate:.0f} tokens/cpu-s", flush=True)


def read(path: Path) -> list[tuple[str, str]]:
    return [(key, text) for key, text in (line.split("\t", 1) for line in path.read_text("utf-8").splitlines())]


def collections(encoder: Encoder, data: Path, folder: Path, n_queries: int) -> None:
    """Encode the collections of a folder of retrieval sets, one part for each language, and their queries."""
    queries: list[np.ndarray] = []
    answers: list[int] = []
    before = 0
    for number, path in enumerate(sorted(each for each in data.iterdir() if each.is_dir())):
        rows = read(path / "collection.tsv")
        encode_part(encoder, folder / "A" / f"{number:04}.npz", [t for _, t in rows], [path.name] * len(rows), LENGTH_A)
        place = {key: before + i for i, (key, _) in enumerate(rows)}
        right = {line.split()[0]: line.split()[2] for line in (path / "qrels.tsv").read_text().splitlines()}
        asked = [(right[key], text) for key, text in read(path / "queries.tsv") if right[key] in place][:n_queries]
        if not (folder / "queries.npz").exists():
            queries.append(encoder.encode_queries([t for _, t in asked], [path.name] * len(asked)).half().numpy())
            answers += [place[key] for key, _ in asked]
        before += len(rows)
    if queries:
        np.savez(folder / "queries.npz", queries=np.concatenate(queries), answers=np.array(answers))


def more(encoder: Encoder, folder: Path, n_passages: int) -> None:
    """Encode passages of `texts.py`, part by part."""
    with (folder / "passages.tsv").open(encoding="utf-8") as lines:
        rows = (line.rstrip("\n").split("\t", 1) for line in islice(lines, n_passages))
        number = 0
        while some := list(islice(rows, AT_ONCE)):
            path = folder / "more" / f"{number:04}.npz"
            encode_part(encoder, path, [t for _, t in some], [language for language, _ in some], LENGTH_MORE)
            number += 1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--data", type=Path, default=Path("../shared/data/A"))
    options.add_argument("--passages", type=int, default=86_000, help="more passages than those in --data")
    options.add_argument("--queries", type=int, default=50, help="of each language")
    given = options.parse_args()
    for name in ("A", "more"):
        (given.folder / name).mkdir(parents=True, exist_ok=True)
    encoder = Encoder.from_pretrained("demo", device="cpu")
    collections(encoder, given.data, given.folder, given.queries)
    more(encoder, given.folder, given.passages)


if __name__ == "__main__":
    main()
