"""What is in an index folder, whichever program made it, and the checkpoint that goes with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CheckpointError, IndexNotFoundError, InputError
from .files import absolute, without_secrets
from .index.base import PassageIndex
from .index.local.index import LocalIndex
from .index.plaid.engine import PlaidIndex
from .index.plaid.folder import PlaidFolder
from .index.plaid.records import Collection
from .languages import AdapterTable
from .model.checkpoint import locate

if TYPE_CHECKING:
    from .index.qdrant.index import QdrantIndex

ENGLISH = "en"


def check_index_path(path: object) -> None:
    """Raise `InputError` unless `path` can name an index."""
    if not isinstance(path, (str, Path)) or not str(path).strip():
        raise InputError(f"The index is {path!r}. Give its folder, or its name.")
    if isinstance(path, str) and "://" in path:
        address, _, name = without_secrets(path).rpartition("/")
        raise InputError(f"The index is at an address: give its name, {name!r}, and index_url={address!r}.")


def open_index(path: str | Path, collection: Collection | None = None) -> LocalIndex | PlaidFolder:
    """Open what is in an index folder: an index of our own, or one of colbert-ai or RAGatouille.

    Parameters
    ----------
    path : str or Path
    collection : str, Path or sequence of str, optional
        The texts of a colbert-ai folder that has none: see `ragatouille_xm.index.plaid.records.read_records`.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `path`.
    InputError
        If `collection` is not usable, or the index has its texts itself.
    """
    path = absolute(path)
    try:
        index = LocalIndex.open(path)
    except IndexNotFoundError:
        if not PlaidFolder.recognises(path):
            raise
        return PlaidFolder.open(path, collection)
    if collection is not None:
        index.close()
        raise InputError(f"The index at {str(path)!r} has its texts already: leave out the collection.")
    return index


def open_passages(path: str | Path) -> LocalIndex | PlaidIndex:
    """Open what is in an index folder, without its checkpoint; where colbert-ai tells no language, it is English."""
    index = open_index(path)
    return PlaidIndex(index, ENGLISH) if isinstance(index, PlaidFolder) else index


def optimize_passages(index: PassageIndex, storage: str | None = None) -> None:
    """Bring an index up to date, in a smaller storage if one is given.

    Raises
    ------
    InputError
        If the index cannot be converted to that storage.
    """
    if storage is not None:
        if not isinstance(index, LocalIndex):
            raise InputError("Only an index in a folder of ours can be converted to another storage.")
        index.convert(storage)
    index.optimize(refit=True)


def checkpoint_of(index: LocalIndex | PlaidFolder | QdrantIndex, given: str | Path | None = None) -> str | Path:
    """Return the checkpoint to search an index with: the one given, or the one that filled it.

    Raises
    ------
    CheckpointError
        If none is given and the one that filled it is no longer to be found.
    """
    if given is not None:
        return given
    way_out = "Say where the checkpoint is now: checkpoint=, or --checkpoint on the command line."
    if not index.checkpoint:
        raise CheckpointError(f"The index at {str(index.folder)!r} does not name its checkpoint. {way_out}")
    try:
        locate(index.checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{error} It filled the index at {str(index.folder)!r}. {way_out}") from error
    return index.checkpoint


def default_language(adapters: AdapterTable) -> str:
    """Return the language of texts that colbert-ai has encoded: it takes the checkpoint's default adapter for all."""
    return ENGLISH if adapters.default is None else adapters.resolve(adapters.default)
