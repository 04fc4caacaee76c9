"""The application: global options, logging and error handling."""

from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.logging import RichHandler
from typer.core import TyperGroup

from .. import __version__
from ..errors import RagatouilleXMError
from .output import messages, say

if TYPE_CHECKING:
    from ..pretrained import RAGPretrainedModel

COPYING, CHECKPOINTS = "Copying indexes", "Checkpoints"  # headings in --help, below the daily commands
BAD_INPUT = 2  # as for wrong usage
INTERRUPTED = 130  # 128 + SIGINT, as in shells


class _Commands(TyperGroup):
    """Turns expected errors into one sentence and an exit code instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RagatouilleXMError as error:
            if ctx.params["debug"]:
                say(traceback.format_exc().rstrip(), style="dim")
            say(_with_notes(str(error), error), label="Error: ", style="red")
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt as error:
            say(_with_notes("Interrupted.", error))
            raise typer.Exit(INTERRUPTED) from error


def _with_notes(message: str, error: BaseException) -> str:
    """Return a message with what was noted on the error: how to go on with a build."""
    return " ".join([message, *getattr(error, "__notes__", [])])


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ragatouille-xm {__version__}")
        raise typer.Exit


@app.callback(
    epilog="""
    Start here:

        ragatouille-xm demo
        ragatouille-xm index docs/ --name mine
        ragatouille-xm search mine "Où est la bibliothèque ?"

    Results go to stdout, messages to stderr. Exit codes: 0; 1 when doctor finds a fault; 2 for bad input, or an output
    that cannot be written; 130 when interrupted; 141 when the reader of the output went away.
    """
)
def options(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print more messages.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="RAGATOUILLE_XM_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find passages in 81 languages, with a question in any of them.

    Each text and each question goes through the adapter of its own language (ColBERT-XM). An index is a folder; its
    documents are files, or the records of JSON, JSON lines and CSV.
    """
    handler = RichHandler(console=messages(), show_time=False, show_path=False, markup=False)
    logger = logging.getLogger("ragatouille_xm")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    tells_languages = ctx.invoked_subcommand in ("index", "add")  # of the documents; the demo has a table of its own
    logging.getLogger("ragatouille_xm.indexing").setLevel(logging.INFO if tells_languages else logging.NOTSET)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it repairs many files, and warns of each


def facade() -> type[RAGPretrainedModel]:
    """Import the facade, which takes seconds, and silence the libraries it uses."""
    quiet_libraries()
    from ..pretrained import RAGPretrainedModel

    return RAGPretrainedModel


def quiet_libraries() -> None:
    """Let the libraries that load a checkpoint say nothing but errors, without importing any of them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
