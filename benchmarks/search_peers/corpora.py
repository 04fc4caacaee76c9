"""The corpora of the search benchmark, as numpy files: real token vectors, mixtures of them, and synthetic ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Vectors = np.ndarray[Any, Any]
DIM, SYNTHETIC_LENGTH, CLUSTERS, SPREAD, MOVED = 128, 64, 200_000, 0.6, 0.3
AT_ONCE = 4096  # passages


def real(source: Path, passages: int, queries: int, folder: Path) -> None:
    """Write `passages` real ones: those of data A in random order, then more; and queries whose answer is in it."""
    parts = [np.load(path) for name in ("A", "more") for path in sorted((source / name).glob("*.npz"))]
    sizes = [len(part["lengths"]) for part in parts]
    in_a = sum(sizes[: len(list((source / "A").glob("*.npz")))])
    order = np.concatenate([np.random.default_rng(0).permutation(in_a), np.arange(in_a, sum(sizes))])[:passages]
    blocks = [block for part in parts for block in np.split(part["vectors"], np.cumsum(part["lengths"])[:-1])]
    found = [blocks[i] for i in order]
    place = {int(old): new for new, old in enumerate(order)}
    asked = np.load(source / "queries.npz")
    known = [i for i, answer in enumerate(asked["answers"]) if int(answer) in place]
    known = known[:: max(len(known) // queries, 1)][:queries]
    np.save(folder / "vectors.npy", np.concatenate(found))
    np.save(folder / "lengths.npy", np.array([len(block) for block in found], dtype=np.int64))
    np.save(folder / "queries.npy", asked["queries"][known].astype(np.float32))
    np.save(folder / "answers.npy", np.array([place[int(asked["answers"][i])] for i in known]))


def synthetic(passages: int, queries: int, folder: Path) -> None:
    """Write passages whose tokens lie around common centres, some far more often than others; they have no topics.

    A query's rows are tokens of one passage moved a little, with half of the rows near their mean, as fills are.
    """
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((CLUSTERS, DIM), dtype=np.float32))
    shape = (passages * SYNTHETIC_LENGTH, DIM)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, shape)
    for first in range(0, passages, AT_ONCE):
        n = min(AT_ONCE, passages - first) * SYNTHETIC_LENGTH
        which = (CLUSTERS * rng.random(n) ** 3).astype(np.int64)  # frequent and rare ones
        noise = rng.standard_normal((n, DIM), dtype=np.float32) * (SPREAD / DIM**0.5)
        vectors[first * SYNTHETIC_LENGTH :][:n] = unit(centres[which] + noise)
    asked = []
    for passage in rng.integers(0, passages, queries):
        rows = np.array(vectors[passage * SYNTHETIC_LENGTH :][:16], dtype=np.float32)
        moved = unit(rows + rng.standard_normal(rows.shape, dtype=np.float32) * (0.5 / DIM**0.5))
        fills = unit(moved.mean(0) + rng.standard_normal(rows.shape, dtype=np.float32) * (0.2 / DIM**0.5))
        asked.append(np.concatenate([moved, fills]))
    vectors.flush()
    np.save(folder / "lengths.npy", np.full(passages, SYNTHETIC_LENGTH, dtype=np.int64))
    np.save(folder / "queries.npy", np.array(asked, dtype=np.float32))


def mixed(source: Path, passages: int, queries: int, folder: Path) -> None:
    """Write passages of the first half of one real passage and the second half of another, each token moved a little.

    The queries are real ones. So a corpus of any size has the topics of the real one, each in many passages.
    """
    real(source, 100_000, queries, folder)
    (folder / "answers.npy").unlink()
    rng, tokens, lengths = np.random.default_rng(0), np.load(folder / "vectors.npy"), np.load(folder / "lengths.npy")
    ends = np.cumsum(lengths)
    halves = ends - lengths // 2
    first, second = (rng.integers(0, len(lengths), passages) for _ in range(2))
    sizes = lengths[first] - lengths[first] // 2 + lengths[second] // 2
    shape = (int(sizes.sum()), DIM)
    vectors = np.lib.format.open_memmap(folder / "mixed.npy", "w+", np.float16, shape)
    row = 0
    for some in np.split(np.arange(passages), range(AT_ONCE, passages, AT_ONCE)):
        pairs = zip(first[some], second[some], strict=True)
        ranges = [(ends[a] - lengths[a], halves[a], halves[b], ends[b]) for a, b in pairs]
        chosen = np.concatenate([np.r_[a:b, c:d] for a, b, c, d in ranges])
        noise = rng.standard_normal((len(chosen), DIM), dtype=np.float32) * (MOVED / DIM**0.5)
        vectors[row : row + len(chosen)] = unit(tokens[chosen] + noise)
        row += len(chosen)
    vectors.flush()
    (folder / "mixed.npy").replace(folder / "vectors.npy")
    np.save(folder / "lengths.npy", sizes)


def unit(rows: Vectors) -> Vectors:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def exact_top(folder: Path, k: int) -> None:
    """Write the best `k` of each query by exact MaxSim, with ties at the end of the list cut off by position."""
    import torch

    from ragatouille_xm.scoring import maxsim

    vectors = torch.from_numpy(np.load(folder / "vectors.npy", mmap_mode="c"))
    lengths = torch.from_numpy(np.load(folder / "lengths.npy"))
    queries = torch.from_numpy(np.load(folder / "queries.npy"))
    scores = torch.cat([maxsim(some, vectors, lengths) for some in queries.split(32)])
    np.save(folder / "exact.npy", scores.topk(k).indices.numpy())


def corpora(source: Path, scratch: Path, names: list[str], queries: int, k: int) -> Iterator[Path]:
    """Yield the folder of each corpus, ``real-10000``, ``mixed-1000000`` or ``synthetic-1000000``, made if need be."""
    for name in names:
        kind, passages = name.split("-")
        folder = scratch / name
        if not (folder / "exact.npy").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if kind == "synthetic":
                synthetic(int(passages), queries, folder)
            else:
                {"real": real, "mixed": mixed}[kind](source, int(passages), queries, folder)
            exact_top(folder, k)
        yield folder
