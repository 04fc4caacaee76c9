"""Commands between index folders and Qdrant clusters: push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .app import app
from .output import counted, say
from .paths import IndexArgument, OverwriteOption, RootOption, find_index

KeyOption = Annotated[
    str | None, typer.Option(help="The cluster's key.", envvar="QDRANT_API_KEY", show_envvar=True, metavar="KEY")
]


@app.command(
    epilog="""
    Examples:

        ragatouille-xm push news --to http://host:6333
        ragatouille-xm push news --to https://cluster.example:6333 --name news-2 --shards 3 --replicas 2
    """
)
def push(
    index: IndexArgument,
    to: Annotated[str, typer.Option(help="Address of the cluster.", metavar="URL")],
    name: Annotated[str | None, typer.Option(help="Name in the cluster; by default that of the folder.")] = None,
    api_key: KeyOption = None,
    shards: Annotated[int | None, typer.Option(help="Into how many shards it is divided.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Copies of each shard.")] = None,
    write_consistency: Annotated[
        int | None, typer.Option(help="Copies that must confirm a write; by default all.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="int16 or int8, as the cluster stores token vectors; by default as the folder.")
    ] = None,
    on_disk: Annotated[bool, typer.Option("--on-disk", help="Token vectors stay on disk, mapped.")] = False,
    overwrite: OverwriteOption = False,
    root: RootOption = Path(".ragatouille"),
) -> None:
    """Copy an index into a Qdrant cluster, without encoding its texts again.

    The copy is compared with the original before it counts. A push that was broken off goes on where it was.
    """
    source = find_index(index, root)
    from ..config import ClusterConfig
    from ..index.cluster.client import Cluster
    from ..transfer.cluster import push_index

    config = ClusterConfig(shards=shards, replicas=replicas, write_consistency=write_consistency, on_disk=on_disk)
    cluster, target = Cluster(to, api_key, config), name or source.resolve().name
    n_passages = push_index(source, cluster, target, storage=storage, overwrite=overwrite, progress=True)
    say(f"Pushed {counted(n_passages, 'passage')} to {cluster.url}/{target}.")


@app.command(
    epilog="""
    Examples:

        ragatouille-xm pull http://host:6333/news --to news/
    """
)
def pull(
    address: Annotated[str, typer.Argument(help="Address of the cluster and name of the index.", metavar="URL/NAME")],
    to: Annotated[Path, typer.Option(help="Folder of the new index.", metavar="FOLDER")],
    api_key: KeyOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an index in that folder, once the new one is complete.")
    ] = False,
) -> None:
    """Copy an index from a Qdrant cluster into a folder, without encoding its texts again.

    The copy is compared with the original before it counts. A pull that was broken off goes on where it was.
    """
    url, _, name = address.rpartition("/")
    if not name or "://" not in url:
        raise InputError(f"{address!r} is not the address of an index: give http://host:6333/NAME.")
    from ..index.cluster.client import Cluster
    from ..transfer.cluster import pull_index

    n_passages = pull_index(Cluster(url, api_key), name, to, overwrite=overwrite, progress=True)
    say(f"Pulled {counted(n_passages, 'passage')} to {to}.")
