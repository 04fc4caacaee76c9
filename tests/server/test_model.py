from __future__ import annotations

import pytest
import torch
from starlette.testclient import TestClient

from ragatouille_xm import RAGPretrainedModel

from .conftest import Serve

TEXTS = ["Der Bahnhof ist am Markt.", "", "Das Museum zeigt alte Karten."]


def test_query_vectors_are_those_of_the_model(client: TestClient, rag: RAGPretrainedModel):
    [found] = client.post("/v1/encode", json={"texts": ["la gare"], "language": "fr"}).json()["encoded"]
    assert found["language"] == "fr"
    torch.testing.assert_close(torch.tensor(found["vectors"]), rag.encoder.encode_queries(["la gare"], ["fr"])[0])


def test_document_vectors_are_those_of_the_model(client: TestClient, rag: RAGPretrainedModel):
    asked = {"texts": ["la gare", "der Bahnhof am Markt"], "kind": "document", "language": ["fr", "de"]}
    found = client.post("/v1/encode", json=asked).json()["encoded"]
    for each, expected in zip(found, rag.encoder.encode_documents(asked["texts"], ["fr", "de"]), strict=True):
        torch.testing.assert_close(torch.tensor(each["vectors"]), expected)


def test_languages(client: TestClient):
    found = client.post("/v1/detect-languages", json={"texts": ["Wo ist hier bitte der nächste Bahnhof?"]}).json()
    assert (found["languages"][0]["language"], found["languages"][0]["adapter"]) == ("de", "de_DE")


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_reranking_in_the_form_of_cohere(client: TestClient, rag: RAGPretrainedModel, path: str):
    asked = {"model": "any", "query": "Bahnhof", "documents": TEXTS, "return_documents": True}
    answer = client.post(path, json=asked).json()
    expected = rag.rerank("Bahnhof", TEXTS, k=3)
    assert [each["index"] for each in answer["results"]] == [*(each["result_index"] for each in expected), 1]
    assert answer["results"][0]["relevance_score"] == pytest.approx(expected[0]["relevance"])
    assert answer["results"][0]["document"] == {"text": TEXTS[answer["results"][0]["index"]]}
    best = client.post(path, json={**asked, "top_n": 2, "return_documents": False}).json()["results"]
    assert best == [
        {"index": each["index"], "relevance_score": each["relevance_score"]} for each in answer["results"][:2]
    ]


def test_reranking_documents_that_are_objects(client: TestClient):
    objects = [{"text": text, "id": i} for i, text in enumerate(TEXTS)]
    plain, given = (
        client.post("/v1/rerank", json={"query": "Bahnhof", "documents": documents}).json()["results"]
        for documents in (TEXTS, objects)
    )
    assert plain == given


def test_reranking_in_the_form_of_tei(client: TestClient, rag: RAGPretrainedModel):
    asked = {"query": "Bahnhof", "texts": TEXTS, "truncate": True}
    expected = rag.rerank("Bahnhof", TEXTS, k=3)
    found = client.post("/rerank", json={**asked, "return_text": True}).json()
    assert [each["index"] for each in found] == [*(each["result_index"] for each in expected), 1]
    assert found[0]["text"] == TEXTS[found[0]["index"]]
    raw = client.post("/rerank", json={**asked, "raw_scores": True}).json()
    assert raw[0] == {"index": found[0]["index"], "score": pytest.approx(expected[0]["score"])}


def test_relevance_does_not_depend_on_what_others_search(serve: Serve, rag: RAGPretrainedModel):
    rag.index([f"Der Bahnhof Nummer {i} ist am Markt." for i in range(130)], index_name="many", languages="de")
    client = serve(("town", "many"))

    def relevance() -> list[float]:
        found = client.post("/v1/rank", json={"queries": ["Bahnhof"], "documents": TEXTS[::2]}).json()["results"]
        return [each["relevance"] for each in found[0]]

    def as_for(index_name: str) -> list[float]:
        return [each["relevance"] for each in rag.rerank("Bahnhof", TEXTS[::2], index_name=index_name)]

    assert as_for("many") != as_for("town")
    for name in ("many", "town"):
        assert client.post(f"/v1/indexes/{name}/search", json={"query": "Bahnhof"}).status_code == 200
        assert relevance() == pytest.approx(as_for("town"))
