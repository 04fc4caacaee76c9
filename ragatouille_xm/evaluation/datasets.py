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
        one whose subfolders, one per language, have them and are combined into one collection.

    Raises
    ------
    InputError
        If there is no such dataset, or one of its files cannot be read; the message names file and line.
    MissingExtraError
        If ir_datasets is needed and not installed.
    """
    folder = find_folder(name)
    return load_from_catalogue(name) if folder is None else load_folder(folder)
