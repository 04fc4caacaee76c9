"""Looks at an index folder: whether its parts are whole and say what the manifest says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import INDEXES_FOLDER
from ..errors import IndexNotFoundError
from .checkpoint import open_checkpoint
from .report import FAULT, NOTE, Check, attempt, command, describe_error

if TYPE_CHECKING:
    import torch

    from ..index.local.manifest import Manifest, PartEntry
    from ..index.local.segment import Part
    from ..types import Passage

SAMPLE = 64  # passages of each part
UNIT = 0.01  # float16 keeps the length of a unit vector within a thousandth


def examine_index(folder: Path, *, full: bool = False) -> Iterator[Check]:
    """Look at the manifest of an index, every part that it names, the codebook, and its checkpoint.

    Parts are opened, their files compared with the sizes that were recorded, and their passages counted; up to 64
    passages of each are read, all with `full`: texts and unit vectors must be there, and the passage be found by its
    document's id and its language. With `full`, the checksums of the files are compared too.
    """
    try:
        from ..index.local.manifest import Manifest

        manifest = Manifest.read(folder)
    except IndexNotFoundError as error:
        yield from _no_manifest(folder, error)
        return
    except Exception as error:
        yield Check("manifest", describe_error(error), FAULT, _rebuild(folder))
        return
    check = _manifest(folder, manifest)
    yield check
    if check.status == FAULT:
        return
    yield from _parts(folder, manifest, full)
    if manifest.codebook is not None:
        yield attempt("codebook", lambda: _codebook(folder, manifest, full), _rebuild(folder, manifest))
    yield from _left_behind(folder, manifest)
    yield _checkpoint(folder, manifest)


def _rebuild(folder: Path, manifest: Manifest | None = None) -> str:
    """Return the command that builds the index anew."""
    checkpoint = ["--checkpoint", manifest.checkpoint] if manifest is not None else []
    above = folder.resolve().parents
    in_place = len(above) > 2 and above[0] == above[2] / INDEXES_FOLDER
    root = ["--root", str(above[2])] if in_place else []
    return command("ragatouille-xm", "index", "PATH", "--name", folder.name, *root, *checkpoint)


def _no_manifest(folder: Path, error: Exception) -> Iterator[Check]:
    """Look at a folder of colbert-ai, if it is one."""
    from ..index.plaid.folder import PlaidFolder

    if not PlaidFolder.recognises(folder):
        yield Check("manifest", describe_error(error), FAULT, _rebuild(folder))
        return
    try:
        opened = PlaidFolder.open(folder)
    except Exception as damage:
        yield Check("files", describe_error(damage), FAULT, f"copy the folder again, or: {_rebuild(folder)}")
        return
    n = sum(record is not None for record in opened.records)
    found = f"{folder}: {n:,} passages in the format of colbert-ai and RAGatouille, which is searched as it is"
    yield Check("files", found, NOTE, command("ragatouille-xm", "convert", str(folder), "--name", folder.name))
    checkpoint = open_checkpoint(opened.checkpoint)
    if isinstance(checkpoint, Check):
        yield checkpoint
    else:
        yield Check("checkpoint", f"{opened.checkpoint}; the folder does not tell which weights filled it")


def _manifest(folder: Path, manifest: Manifest) -> Check:
    counts = f"passages: {manifest.passages:,}, parts: {len(manifest.parts)}, dimensions: {manifest.dim}"
    wrong = [part.name for part in manifest.parts if part.alive < 0 or part.tokens < part.passages]
    if wrong or manifest.dim < 1:
        return Check("manifest", f"{counts}; {wrong[:1] or 'dim'} cannot be so", FAULT, _rebuild(folder, manifest))
    return Check("manifest", f"{folder}: {counts}")


def _parts(folder: Path, manifest: Manifest, full: bool) -> Iterator[Check]:
    """Yield the faults of each part; one check for all if there are none."""
    seen: set[int] = set()
    n_read = faults = 0
    for entry in manifest.parts:
        try:
            found, n = _examine_part(folder, manifest, entry, seen, full)
        except Exception as error:
            found, n = describe_error(error), 0
        n_read += n
        if found is not None:
            faults += 1
            yield Check(entry.name, found, FAULT, _rebuild(folder, manifest))
    if manifest.parts and not faults:
        total = sum(part.passages for part in manifest.parts)
        read = f"{n_read:,} of {total:,} passages sound" if n_read < total else "all passages sound"
        files = "whole, their checksums right" if full else "complete (--full compares checksums)"
        yield Check("parts", f"files {files}, counts as in the manifest; vectors of {read}")


def _examine_part(
    folder: Path, manifest: Manifest, entry: PartEntry, seen: set[int], full: bool
) -> tuple[str | None, int]:
    """Return what is wrong with a part, and the number of passages whose vectors were read."""
    from ..index.local.inventory import altered_files
    from ..index.local.segment import Part

    if full and (altered := altered_files(folder / entry.name)):
        return f"{altered[0]} is damaged: its checksum is another one", 0
    part = Part.load(folder / entry.name, manifest.dim, manifest.storage, entry.passages)
    try:
        alive = set(part.pids()) - set(entry.deleted)
        if len(alive) != entry.alive:
            return f"{entry.passages - len(alive)} of its pids are deleted, not {len(entry.deleted)}", 0
        if alive & seen:
            return f"pid {min(alive & seen)} is in another part too", 0
        if max(alive, default=-1) >= manifest.next_pid:
            return f"pid {max(alive)} was never handed out: the next is {manifest.next_pid}", 0
        seen |= alive
        return _examine_passages(part, full)
    finally:
        part.close()


def _examine_passages(part: Part, full: bool) -> tuple[str | None, int]:
    n = 0
    stream = part.read()
    while batch := list(islice(stream, SAMPLE)):
        vectors = part.vectors_of([passage.pid for passage in batch])
        for passage, rows in zip(batch, vectors, strict=True):
            if wrong := _wrong_with(passage, rows):
                return f"passage {passage.pid} {wrong}", n
        known = part.of_documents([passage.document_id for passage in batch])
        missing = {passage.pid for passage in batch} - {pid for pid, _ in known}
        if missing:
            return f"passage {min(missing)} is not found by its document's id", n
        n += len(batch)
        if not full:
            break
    by_language = sum(part.languages(None).values())
    if by_language != part.passages:
        return f"{by_language:,} of its {part.passages:,} passages are found by their language", n
    return None, n


def _wrong_with(passage: Passage, vectors: torch.Tensor) -> str | None:
    if not all(isinstance(each, str) for each in (passage.document_id, passage.text, passage.language)):
        return "lacks its text, its document's id or its language"
    if not ((vectors.norm(dim=1) - 1).abs() < UNIT).all():  # also where they are not finite
        return "has token vectors that are not of unit length"
    return None


def _codebook(folder: Path, manifest: Manifest, full: bool) -> Check:
    import torch

    from ..index.local.inventory import checksum
    from ..index.local.postings import read_postings
    from ..index.quantization.codebook import Codebook

    entry = manifest.codebook
    assert entry is not None
    lists = {part.postings_file(entry): part.postings for part in manifest.parts}
    recorded = {entry.file: entry.sha256} | (lists if full else {})
    for name, sha256 in recorded.items():
        if sha256 != checksum(folder / name):
            found = f"{name} is damaged: its checksum is another one"
            return Check("codebook", found, FAULT, _rebuild(folder, manifest))
    centroids = Codebook.load(folder / entry.file).centroids
    for part, name in zip(manifest.parts, lists, strict=True):
        offsets, norms, _ = read_postings(folder / name)
        if (len(offsets) - 1, len(norms)) != (len(centroids), part.passages):
            return Check("codebook", f"{name} is of another codebook or part", FAULT, _rebuild(folder, manifest))
    unit = torch.allclose(centroids.norm(dim=-1), torch.ones(len(centroids)), atol=UNIT)
    if centroids.ndim != 2 or centroids.shape[1] != manifest.dim or not unit:
        found = f"{entry.file} does not hold unit vectors of {manifest.dim} dimensions"
        return Check("codebook", found, FAULT, _rebuild(folder, manifest))
    return Check("codebook", f"{len(centroids):,} centroids")


def _left_behind(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """Yield a note if a writer did not come to its end."""
    from ..index.local.manifest import left_behind

    extra = sorted(path.name for path in left_behind(folder, manifest.names))
    if extra:
        found = f"{len(extra)} files of a writer that did not come to its end, or is at work: {extra[0]}"
        yield Check("leftovers", found, NOTE, "the next add, delete or index removes them")


def _checkpoint(folder: Path, manifest: Manifest) -> Check:
    """Say whether the checkpoint that filled the index is here, and still the same."""
    checkpoint = open_checkpoint(manifest.checkpoint)
    if isinstance(checkpoint, Check):
        return checkpoint
    name, fingerprint = manifest.checkpoint, checkpoint.fingerprint
    if fingerprint == manifest.fingerprint:
        return Check("checkpoint", f"{name}, fingerprint {fingerprint} as when it filled the index")
    found = f"{name} has fingerprint {fingerprint}, but {manifest.fingerprint} filled the index: other weights"
    return Check("checkpoint", found, FAULT, f"put the earlier weights back, or: {_rebuild(folder, manifest)}")
