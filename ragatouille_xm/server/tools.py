"""Searching as tools for language models (Model Context Protocol, extra ``[mcp]``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from .. import __version__
from ..errors import RagatouilleXMError
from ..pretrained import RAGPretrainedModel

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
MOST = 50  # results: more would only fill a language model's memory
WhichIndex: TypeAlias = Annotated[str | None, Field(description="Which index; by default the first.")]


def create_tools(model: RAGPretrainedModel, indexes: Sequence[str]) -> MCPServer:
    """Return a server of tools that search indexes.

    Parameters
    ----------
    model : RAGPretrainedModel
    indexes : sequence of str
        Names of indexes that the model has, the default first.

    Raises
    ------
    IndexNotFoundError, IndexDamagedError, IndexFormatError
        If an index cannot be opened.
    """
    held = ", ".join(f"{name} ({len(model.catalog.get(name).index)} passages)" for name in indexes)
    server = MCPServer(
        "ragatouille-xm",
        version=__version__,
        log_level="WARNING",
        instructions=f"Finds passages in any of 81 languages, with a question in any of them. Indexes: {held}.",
    )

    def chosen(index: str | None) -> str:
        if index is not None and index not in indexes:
            raise ToolError(f"There is no index {index!r}. There are: {', '.join(indexes)}.")
        return indexes[0] if index is None else index

    @server.tool(annotations=READS, structured_output=True)
    def search(
        query: Annotated[str, Field(description="A question or a few words, in any language.")],
        k: Annotated[int, Field(ge=1, le=MOST, description="How many passages to return.")] = 5,
        language: Annotated[
            str | None, Field(description="Language code of the query; by default it is detected.")
        ] = None,
        filter: Annotated[
            dict[str, Any] | None,
            Field(description='Conditions on metadata or language: {"year": {"$gte": 2020}, "language": "fr"}.'),
        ] = None,
        index: WhichIndex = None,
    ) -> list[dict[str, Any]]:
        """Find the passages that answer a query, best first, each with its document, language and relevance (0-1)."""
        found: list[Any] = _asked(model.search, query, index_name=chosen(index), k=k, language=language, filter=filter)
        return found

    @server.tool(annotations=READS, structured_output=True)
    def read_document(
        document_id: Annotated[str, Field(description="As search returned it.")], index: WhichIndex = None
    ) -> list[dict[str, Any]]:
        """Return all passages of a document, in the order of its text."""
        found: list[dict[str, Any]] = _asked(model.get_passages, document_id, index_name=chosen(index))
        if not found:
            raise ToolError(f"There is no document {document_id!r}.")
        return found

    return server


def _asked(function: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except RagatouilleXMError as error:
        raise ToolError(str(error)) from error
