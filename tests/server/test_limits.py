"""Who may do what, and what is refused."""

from __future__ import annotations

import gzip
import shutil
import threading
from pathlib import Path

import httpx2
import pytest
from server.conftest import Listen, Serve
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError, StorageError
from ragatouille_xm.server.settings import ServerSettings

SEARCH, DOCUMENTS = "/v1/indexes/town/search", "/v1/indexes/town/documents"
NEW = {"documents": [{"text": "New."}]}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def statuses(client: TestClient, headers: dict[str, str]) -> tuple[int, int]:
    read = client.post(SEARCH, json={"query": "a"}, headers=headers).status_code
    return read, client.post(DOCUMENTS, json=NEW, headers=headers).status_code


@pytest.mark.parametrize(
    ("settings", "none", "wrong", "read", "write"),
    [
        ({}, (200, 201), (200, 201), (200, 201), (200, 201)),
        ({"read_only": True}, (200, 403), (200, 403), (200, 403), (200, 403)),
        ({"read_keys": ("r",)}, (401, 401), (401, 401), (200, 403), (401, 401)),
        ({"write_keys": ("w",)}, (200, 401), (200, 403), (200, 403), (200, 201)),
        ({"read_keys": ("q", "r"), "write_keys": ("w",)}, (401, 401), (401, 401), (200, 403), (200, 201)),
        (
            {"read_keys": ("r",), "write_keys": ("w",), "read_only": True},
            (401, 401),
            (401, 401),
            (200, 403),
            (200, 403),
        ),
    ],
)
def test_keys(serve: Serve, settings: dict[str, object], none: object, wrong: object, read: object, write: object):
    client = serve(**settings)
    assert statuses(client, {}) == none
    assert statuses(client, bearer("x")) == wrong
    assert statuses(client, bearer("r")) == read
    assert statuses(client, bearer("w")) == write


def test_no_path_but_health_is_open_without_a_key(serve: Serve):
    client = serve(read_keys=("r",))
    described = client.get("/openapi.json").json()["paths"]
    calls = [(method, path.replace("{index}", "town")) for path, each in described.items() for method in each]
    refused = {path for method, path in calls if client.request(method, path, json={}).status_code == 401}
    assert {path for _, path in calls} - refused == {"/health/live", "/health/ready"}


@pytest.mark.parametrize("value", ["r", "Basic r", "Bearer", "Bearer  ", "bearer r r", "Bearer ü", "Bearer rr"])
def test_what_is_no_key_is_refused(serve: Serve, value: str):
    answer = serve(read_keys=("r",)).get("/v1/indexes", headers={"Authorization": value.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", ["", "a b", "schlüssel", "a\nb"])
def test_a_key_that_cannot_be_sent_is_an_error(key: str):
    with pytest.raises(InputError, match="API key"):
        ServerSettings(read_keys=(key,))


def test_a_request_that_is_too_large_is_refused(serve: Serve):
    client = serve(max_body=1_000)
    assert client.post(SEARCH, json={"query": "a" * 900}).status_code == 200
    announced = client.post(SEARCH, json={"query": "a" * 1_000})
    streamed = client.post(SEARCH, content=iter([b'{"query": "', b"a" * 1_000, b'"}']))
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["detail"]


def test_too_many_texts_are_refused(serve: Serve):
    client = serve(max_texts=2)
    for path, asked in {
        f"{SEARCH}/batch": {"queries": ["a"] * 3},
        DOCUMENTS: {"documents": [{"text": "a"}] * 3},
        f"{DOCUMENTS}/delete": {"document_ids": ["a"] * 3},
        "/v1/encode": {"texts": ["a"] * 3},
        "/v1/detect-languages": {"texts": ["a"] * 3},
        "/v1/rerank": {"query": "a", "documents": ["a"] * 3},
        "/rerank": {"query": "a", "texts": ["a"] * 3},
    }.items():
        answer = client.post(path, json=asked)
        assert answer.status_code == 413, path
        assert "2 in a request" in answer.json()["detail"]


def test_what_takes_too_long_is_given_up(serve: Serve, rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch):
    going_on = threading.Event()
    monkeypatch.setattr(rag, "search", lambda *given, **options: going_on.wait(30))
    answer = serve(timeout=0.2).post(SEARCH, json={"query": "a"})
    going_on.set()
    assert answer.status_code == 504
    assert "0.2 seconds" in answer.json()["detail"]


@pytest.mark.parametrize("prefix", ["", "/below"])
def test_one_request_too_many_is_refused_and_health_still_answers(
    serve: Serve, rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch, prefix: str
):
    begun, going_on = threading.Event(), threading.Event()

    def search(*given: object, **options: object) -> list[list[object]]:
        begun.set()
        going_on.wait(30)
        return [[]]

    monkeypatch.setattr(rag, "search", search)
    client, path = serve(max_requests=1), prefix + SEARCH
    if prefix:  # as part of another application
        client = TestClient(Starlette(routes=[Mount(prefix, client.app)]))
    first = threading.Thread(target=client.post, args=(path,), kwargs={"json": {"query": "a"}})
    first.start()
    assert begun.wait(30)
    refused = client.post(path, json={"query": "a"})
    live = client.get(f"{prefix}/health/live")
    going_on.set()
    first.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert live.status_code == 200
    assert client.post(path, json={"query": "a"}).status_code == 200


def test_other_sites_are_refused_unless_they_are_allowed(serve: Serve):
    site = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in serve().get("/v1/indexes", headers=site).headers
    allowed = serve(allowed_origins=("https://example.org",)).get("/v1/indexes", headers=site)
    assert allowed.headers["access-control-allow-origin"] == "https://example.org"


def test_a_failure_says_nothing_of_the_machine(serve: Serve, rag: RAGPretrainedModel, monkeypatch: pytest.MonkeyPatch):
    client = serve()
    for error, status in ((OSError("/secret/path"), 500), (StorageError("/secret/path is full"), 507)):

        def fail(*given: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(rag, "search", fail)
        answer = client.post(SEARCH, json={"query": "a"})
        assert answer.status_code == status
        assert "secret" not in answer.text
        assert answer.json()["detail"]


def test_metrics(serve: Serve):
    client = serve()
    client.post(SEARCH, json={"query": "a"})
    client.get("/invented/path")
    shown = client.get("/metrics").text
    assert 'ragatouille_xm_passages{index="town"} 3.0' in shown
    assert 'ragatouille_xm_requests_total{method="POST",route="/v1/indexes/{index}/search",status="200"} 1.0' in shown
    assert "ragatouille_xm_query_batch_count 1.0" in shown
    assert "invented" not in shown


def test_monitors_may_ask_with_head(listen: Listen):
    with httpx2.Client(base_url=listen()) as client:
        for path in ("/", "/health/live", "/health/ready", "/v1/indexes", "/metrics"):
            asked, got = client.head(path), client.get(path)
            assert (asked.status_code, asked.content) == (200, b"")
            assert asked.headers["content-type"] == got.headers["content-type"]
        assert client.head(SEARCH).status_code == 405


@pytest.mark.parametrize(
    ("headers", "body", "status", "said"),
    [
        ({}, b'{"query": "a"}', 422, "Content-Type: application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b'{"query": "a"}', 422, "Content-Type: application"),
        ({"Content-Type": "application/json"}, '{"query": "ü"}'.encode("latin-1"), 400, "JSON in UTF-8"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, gzip.compress(b"{}"), 400, "not compressed"),
        ({"Content-Type": "application/json"}, b'{"a":' * 100_000, 400, "JSON"),
    ],
)
def test_a_body_that_cannot_be_read(client: TestClient, headers: dict[str, str], body: bytes, status: int, said: str):
    answer = client.post(SEARCH, content=body, headers=headers)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/search"), ("POST", "/v1/v1/indexes"), ("GET", SEARCH)])
def test_a_path_that_is_none_leads_to_those_that_are(client: TestClient, method: str, path: str):
    detail = client.request(method, path).json()["detail"]
    assert path in detail
    assert "/openapi.json" in detail


def test_an_error_of_the_model_says_nothing_of_the_machine(serve: Serve, rag: RAGPretrainedModel):
    path = Path(rag.index(["The book."], index_name="plain", lexical=False))
    client = serve(("town", "plain"))
    hybrid = client.post("/v1/indexes/plain/search", json={"query": "a", "hybrid": True})
    shutil.rmtree(path)
    gone = [client.post("/v1/indexes/plain/search", json={"query": "a"}), client.get("/v1/indexes")]
    for answer, status in zip([hybrid, *gone], (400, 404, 404), strict=True):
        assert answer.status_code == status
        assert "'plain'" in answer.json()["detail"]
        assert str(path.parent) not in answer.text
    shown = client.get("/metrics").text
    assert 'ragatouille_xm_passages{index="town"} 3.0' in shown
    assert 'ragatouille_xm_passages{index="plain"} NaN' in shown
