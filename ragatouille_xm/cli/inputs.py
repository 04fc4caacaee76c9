"""Options of the commands that read files, and where the ids of files begin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..config import INDEXES_FOLDER
from .files.names import locate
from .files.options import Format

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Text, HTML, PDF, Word (.docx) and Jupyter files; JSON, JSON lines and CSV; folders of these; "
        "- for standard input.",
        metavar="PATH",
    ),
]
TextFieldOption = Annotated[
    str | None, typer.Option(help="Field that holds a record's text; by default text, content, contents or body.")
]
IdFieldOption = Annotated[
    str | None,
    typer.Option(help="Field that holds a record's id; by default id, _id, docid, doc_id or document_id."),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(help="What standard input and the files given by name hold; by default by name, otherwise text."),
]
EncodingOption = Annotated[
    str | None, typer.Option(help="Encoding of files without a byte order mark; by default UTF-8.", metavar="NAME")
]
DelimiterOption = Annotated[
    str | None, typer.Option(help="Character between the cells of a CSV file, or tab; by default found out.")
]
IncludeOption = Annotated[
    list[str] | None, typer.Option(help="Read only such files of folders, for instance '*.md'; may be repeated.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(help="Ignore such files and folders in folders; may be repeated.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop at a file of a folder that cannot be read, instead of skipping it.")
]


def base_of(folder: Path) -> Path:
    """Return where the ids of the files in an index begin: the folder that its root is in, or that it is in itself.

    Examples
    --------
    >>> base_of(Path("/home/project/.ragatouille/colbert/indexes/mine")).as_posix()
    '/home/project'
    >>> base_of(Path("/data/mine")).as_posix()
    '/data'
    """
    folder = Path(os.path.abspath(folder))
    above = len(Path(INDEXES_FOLDER).parts)
    is_below_root = folder.parent.as_posix().endswith(f"/{INDEXES_FOLDER}") and len(folder.parents) > above
    return locate(folder.parents[above] if is_below_root else folder).parent
