"""Commands that write a checkpoint for other programs: save-pretrained, export-onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import CHECKPOINTS, app, quiet_libraries
from .output import say, say_waiting

if TYPE_CHECKING:
    from ..encoder import Encoder

CheckpointArgument = Annotated[str, typer.Argument(help="Hub id or folder.", metavar="CHECKPOINT")]
FolderArgument = Annotated[Path, typer.Argument(help="Folder to make.", metavar="FOLDER")]
LanguageOption = Annotated[
    str | None, typer.Option(help="Language whose adapter is used for every text; by default the default adapter.")
]


@app.command(
    rich_help_panel=CHECKPOINTS,
    epilog="""
    Examples:

        ragatouille-xm save-pretrained antoinelouis/colbert-xm for-pylate --format sentence-transformers
        ragatouille-xm save-pretrained run/step-001000 for-colbert-ai --language fr
    """,
)
def save_pretrained(
    checkpoint: CheckpointArgument,
    folder: FolderArgument,
    format: Annotated[
        str, typer.Option(help="colbert-ai, or sentence-transformers, whose form PyLate loads too.")
    ] = "colbert-ai",
    language: LanguageOption = None,
) -> None:
    """Write a checkpoint in another library's form, in which it makes the same vectors.

    The other library knows one language adapter only, and uses it for every text.
    """
    encoder = _load(checkpoint)
    from ..transfer.checkpoint import write_checkpoint

    say(f"Written: {write_checkpoint(encoder, folder, format, language)}.")


@app.command(
    rich_help_panel=CHECKPOINTS,
    epilog="""
    Example:

        ragatouille-xm export-onnx antoinelouis/colbert-xm colbert-fr --language fr
    """,
)
def export_onnx(checkpoint: CheckpointArgument, folder: FolderArgument, language: LanguageOption = None) -> None:
    """Write the encoder of one language as an ONNX file, with its tokeniser, and compare its vectors with ours.

    model.onnx takes input_ids and attention_mask, and gives token vectors; tokens.json says which ids stand around a
    text. Needs the extra onnx.
    """
    encoder = _load(checkpoint)
    from ..transfer.onnx import write_onnx

    difference = write_onnx(encoder, folder, language)
    say(f"Written: {folder}. Vectors of onnxruntime differ from ours by {difference:.1e} at most.")


def _load(checkpoint: str) -> Encoder:
    quiet_libraries()
    say_waiting("Loading the checkpoint")
    from ..encoder import Encoder

    return Encoder.from_pretrained(checkpoint, device="cpu")
