"""Between our index format and colbert-ai's, without encoding anything again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..errors import IndexFormatError
from ..index.local.index import LocalIndex
from ..index.plaid.engine import PlaidIndex
from ..index.plaid.export import export_plaid
from ..index.plaid.folder import PlaidFolder
from ..index.plaid.records import Collection
from ..languages import AdapterTable
from ..model.checkpoint import DEMOS, load_checkpoint, locate
from ..opening import checkpoint_of, default_language
from .endpoints import check_folder, own_index


def convert_index(
    source: str | Path,
    target: str | Path,
    *,
    checkpoint: str | Path | None = None,
    language: str | None = None,
    collection: Collection | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> int:
    """Move an index of colbert-ai or RAGatouille into our format; return how many passages it has.

    The passages keep their numbers (unless the index replaces another), document ids and metadata, and the decoded
    vectors are kept as they are. All or nothing: an index at `target` serves until the new one is complete.

    Parameters
    ----------
    source : str or Path
        Is not changed.
    target : str or Path
        Folder of the new index. It may be `source`: the new files lie beside the old ones then, and count.
    checkpoint : str or Path, optional
        Where the checkpoint that filled it is now, if it has moved.
    language : str, optional
        Of all passages, and so of the queries; by default the checkpoint's default adapter's, as colbert-ai has it.
    collection : str, Path or sequence of str, optional
        The texts, for a folder that has none: see `ragatouille_xm.index.plaid.records.read_records`.
    overwrite : bool
        Replace an index of ours at `target`.
    progress : bool
        Draw a bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `source`, or its vectors are not the checkpoint's.
    CheckpointError
        If the checkpoint is not to be found.
    InputError
        If there is an index of ours at `target`, or `collection` is not usable.
    StorageError
        If the index cannot be written.
    """
    check_folder(target, overwrite)
    opened = PlaidFolder.open(source, collection)
    found = load_checkpoint(checkpoint_of(opened, checkpoint))
    dim = found.dim
    if dim != opened.codec.dim:
        raise IndexFormatError(
            f"The index at {str(source)!r} has vectors of {opened.codec.dim} dimensions, the checkpoint {found.name!r} "
            f"{dim}: another one filled it ({opened.checkpoint!r})."
        )
    adapters = AdapterTable(found.adapters, found.default_adapter)
    index = PlaidIndex(opened, default_language(adapters), None if language is None else adapters.resolve(language))
    with (
        LocalIndex.build(
            target,
            dim=dim,
            checkpoint=found.name,
            fingerprint=found.fingerprint,
            settings=index.settings,
            keep=False,
        ) as build,
        tqdm(total=len(index), desc="converting", unit="passage", disable=None if progress else True) as bar,
    ):
        first = build.reserve(len(opened.records))
        for passages, vectors in index.scroll(with_vectors=True):
            if vectors is not None:
                build.add([replace(passage, pid=first + passage.pid) for passage in passages], vectors)
            bar.update(len(passages))
    return len(index)


def export_index(
    source: str | Path,
    target: str | Path,
    *,
    nbits: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> int:
    """Write an index of ours as a folder that colbert-ai and RAGatouille open; return how many passages it has.

    Parameters
    ----------
    source : str or Path
        Folder of the index; is not changed.
    target : str or Path
        Must not exist.
    nbits : int, optional
        Bits for each dimension of a residual: 1, 2, 4 or 8. By default as RAGatouille has it.
    checkpoint : str or Path, optional
        The name of the checkpoint to write down, if others have it elsewhere.
    progress : bool
        Draw a bar.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If there is no usable index at `source`.
    InputError
        If there is something at `target`, the index is empty, or `nbits` does not suit it.
    StorageError
        If the folder cannot be written.
    """
    with own_index(source, " already: copy the folder.") as index:
        name = str(checkpoint if checkpoint is not None else index.checkpoint)
        return export_plaid(
            index,
            target,
            checkpoint=str(locate(name)) if name in DEMOS else name,
            max_document_length=int(index.settings["max_document_length"]),
            nbits=nbits,
            progress=progress,
        )
