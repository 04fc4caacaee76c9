"""Structured queries, as LangChain's SelfQueryRetriever has them from an LLM."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery
from langchain_ragatouille_xm import RagatouilleXMTranslator, RagatouilleXMVectorStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.corpus.filters import matches, parse_filter
from ragatouille_xm.errors import FilterError
from ragatouille_xm.types import Passage

ROWS: dict[str, dict[str, Any]] = {
    "a": {"year": 2019, "tags": ["red", "blue"], "day": "2024-04-30", "draft": True},
    "b": {"year": 2021, "tags": ["blue"], "day": "2024-05-01"},
    "c": {"year": 2021.5, "tags": "green", "day": "2024-05-01T23:59:59Z", "language": "Latin"},
    "d": {"day": "2024-05-02T00:00:00Z"},
    "e": {"year": 2024, "tags": [], "day": "soon"},
}
MAY = {"type": "date", "date": "2024-05-01"}
NIGHT = {"type": "datetime", "datetime": "2024-05-01T23:59:59Z"}


def translated(filter: Any) -> dict[str, Any]:
    text, options = RagatouilleXMTranslator().visit_structured_query(StructuredQuery("book", filter))
    assert text == "book"
    found: dict[str, Any] = options["filter"]
    return found


def admitted(filter: Any) -> str:
    condition = parse_filter(translated(filter))
    return "".join(each for each, metadata in ROWS.items() if matches(condition, Passage(0, each, "…", "fr", metadata)))


@pytest.mark.parametrize(
    ("comparator", "attribute", "value", "expected"),
    [
        ("eq", "year", 2021, "b"),
        ("ne", "year", 2021, "acde"),
        ("gt", "year", 2021, "ce"),
        ("gte", "year", 2021, "bce"),
        ("lt", "year", 2021, "a"),
        ("lte", "year", 2021, "ab"),
        ("in", "year", [2019, 2024], "ae"),
        ("nin", "year", [2019, 2024], "bcd"),
        ("in", "year", [], ""),
        ("nin", "year", [], "abcde"),
        ("eq", "draft", True, "a"),
        ("contain", "tags", "blue", "ab"),
        ("contain", "tags", "gr", ""),
        ("eq", "day", MAY, "bc"),
        ("ne", "day", MAY, "ade"),
        ("gt", "day", MAY, "d"),
        ("gte", "day", MAY, "bcd"),
        ("lt", "day", MAY, "a"),
        ("lte", "day", MAY, "abc"),
        ("in", "day", [MAY, {"type": "date", "date": "2024-05-02"}], "bcd"),
        ("in", "day", [MAY, "soon"], "bce"),
        ("nin", "day", [MAY, "soon"], "ad"),
        ("gt", "day", date(2024, 5, 1), "d"),
        ("eq", "day", NIGHT, "c"),
        ("lt", "day", NIGHT, "ab"),
        ("gte", "day", NIGHT, "cd"),
        ("gte", "day", {"type": "datetime", "datetime": "2024-05-01T23:59:59z"}, "cd"),
        ("lte", "day", datetime(2024, 5, 1, 23, 59, 59, tzinfo=UTC), "abc"),
        ("contain", "day", "soon", "e"),
    ],
)
def test_comparisons(comparator: str, attribute: str, value: Any, expected: str) -> None:
    assert admitted(Comparison(Comparator(comparator), attribute, value)) == expected


def test_operations() -> None:
    late = Comparison(Comparator.GT, "year", 2020)
    blue = Comparison(Comparator.CONTAIN, "tags", "blue")
    assert admitted(Operation(Operator.AND, [late, blue])) == "b"
    assert admitted(Operation(Operator.OR, [late, blue])) == "abce"
    assert admitted(Operation(Operator.NOT, [late])) == "ad"
    assert admitted(Operation(Operator.AND, [blue, Operation(Operator.NOT, [late])])) == "a"
    assert RagatouilleXMTranslator().visit_structured_query(StructuredQuery("book", None)) == ("book", {})


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (Comparison(Comparator.LIKE, "title", "%x%"), "like on 'title' has no exact counterpart .* eq, contain or in"),
        (Comparison(Comparator.IN, "year", 2020), "in on 'year' takes a list of values, not 2020"),
        (Comparison(Comparator.GT, "title", "b"), "takes a number, a date, a datetime or an ISO 8601 string, not 'b'"),
        (Comparison(Comparator.GT, "year", [1]), "'year' takes a number"),
        (
            Comparison(Comparator.EQ, "day", {"type": "date", "date": "May"}),
            "'May'}, compared with 'day', is not usable. A date",
        ),
        (
            Comparison(Comparator.LTE, "day", {"type": "date", "date": "9999-12-31"}),
            "compared with 'day', is not usable",
        ),
        (Comparison(Comparator.LT, "day", {"date": "2024-05-01"}), "compared with 'day', is not usable"),
        (Comparison(Comparator.LT, "day", {"type": "date", "date": None}), "compared with 'day', is not usable"),
        (Operation(Operator.AND, []), r"\$and takes a list of one or more filters"),
        (
            Operation(Operator.NOT, [Comparison(Comparator.EQ, "a", 1), Comparison(Comparator.EQ, "b", 1)]),
            "not takes one filter, and has 2",
        ),
    ],
)
def test_what_cannot_be_translated_is_refused(filter: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        translated(filter)


@pytest.fixture
def store(empty: RAGPretrainedModel) -> RagatouilleXMVectorStore:
    texts = [f"The book of {each}." for each in ROWS]
    return RagatouilleXMVectorStore.from_texts(texts, metadatas=list(ROWS.values()), ids=list(ROWS), model=empty)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ('and(gte("day", "2024-05-01"), lte("day", "2024-05-01"))', "bc"),
        ('in("year", [2019, 2024])', "ae"),
        ('or(nin("tags", ["blue", "green"]), eq("language", "Latin"))', "cde"),
        ('and(eq("passage.language", "en"), lt("day", "2024-05-01T12:00:00Z"))', "ab"),
        ('not(eq("language", "Latin"))', "abde"),
        ("NO_FILTER", "abcde"),
    ],
)
def test_a_self_query_retriever(store: RagatouilleXMVectorStore, filter: str, expected: str) -> None:
    pytest.importorskip("lark")
    base = pytest.importorskip("langchain_classic.retrievers.self_query.base")
    schema = pytest.importorskip("langchain_classic.chains.query_constructor.schema")
    answer = "```json\n" + json.dumps({"query": "book", "filter": filter}) + "\n```"
    retriever = base.SelfQueryRetriever.from_llm(
        FakeListChatModel(responses=[answer]),
        store,
        "Books",
        [
            schema.AttributeInfo(name=name, description=name, type="string")
            for name in ("year", "tags", "day", "language", "passage.language")
        ],
        structured_query_translator=RagatouilleXMTranslator(),
        search_kwargs={"k": 9},
    )
    assert "".join(sorted(str(each.id) for each in retriever.invoke("Which books?"))) == expected
    assert "".join(sorted(str(each.id) for each in asyncio.run(retriever.ainvoke("Which books?")))) == expected
