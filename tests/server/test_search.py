from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from server.conftest import TEXTS
from starlette.testclient import TestClient

from ragatouille_xm import RAGPretrainedModel

SEARCH = "/v1/indexes/town/search"


def test_results_are_those_of_the_model(client: TestClient, rag: RAGPretrainedModel):
    asked = {"query": "Wo ist die Bibliothek?", "k": 2, "language": "de"}
    found = client.post(SEARCH, json=asked).json()["results"]
    assert [
        {name: result[name] for name in ("document_id", "score", "rank", "language", "content", "document_metadata")}
        for result in rag.search("Wo ist die Bibliothek?", k=2, language="de")
    ] == [
        {name: result[name] for name in ("document_id", "score", "rank", "language", "content", "document_metadata")}
        for result in found
    ]
    assert found[0]["query_language"] == "de"


def test_a_batch_has_the_results_of_each(client: TestClient):
    queries = ["Bibliothek", "gare", "maps"]
    batch = client.post(f"{SEARCH}/batch", json={"queries": queries, "k": 3, "language": ["de", None, "en"]})
    single = [
        client.post(SEARCH, json={"query": query, "k": 3, "language": language}).json()["results"]
        for query, language in zip(queries, ["de", None, "en"], strict=True)
    ]
    assert [[r["document_id"] for r in results] for results in batch.json()["results"]] == [
        [r["document_id"] for r in results] for results in single
    ]


def test_options_are_passed_on(client: TestClient):
    found = client.post(SEARCH, json={"query": "gare", "filter": {"year": {"$gte": 2021}}, "explain": True}).json()
    assert {result["document_id"] for result in found["results"]} == {"library", "museum"}
    assert found["results"][0]["evidence"]["query"] == "gare"
    only = client.post(SEARCH, json={"query": "gare", "doc_ids": ["museum"], "exact": True}).json()["results"]
    assert [result["document_id"] for result in only] == ["museum"]


def test_concurrent_queries_get_their_own_results(client: TestClient):
    queries = [f"{word} {i}" for i in range(10) for word in ("gare", "Bibliothek", "maps and old things of the town")]

    def search(query: str) -> list[tuple[str, float]]:
        found = client.post(SEARCH, json={"query": query, "language": "en"}).json()["results"]
        return [(result["document_id"], result["score"]) for result in found]

    alone = [search(query) for query in queries]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(search, queries))
    for one, other in zip(alone, together, strict=True):
        assert [name for name, _ in one] == [name for name, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-4)


def test_indexes_and_passages(client: TestClient):
    described = client.get("/v1/indexes").json()
    [town] = described["indexes"]
    assert town == {"name": "town", "passages": 3, "languages": {"fr": 1, "de": 1, "en": 1}, "lexical": True}
    assert described["writable"] is True
    assert client.get("/v1/indexes/town").json()["passages"] == 3
    found = client.get("/v1/indexes/town/passages", params={"document_id": ["museum", "nobody"]}).json()
    assert [passage["content"] for passage in found["passages"]] == [TEXTS["museum"]]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"query": " "}, 400, "blank"),
        ({"query": "a", "k": 0}, 422, "k"),
        ({"query": "a", "k": 5_000}, 413, "1000"),
        ({"query": "a", "language": "xx-nothing"}, 400, "xx-nothing"),
        ({"query": "a", "filter": {"year": {"$near": 3}}}, 400, "$near"),
        ({"query": "a", "unknown": 1}, 422, "unknown"),
        ({"query": ["a"]}, 422, "query"),
        ({}, 422, "query"),
    ],
)
def test_a_bad_request_is_a_problem_that_names_what_is_wrong(
    client: TestClient, asked: dict[str, object], status: int, said: str
):
    answer = client.post(SEARCH, json=asked)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert said in answer.json()["detail"]


def test_an_index_that_is_not_served_is_not_found(client: TestClient):
    answer = client.post("/v1/indexes/other/search", json={"query": "a"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no index 'other' here. There are: town."
    assert client.get("/v1/nothing").json()["status"] == 404
    assert client.delete(SEARCH).json()["status"] == 405
