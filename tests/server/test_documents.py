from __future__ import annotations

from starlette.testclient import TestClient

from ragatouille_xm import RAGPretrainedModel

DOCUMENTS = "/v1/indexes/town/documents"


def ids(client: TestClient, query: str = "a") -> set[str]:
    found = client.post("/v1/indexes/town/search", json={"query": query, "k": 100}).json()["results"]
    return {result["document_id"] for result in found}


def test_what_is_added_is_there_at_once(client: TestClient, rag: RAGPretrainedModel):
    given = {"text": "Le marché est fermé.", "document_id": "market", "metadata": {"year": 2025}, "language": "fr"}
    answer = client.post(DOCUMENTS, json={"documents": [given, {"text": "No id."}]})
    assert answer.status_code == 201
    assert answer.json()["document_ids"][0] == "market"
    assert answer.json()["passages"] == 5
    [passage] = rag.get_passages("market", "town")
    assert (passage["content"], passage["language"], passage["document_metadata"]) == (
        given["text"],
        "fr",
        {"year": 2025},
    )
    assert ids(client) == {"station", "library", "museum", *answer.json()["document_ids"]}


def test_an_id_that_is_there_is_a_conflict_and_nothing_is_added(client: TestClient):
    documents = [{"text": "New.", "document_id": "new"}, {"text": "Again.", "document_id": "museum"}]
    answer = client.post(DOCUMENTS, json={"documents": documents})
    assert answer.status_code == 409
    assert "museum" in answer.json()["detail"]
    assert answer.json()["error"] == "DuplicateDocumentError"
    assert ids(client) == {"station", "library", "museum"}


def test_updating_replaces(client: TestClient, rag: RAGPretrainedModel):
    documents = [{"text": "The museum is closed.", "document_id": "museum"}, {"text": "New.", "document_id": "new"}]
    assert client.put(DOCUMENTS, json={"documents": documents}).json()["passages"] == 4
    assert [passage["content"] for passage in rag.get_passages("museum", "town")] == ["The museum is closed."]


def test_deleting(client: TestClient):
    answer = client.post(f"{DOCUMENTS}/delete", json={"document_ids": ["museum", "nobody"]})
    assert answer.json() == {"passages_deleted": 1, "passages": 2}
    assert ids(client) == {"station", "library"}


def test_text_that_is_no_unicode_is_refused(client: TestClient):
    answer = client.post(DOCUMENTS, content=b'{"documents": [{"text": "\\ud800"}]}')
    assert answer.status_code in (400, 422)
    assert ids(client) == {"station", "library", "museum"}
