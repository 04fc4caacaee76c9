"""The clients give what the model gives."""

from __future__ import annotations

import inspect
from datetime import date
from typing import Any

import httpx2
import pytest
from server.conftest import Listen

from ragatouille_xm import RAGPretrainedModel, errors
from ragatouille_xm.client import AsyncRAGClient, RAGClient

SHARED = [
    "add_to_index",
    "delete_from_index",
    "detect_languages",
    "get_passages",
    "rerank",
    "search",
    "update_in_index",
]


def comparable(found: Any) -> Any:
    """Return results with numbers that may differ by rounding, since queries are encoded beside others."""
    if isinstance(found, list):
        return [comparable(each) for each in found]
    return {
        name: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value for name, value in found.items()
    }


@pytest.mark.parametrize(
    "options",
    [
        {"query": "Bibliothek", "language": "de"},
        {"query": ["Bibliothek", "la gare"], "k": 1, "language": ["de", None]},
        {"query": "gare", "filter": {"year": {"$gte": 2021}}, "zero_index_ranks": True},
        {"query": "", "filter": {"year": {"$in": (2019, 2023)}}},
        {"query": "gare", "doc_ids": ("museum",), "exact": True},
        {"query": "gare", "min_score": 1000.0},
        {"query": "maps", "explain": True, "language": "en"},
        {"query": "gare", "filter": {"day": {"$gte": date(2024, 5, 1)}}},
    ],
)
async def test_searches(listen: Listen, rag: RAGPretrainedModel, options: dict[str, Any]):
    expected = rag.search(**options)
    url = listen()
    with RAGClient(url) as client:
        found = client.search(**options)
    async with AsyncRAGClient(url) as client_:
        found_ = await client_.search(**options)
    for each in (found, found_):
        if options.get("explain"):
            assert [r.pop("evidence").highlights for r in each] == [r["evidence"].highlights for r in expected]
    if options.get("explain"):
        expected = [{name: value for name, value in r.items() if name != "evidence"} for r in expected]
    assert found == comparable(expected)
    assert found_ == comparable(expected)


def nothing(each: Any) -> list[Any]:
    return [
        each.search([]), each.rerank([], ["a"]), each.rerank("a", []), each.detect_languages([]), each.add_to_index([]),
        each.update_in_index({}), each.delete_from_index([]), each.get_passages([]),
    ]  # fmt: skip


def test_nothing_is_asked_for(listen: Listen, rag: RAGPretrainedModel):
    with RAGClient(listen()) as client:
        assert nothing(client) == nothing(rag)


def test_ids_may_be_longer_than_an_address(listen: Listen):
    ids = [f"https://example.org/{'path/' * 20}{i}.html" for i in range(999)]
    with RAGClient(listen()) as client:
        assert [each["document_id"] for each in client.get_passages([*ids, "museum"])] == ["museum"]


async def test_changes(listen: Listen, rag: RAGPretrainedModel):
    url = listen()
    with RAGClient(url) as client:
        client.add_to_index(["Le marché est fermé."], ["market"], [{"day": date(2024, 5, 1)}], languages="fr")
        assert client.get_passages("market") == rag.get_passages("market")
        client.update_in_index({"market": "Le marché est ouvert."})
        assert client.get_passages(["market"])[0]["content"] == "Le marché est ouvert."
        assert client.delete_from_index(["market", "nobody"]) == 1
        assert [(each["name"], each["passages"]) for each in client.indexes()] == [("town", 3)]
    async with AsyncRAGClient(url) as client_:
        await client_.add_to_index({"market": "Le marché est fermé."}, languages="fr")
        assert await client_.get_passages("market") == rag.get_passages("market")
        await client_.update_in_index(["Le marché est ouvert."], ["market"])
        assert await client_.delete_from_index("market") == 1


def test_reranking_and_languages(listen: Listen, rag: RAGPretrainedModel):
    documents = ["Der Bahnhof ist am Markt.", "", "Das Museum zeigt alte Karten."]
    with RAGClient(listen()) as client:
        expected = rag.rerank("Bahnhof", documents, 2, languages="de")
        assert client.rerank("Bahnhof", documents, 2, languages="de") == comparable(expected)
        both = client.rerank(["Bahnhof", "Karten"], documents, language="de")
        assert both == comparable(rag.rerank(["Bahnhof", "Karten"], documents, language="de"))
        assert client.detect_languages("Wo ist hier der Bahnhof?") == rag.detect_languages("Wo ist hier der Bahnhof?")


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda c: c.search(" "), errors.InputError, "blank"),
        (lambda c: c.search(b"a"), errors.InputError, "decode"),
        (lambda c: c.search("a", k=0), errors.InputError, "k=0"),
        (lambda c: c.search("a", k=5_000), errors.InputError, "1000"),
        (lambda c: c.search("a", language="xx-nothing"), errors.LanguageError, "xx-nothing"),
        (lambda c: c.search("a", filter={"year": {"$near": 1}}), errors.FilterError, "near"),
        (lambda c: c.search("a", index_name="other"), errors.IndexNotFoundError, "other"),
        (lambda c: c.search("a", index_name="a?b#c"), errors.IndexNotFoundError, "a?b#c"),
        (lambda c: c.search("a", index_name="../a?b"), errors.IndexNotFoundError, "a?b"),
        (lambda c: c.add_to_index(["a"], ["museum"]), errors.DuplicateDocumentError, "museum"),
        (lambda c: c.add_to_index([3]), errors.InputError, "int"),
        (lambda c: c.update_in_index(["a"]), errors.InputError, "document_ids"),
        (lambda c: c.rerank("a", "text", 0), errors.InputError, "k=0"),
        (lambda c: c.search("a", min_score=float("nan")), errors.InputError, "nan"),
        (lambda c: c.search("a", prefer_language=object()), errors.InputError, "object"),
        (lambda c: c.search("a", language=3), errors.InputError, "language"),
        (lambda c: c.search("a", index_name=3), errors.IndexNotFoundError, "index_name=3"),
        (lambda c: c.search("\ud800"), errors.InputError, "lone surrogate"),
        (lambda c: c.rerank("a", ["\ud800"]), errors.InputError, "lone surrogate"),
        (lambda c: c.delete_from_index(["a"] * 1_001), errors.InputError, "1000"),
    ],
)
def test_errors_are_those_of_the_model(listen: Listen, call: Any, kind: type[Exception], said: str):
    with RAGClient(listen()) as client, pytest.raises(kind) as raised:
        call(client)
    assert type(raised.value) is kind
    assert said in str(raised.value)


def test_a_service_that_refuses_or_is_not_there(listen: Listen):
    url = listen(read_keys=("secret",))
    with RAGClient(url) as client, pytest.raises(errors.ServiceError, match="API key"):
        client.search("a")
    with RAGClient(url, api_key="secret") as client:
        assert client.search("gare")
    with RAGClient("http://127.0.0.1:9", api_key="secret") as client, pytest.raises(errors.ServiceError) as raised:
        client.search("a", index_name="town")
    assert "http://127.0.0.1:9" in str(raised.value)
    assert "secret" not in str(raised.value)
    with RAGClient("http://two..dots") as client, pytest.raises(errors.ServiceError, match=r"two\.\.dots"):
        client.search("a")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"text": "<html>"}),
        (200, {"json": []}),
        (502, {}),
        (200, {"json": {"indexes": []}}),
        (200, {"json": {"indexes": 7}}),
    ],
)
async def test_something_else_answers(status: int, body: dict[str, Any]):
    transport = httpx2.MockTransport(lambda request: httpx2.Response(status, **body))
    with RAGClient("http://host", transport=transport) as client, pytest.raises(errors.ServiceError):
        client.search("a")
    async with AsyncRAGClient("http://host", transport=transport) as client_:
        with pytest.raises(errors.ServiceError):
            await client_.search("a")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/indexes/town/search"])
def test_an_address_within_the_service(listen: Listen, path: str):
    url = listen() + path
    with (
        RAGClient(url) as client,
        pytest.raises(errors.ServiceError, match="is not the address of a service") as raised,
    ):
        client.search("a")
    assert repr(url.rstrip("/")) in str(raised.value)


@pytest.mark.parametrize("index", [None, "town"])
def test_an_address_that_sends_on_to_another(index: str | None):
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(308, headers={"Location": f"https://host{request.url.path}?state=secret"})

    transport = httpx2.MockTransport(answer)
    client, said = RAGClient("http://host/sub", index_name=index, transport=transport), "http://host/sub sends on to '"
    with client, pytest.raises(errors.ServiceError, match=f"{said}https://host/sub'") as raised:
        client.search("a")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000", "", "ftp://host", "http://", "http://host:port", "http://[::1", None, 8000),
        *("http://me:secret@host", "me:secret@host", "http://me:secret@host:port"),
        *(" http://host", "http://host ", "http://ho\tst", "http://host?key=secret", "http://host/?key=secret"),
    ],
)
def test_an_address_that_is_none(url: Any):
    with pytest.raises(errors.InputError, match="url") as raised:
        RAGClient(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", 7])
def test_a_key_that_no_header_can_carry(key: Any):
    with pytest.raises(errors.InputError, match="api_key has characters that HTTP cannot carry"):
        RAGClient("http://host", api_key=key)


@pytest.mark.parametrize("name", SHARED)
def test_parameters_are_those_of_the_model(name: str):
    """A client has what makes sense over HTTP, by the same names, in the same order and with the same defaults."""
    of_model = inspect.signature(getattr(RAGPretrainedModel, name)).parameters
    of_client = inspect.signature(getattr(RAGClient, name)).parameters
    for parameter in of_client.values():
        assert parameter.default == of_model[parameter.name].default
    assert inspect.signature(getattr(AsyncRAGClient, name)).parameters == of_client
    left_out = set(of_model) - set(of_client)
    functions = {"document_splitter_fn", "preprocessing_fn"}
    assert left_out <= functions | {"bsize", "use_faiss", "index_name", "together", "zero_index_ranks"}
