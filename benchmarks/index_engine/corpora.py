"""A corpus of token vectors for any number of passages: real ones, and mixtures where there are not so many."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from search_peers.corpora import corpora, exact_top
from search_peers.system import Corpus, K

SMALL = 1000  # passages of the smallest corpus that is drawn; smaller ones are its beginning
LARGE, CUT = 100_000, 64  # with more passages than this, those of the source are cut off at so many tokens


def corpus(source: Path, scratch: Path, passages: int, queries: int) -> Path:
    """Return the folder of a corpus of so many passages, made if need be."""
    if passages < SMALL:
        return beginning(corpus(source, scratch, SMALL, queries), scratch / f"real-{passages}", passages)
    if passages > LARGE:
        source = cut(source, scratch / f"source-{CUT}")
    there = sum(len(np.load(path)["lengths"]) for path in source.glob("*/*.npz"))
    name = f"{'real' if passages <= there else 'mixed'}-{passages}"
    [folder] = corpora(source, scratch, [name], queries, K)
    return folder


def beginning(whole: Path, folder: Path, passages: int) -> Path:
    """Write the first passages of a corpus, with all its queries."""
    if not (folder / "exact.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        vectors, lengths = Corpus.open(whole)
        np.save(folder / "lengths.npy", lengths[:passages])
        np.save(folder / "vectors.npy", vectors[: lengths[:passages].sum()])
        shutil.copy(whole / "queries.npy", folder)
        exact_top(folder, min(K, passages))
    return folder


def cut(source: Path, folder: Path) -> Path:
    """Write the source again, with no passage longer than `CUT` tokens."""
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        for path in sorted(source.glob("*/*.npz")):
            part = np.load(path)
            lengths = part["lengths"]
            place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            (partial / path.parent.name).mkdir(parents=True, exist_ok=True)
            np.savez(
                partial / path.parent.name / path.name,
                vectors=part["vectors"][place < CUT],
                lengths=np.minimum(lengths, CUT),
            )
        shutil.copy(source / "queries.npz", partial)
        partial.rename(folder)
    return folder
