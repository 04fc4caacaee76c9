"""Commands that build and change an index: index, add, delete, optimize."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, tee
from pathlib import Path
from typing import Annotated

import typer

from ..config import MAX_LENGTH, STORAGES
from ..corpus.passages import Document
from ..errors import DuplicateDocumentError, InputError
from ..shell import quoted, typed
from .app import app, facade
from .files.names import file_id
from .files.options import ReadingOptions
from .files.reader import FileReader
from .inputs import (
    DelimiterOption,
    EncodingOption,
    ExcludeOption,
    FormatOption,
    IdFieldOption,
    IncludeOption,
    PathsArgument,
    StrictOption,
    TextFieldOption,
    base_of,
)
from .output import plural, say, say_skipped, say_waiting
from .paths import IndexArgument, RootOption, find_index, index_folder

LanguageOption = Annotated[
    str | None, typer.Option(help="Language of documents that do not state theirs; by default detected.")
]
SplitOption = Annotated[bool, typer.Option("--split/--no-split", help="Split long documents, or truncate them.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …; by default a GPU if there is one.")]
DevicesOption = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, cuda:1 …, or cuda:0,cuda:1 for both; by default a GPU if there is one."),
]


@app.command(
    epilog="""
    Examples:

        ragatouille-xm index docs/ --name mine
        ragatouille-xm index news.jsonl faq.csv --name news --checkpoint ./colbert-xm
        ragatouille-xm index tickets.csv --name tickets --text-field description --id-field key
        ragatouille-xm index wiki/ --name wiki --include '*.md' --exclude drafts
        ragatouille-xm index crawl.jsonl --name crawl --workers ray://head.example:10001
        zcat news.jsonl.gz | ragatouille-xm index - --format jsonl --name news

    The checkpoint `demo` is a small stand-in that is built on this machine.
    """
)
def index(
    paths: PathsArgument,
    name: Annotated[str, typer.Option(help="Name of the index.")],
    checkpoint: Annotated[str, typer.Option(help="Hub id or folder.")] = "antoinelouis/colbert-xm",
    root: RootOption = Path(".ragatouille"),
    max_length: Annotated[int, typer.Option(min=1, help="Maximum tokens per passage.")] = MAX_LENGTH,
    language: LanguageOption = None,
    split: SplitOption = True,
    text_field: TextFieldOption = None,
    id_field: IdFieldOption = None,
    format: FormatOption = None,
    encoding: EncodingOption = None,
    delimiter: DelimiterOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    strict: StrictOption = False,
    device: DevicesOption = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace an index of that name, once the new one is complete.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted build of that name.")] = False,
    storage: Annotated[str, typer.Option(help="int16, int8 for half the space, or int4 for a quarter.")] = STORAGES[0],
    pooling: Annotated[
        int, typer.Option(help="Merge similar token vectors: 2 keeps half of a passage's, 3 a third.")
    ] = 1,
    lexical: Annotated[bool, typer.Option("--lexical/--no-lexical", help="Keep what `search --hybrid` needs.")] = True,
    workers: Annotated[
        str | None,
        typer.Option(help="Encode in so many processes, or on a Ray cluster: ray://host:10001, or auto on one of its."),
    ] = None,
) -> None:
    """Build an index from files.

    A text, HTML, PDF, Word or Jupyter file is one document. Its id is its path below the folder that --root is in,
    however the path is typed; elsewhere it is the absolute path. In JSON, JSON lines and CSV, each record is one
    document: its text is in text, content, contents or body, its id in id, _id, docid, doc_id or document_id, its
    language, if any, in language or lang. All other fields are metadata, for `search --filter`. A record without an id
    is named by its file and a hash of its text.

    In a folder, files that cannot be read are skipped and named; --strict stops at the first. Hidden files are skipped.
    """
    folder = index_folder(root, name)
    if not overwrite and (folder / "index.db").exists():
        raise InputError(f"There is an index {name!r} already ({folder}). Leave out --no-overwrite to replace it.")
    options = ReadingOptions(
        text_field=text_field,
        id_field=id_field,
        format=format,
        encoding=encoding,
        delimiter=delimiter,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        strict=strict,
        language=language,
    )
    reader = FileReader(paths, options, base_of(folder))
    documents = _read_first(reader)
    say_waiting(f"Loading {checkpoint}")
    model = facade().from_pretrained(checkpoint, index_root=str(root), device=parse_devices(device))
    texts, ids, metadatas, languages = _columns(documents)
    model.index(
        texts,
        ids,
        metadatas,
        index_name=name,
        max_document_length=max_length,
        split_documents=split,
        languages=languages,
        overwrite_index="resume" if resume else True,
        storage=storage,
        pooling=pooling,
        lexical=lexical,
        workers=int(workers) if workers is not None and workers.lstrip("-").isdecimal() else workers,
    )
    n_passages = plural(len(model.catalog.get().index), "passage")
    _report(reader, f"Indexed {plural(reader.n_documents, 'document')} as {n_passages} in {folder}.")
    say(f'Try: ragatouille-xm search {typed(name)} "your question"' + _root_hint(root))
    model.close()


@app.command(
    epilog="""
    Examples:

        ragatouille-xm add mine docs/new.txt
        ragatouille-xm add news today.jsonl --update
    """
)
def add(
    index: IndexArgument,
    paths: PathsArgument,
    update: Annotated[bool, typer.Option("--update", help="Replace documents that are already in the index.")] = False,
    root: RootOption = Path(".ragatouille"),
    language: LanguageOption = None,
    split: SplitOption = True,
    text_field: TextFieldOption = None,
    id_field: IdFieldOption = None,
    format: FormatOption = None,
    encoding: EncodingOption = None,
    delimiter: DelimiterOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    strict: StrictOption = False,
    device: DevicesOption = None,
) -> None:
    """Add documents to an index; with --update, replace those with the same id."""
    folder = find_index(index, root)
    options = ReadingOptions(
        text_field=text_field,
        id_field=id_field,
        format=format,
        encoding=encoding,
        delimiter=delimiter,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        strict=strict,
        language=language,
    )
    reader = FileReader(paths, options, base_of(folder))
    documents = list(reader)
    ids = [document.document_id for document in documents]
    say_waiting("Loading the checkpoint")
    model = facade().from_index(folder, device=parse_devices(device))
    known = model.catalog.get().index.contains(ids)
    if known and not update:
        more = f" and {len(known) - 1} more" if len(known) > 1 else ""
        raise DuplicateDocumentError(
            f"The index {quoted(index)} already has {quoted(min(known))}{more}. Give --update to replace documents."
        )
    texts = [document.text for document in documents]
    metadatas = [document.metadata or {} for document in documents]
    languages = [document.language for document in documents]
    if update:
        model.update_in_index(texts, ids, metadatas, split_documents=split, languages=languages)
    else:
        model.add_to_index(texts, ids, metadatas, split_documents=split, languages=languages)
    replaced = f", {len(known)} of them replaced" if known else ""
    total = plural(len(model.catalog.get().index), "passage")
    _report(reader, f"Added {plural(len(documents), 'document')}{replaced}; the index has {total}.")
    model.close()


@app.command(
    epilog="""
    Example:

        ragatouille-xm delete mine old.txt notes/2019.md
    """
)
def delete(
    index: IndexArgument,
    ids: Annotated[list[str], typer.Argument(help="Document ids, as search shows them, or files.", metavar="ID")],
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Delete documents from an index. If one is missing, none is deleted."""
    folder = find_index(index, root)
    from ..opening import open_passages

    opened = open_passages(folder)  # no checkpoint is needed
    try:
        there, files = opened.contains(ids), {each: file_id(each, base_of(folder)) for each in ids}
        wanted = {each if each in there else files[each] for each in ids}
        if missing := wanted - opened.contains(list(wanted)):
            asked = min(each for each in ids if each not in there and files[each] in missing)
            raise InputError(f"The index {quoted(index)} has no document {quoted(asked)}; nothing was deleted.")
        opened.delete(list(wanted))
        opened.optimize()
        say(f"Deleted {plural(len(wanted), 'document')}; the index has {plural(len(opened), 'passage')}.")
    finally:
        opened.close()


@app.command(
    epilog="""
    Examples:

        ragatouille-xm optimize mine
        ragatouille-xm optimize mine --storage int4
    """
)
def optimize(
    index: IndexArgument,
    root: RootOption = Path(".ragatouille"),
    storage: Annotated[str | None, typer.Option(help="Convert it to int8 or int4, which are smaller.")] = None,
) -> None:
    """Merge additions, reclaim the space of deleted documents, and refit the first stage of searches.

    Large changes do this automatically. Nothing is encoded again, and searches continue meanwhile.
    """
    folder = find_index(index, root)
    from ..opening import open_passages, optimize_passages

    say_waiting("Optimizing")
    opened = open_passages(folder)
    try:
        optimize_passages(opened, storage)
    finally:
        opened.close()
    say(f"Optimized {index}.")


def parse_devices(device: str | None) -> str | list[str] | None:
    """Return ``"cuda:0,cuda:1"`` as a list of devices; return a single device unchanged."""
    return device.split(",") if device is not None and "," in device else device


def _read_first(reader: FileReader) -> Iterator[Document]:
    """Return the documents, the first already read, so that wrong paths fail before a checkpoint is loaded."""
    stream = iter(reader)
    return chain([next(stream)], stream)


def _columns(
    documents: Iterable[Document],
) -> tuple[Iterator[str], Iterator[str], Iterator[dict[str, object] | None], Iterator[str | None]]:
    """Split a stream of documents into four columns; read in step, they buffer one document at most."""
    a, b, c, d = tee(documents, 4)
    return (
        (document.text for document in a),
        (document.document_id for document in b),
        (document.metadata for document in c),
        (document.language for document in d),
    )


def _report(reader: FileReader, message: str) -> None:
    say(message)
    say_skipped(reader.skipped)


def _root_hint(root: Path) -> str:
    return "" if root == Path(".ragatouille") else f" --root {typed(str(root))}"
