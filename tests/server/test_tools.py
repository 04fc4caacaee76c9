"""The tools for language models, over MCP."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from server.conftest import TEXTS

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.server.tools import create_tools


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    return answer.content[0].text if answer.is_error else answer.structured_content["result"]


async def test_search(rag: RAGPretrainedModel):
    async with Client(create_tools(rag, ["town"])) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "read_document"}
        found = await ask(client, "search", query="Bibliothek", k=2, language="de")
        assert [result["document_id"] for result in found] == [
            result["document_id"] for result in rag.search("Bibliothek", k=2, language="de")
        ]
        only = await ask(client, "search", query="gare", filter={"year": {"$gte": 2022}}, index="town")
        assert [result["document_id"] for result in only] == ["museum"]
        [passage] = await ask(client, "read_document", document_id="museum")
        assert passage["content"] == TEXTS["museum"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"query": " "}, "blank"),
        ("search", {"query": "a", "filter": {"year": {"$near": 1}}}, "$near"),
        ("search", {"query": "a", "k": 1_000}, "50"),
        ("search", {"query": "a", "index": "other"}, "town"),
        ("read_document", {"document_id": "nobody"}, "no document 'nobody'"),
    ],
)
async def test_bad_input_is_an_error_that_says_why(
    rag: RAGPretrainedModel, tool: str, arguments: dict[str, Any], said: str
):
    async with Client(create_tools(rag, ["town"])) as client:
        answer = await ask(client, tool, **arguments)
    assert isinstance(answer, str)
    assert said in answer


async def test_the_command(rag: RAGPretrainedModel):
    path = str(rag.catalog.path("town"))
    rag.close()
    command = StdioServerParameters(command=sys.executable, args=["-m", "ragatouille_xm.cli", "mcp", path])
    async with Client(command) as client:
        found = await ask(client, "search", query="gare", k=3)
    assert {result["document_id"] for result in found} == set(TEXTS)
