"""Retrieval sets by name: published benchmarks through ir_datasets, and folders of tsv."""

from __future__ import annotations

from .catalogue import load_from_catalogue
from .dataset import Dataset
from .folders import find_folder, load_folder


def load_dataset(name: str) -> Dataset:
    """Open a retrieval set.

    Parameters
    ----------
    name : str
        ``"mmarco/<language>"`` (dev small, 6,980 queries), ``"mr-tydi/<language>"`` (test), ``"miracl/<language>"``
        (dev), any other id of ir_datasets; or a folder with ``collection.tsv``, ``queries.tsv`` and ``qrels.tsv``, or
        one whose subfolders have them, one for each language, which makes one collection of all.

    Raises
    ------
    InputError
        If there is no such dataset, or a file of it cannot be read; file and line are named.
    MissingExtraError
        If ir_datasets is needed and not installed.
    """
    folder = find_folder(name)
    return load_from_catalogue(name) if folder is None else load_folder(folder)
