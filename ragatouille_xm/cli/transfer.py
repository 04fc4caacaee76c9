"""Commands between our index format and colbert-ai's: convert, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .output import counted, say
from .paths import IndexArgument, OverwriteOption, RootOption, find_index, index_folder


@app.command(
    epilog="""
    Examples:

        ragatouille-xm convert .ragatouille/colbert/indexes/old --name new
        ragatouille-xm convert experiments/default/indexes/msmarco --name msmarco --collection collection.tsv
        ragatouille-xm convert old/ --name new --language fr --checkpoint antoinelouis/colbert-xm
    """
)
def convert(
    folder: Annotated[Path, typer.Argument(help="Index folder of RAGatouille or colbert-ai.", metavar="FOLDER")],
    name: Annotated[str, typer.Option(help="Name of the new index.")],
    root: RootOption = Path(".ragatouille"),
    collection: Annotated[
        Path | None, typer.Option(help="The texts, .tsv or .json, for a folder that has none.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the passages; by default that of the checkpoint's default adapter.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Hub id or folder, if the one that filled the index has moved.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Move an index of RAGatouille or colbert-ai into our format, without encoding its texts again.

    The folder is not changed. One language goes for all passages and so for the questions, since colbert-ai encodes
    everything through one adapter; to have each text go through its own, index the texts again.
    """
    target = index_folder(root, name)
    from ..transfer.plaid import convert_index

    n_passages = convert_index(
        folder,
        target,
        checkpoint=checkpoint,
        language=language,
        collection=collection,
        overwrite=overwrite,
        progress=True,
    )
    say(f"Converted {counted(n_passages, 'passage')} to {target}.")


@app.command(
    epilog="""
    Examples:

        ragatouille-xm export mine exported/mine
        ragatouille-xm export mine exported/mine --nbits 2
    """
)
def export(
    index: IndexArgument,
    folder: Annotated[Path, typer.Argument(help="Where to write it; must not exist.", metavar="FOLDER")],
    nbits: Annotated[
        int | None,
        typer.Option(help="Bits for each dimension: 1, 2, 4 or 8; by default 4 below 10,000 passages, otherwise 2."),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Name of the checkpoint to write down, if others have it elsewhere.")
    ] = None,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Write an index as a folder that colbert-ai and RAGatouille open.

    Its vectors are compressed. The passages are those of the index, from 0 without gaps. colbert-ai sends every
    question through the checkpoint's default adapter.
    """
    source = find_index(index, root)
    from ..transfer.plaid import export_index

    n_passages = export_index(source, folder, nbits=nbits, checkpoint=checkpoint, progress=True)
    say(f"Exported {counted(n_passages, 'passage')} to {folder}.")
