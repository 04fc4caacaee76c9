"""Commands that copy indexes: convert, export (colbert-ai's folders), push, pull (servers)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..files import without_secrets
from .app import COPYING, app
from .output import plural, say
from .paths import IndexArgument, OverwriteOption, RootOption, find_index, index_folder

KeyOption = Annotated[
    str | None, typer.Option(help="The server's key.", envvar="QDRANT_API_KEY", show_envvar=True, metavar="KEY")
]


@app.command(
    rich_help_panel=COPYING,
    epilog="""
    Examples:

        ragatouille-xm convert .ragatouille/colbert/indexes/old --name new
        ragatouille-xm convert experiments/default/indexes/msmarco --name msmarco --collection collection.tsv
        ragatouille-xm convert old/ --name new --language fr --checkpoint antoinelouis/colbert-xm
    """,
)
def convert(
    folder: Annotated[Path, typer.Argument(help="Index folder of RAGatouille or colbert-ai.", metavar="FOLDER")],
    name: Annotated[str, typer.Option(help="Name of the new index.")],
    root: RootOption = Path(".ragatouille"),
    collection: Annotated[
        Path | None, typer.Option(help="The texts (.tsv or .json), for a folder without them.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the passages; by default that of the checkpoint's default adapter.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Hub id or folder, if the index's checkpoint has moved.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert an index of RAGatouille or colbert-ai into our format, without encoding its texts again.

    The folder is not changed. All passages, and so all questions, share one language, since colbert-ai encodes
    everything through one adapter. To use the adapter of each text, index the texts again.
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
    say(f"Converted {plural(n_passages, 'passage')} to {target}.")


@app.command(
    rich_help_panel=COPYING,
    epilog="""
    Examples:

        ragatouille-xm export mine exported/mine
        ragatouille-xm export mine exported/mine --nbits 2
    """,
)
def export(
    index: IndexArgument,
    folder: Annotated[Path, typer.Argument(help="Target folder; must not exist.", metavar="FOLDER")],
    nbits: Annotated[
        int | None,
        typer.Option(help="Bits per dimension: 1, 2, 4 or 8; by default 4 below 10,000 passages, otherwise 2."),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint name to record, if it is elsewhere for others.")
    ] = None,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Write an index as a folder that colbert-ai and RAGatouille open.

    Its vectors are compressed, and its passages are numbered from 0 without gaps. colbert-ai encodes every question
    through the checkpoint's default adapter.
    """
    source = find_index(index, root)
    from ..transfer.plaid import export_index

    n_passages = export_index(source, folder, nbits=nbits, checkpoint=checkpoint, progress=True)
    say(f"Exported {plural(n_passages, 'passage')} to {folder}.")


@app.command(
    rich_help_panel=COPYING,
    epilog="""
    Examples:

        ragatouille-xm push news --to postgresql://me@host/texts
        ragatouille-xm push news --to http://host:6333
        ragatouille-xm push news --to https://qdrant.example:6333 --name news-2 --shards 3 --replicas 2
    """,
)
def push(
    context: typer.Context,
    index: IndexArgument,
    to: Annotated[str, typer.Option(help="Address of the server: postgresql://… or http://….", metavar="URL")],
    name: Annotated[str | None, typer.Option(help="Name in the server; by default that of the folder.")] = None,
    api_key: KeyOption = None,
    shards: Annotated[int | None, typer.Option(help="Number of shards.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Copies per shard.")] = None,
    write_consistency: Annotated[
        int | None, typer.Option(help="Copies that must confirm a write; by default all.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="int16, int8 or int4, for token vectors in Qdrant; by default as in the folder.")
    ] = None,
    on_disk: Annotated[bool, typer.Option("--on-disk", help="Keep token vectors on disk, memory-mapped.")] = False,
    overwrite: OverwriteOption = False,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Copy an index into PostgreSQL or Qdrant, without encoding its texts again.

    The copy is verified against the original before it is published. An interrupted push resumes where it stopped.
    """
    source = find_index(index, root)
    target = name or source.resolve().name
    from ..index.servers import POSTGRES

    if to.startswith(POSTGRES):
        source_of_key = context.get_parameter_source("api_key")  # the environment may have one for other commands
        typed_key = source_of_key is not None and source_of_key.name == "COMMANDLINE"
        if typed_key or (storage, shards, replicas, write_consistency, on_disk) != (None, None, None, None, False):
            raise InputError("PostgreSQL takes an index as it is: of these options, --to, --name and --overwrite.")
        from ..index.postgres.server import PostgresServer
        from ..transfer.postgres import push_index as push_files

        server = PostgresServer(to)
        n_passages = push_files(source, server, target, overwrite=overwrite, progress=True)
        say(f"Pushed {plural(n_passages, 'passage')} to {server.url}/{target}.")
        return
    if "://" not in to:
        raise InputError(
            f"--to {without_secrets(to)!r} is not an address: give http://host:6333, or postgresql://host/database."
        )
    from ..config import QdrantConfig
    from ..index.qdrant.server import QdrantServer
    from ..transfer.qdrant import push_index

    config = QdrantConfig(shards=shards, replicas=replicas, write_consistency=write_consistency, on_disk=on_disk)
    qdrant = QdrantServer(to, api_key, config)
    n_passages = push_index(source, qdrant, target, storage=storage, overwrite=overwrite, progress=True)
    say(f"Pushed {plural(n_passages, 'passage')} to {qdrant.url}/{target}.")


@app.command(
    rich_help_panel=COPYING,
    epilog="""
    Examples:

        ragatouille-xm pull postgresql://me@host/texts/news --to news/
        ragatouille-xm pull http://host:6333/news --to news/
    """,
)
def pull(
    address: Annotated[str, typer.Argument(help="Address and name of the index.", metavar="URL/NAME")],
    to: Annotated[Path, typer.Option(help="Folder of the new index.", metavar="FOLDER")],
    api_key: KeyOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an index in that folder, once the new one is complete.")
    ] = False,
) -> None:
    """Copy an index from PostgreSQL or Qdrant into a folder, without encoding its texts again.

    The copy is verified against the original before it is published. An interrupted pull resumes where it stopped.
    """
    url, _, name = address.rpartition("/")
    from ..index.servers import POSTGRES

    if address.startswith(POSTGRES):
        from ..index.postgres.server import PostgresServer
        from ..transfer.postgres import pull_index as pull_files

        n_passages = pull_files(PostgresServer(url), name, to, overwrite=overwrite, progress=True)
        say(f"Pulled {plural(n_passages, 'passage')} to {to}.")
        return
    shown = without_secrets(address)
    if not name or "://" not in url or shown != address:
        raise InputError(
            f"{shown!r} is not an index address: give http://host:6333/NAME, and a key as --api-key, or "
            "postgresql://host/database/NAME."
        )
    from ..index.qdrant.server import QdrantServer
    from ..transfer.qdrant import pull_index

    n_passages = pull_index(QdrantServer(url, api_key), name, to, overwrite=overwrite, progress=True)
    say(f"Pulled {plural(n_passages, 'passage')} to {to}.")
