"""push and pull, as users type them, over the client's local mode; and the same index in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from qdrant_client import QdrantClient
from typer.testing import Result

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import IndexFormatError, IndexNotFoundError, InputError, MissingExtraError
from ragatouille_xm.index.qdrant.index import STATE, STATE_ID
from ragatouille_xm.index.qdrant.server import QdrantServer

from .test_commands import error, good, records

Run = Callable[..., Result]
URL = "http://host:6333"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> QdrantClient:
    """Stand in for the server at `URL`."""
    client = QdrantClient(":memory:")
    asked: list[tuple[str, str | None]] = []

    def connected(self: QdrantServer, url: str, api_key: str | None) -> QdrantClient:
        asked.append((url, api_key))
        return client

    monkeypatch.setattr(QdrantServer, "_connected", connected)
    monkeypatch.setattr(client, "close", lambda: None)
    client.asked = asked
    return client


def test_push_and_pull(run: Run, root: Path, host: QdrantClient, tmp_path: Path) -> None:
    result = good(run("push", "mine", "--to", URL, "--root", root, "--api-key", "secret", "--shards", 2))
    assert "Pushed 4 passages to" in result.stderr
    assert host.asked[0] == (URL, "secret")
    assert "already" in error(run("push", "mine", "--to", URL, "--root", root))
    good(run("push", "mine", "--to", URL, "--root", root, "--overwrite", "--name", "mine"))

    result = good(run("pull", f"{URL}/mine", "--to", tmp_path / "back"))
    assert "Pulled 4 passages" in result.stderr
    assert "already" in error(run("pull", f"{URL}/mine", "--to", tmp_path / "back"))
    found = records(run("search", tmp_path / "back", "library", "--json"))
    assert {r["document_id"] for r in found} == {"en", "fr", "zh", "de"}
    assert "no index 'other'" in error(run("pull", f"{URL}/other", "--to", tmp_path / "other"))
    assert "not an index address" in error(run("pull", "mine", "--to", tmp_path / "other"))
    assert "'host' is not an address: give http://host:6333, or" in error(
        run("push", "mine", "--to", "me:S3CRET@host", "--root", root)
    )
    for secret in ("http://me:S3CRET@host:6333", "http://me:S3CRET@host:6333/mine", f"{URL}/mine?api_key=S3CRET"):
        refused = run("pull", secret, "--to", tmp_path / "other")
        assert "not an index address" in error(refused)
        assert "S3CRET" not in refused.output + refused.stderr


def test_the_facade_over_qdrant(checkpoint: Path, host: QdrantClient, tmp_path: Path) -> None:
    model = RAGPretrainedModel.from_pretrained(checkpoint, verbose=0, index_root=str(tmp_path))
    options = {"index_name": "news", "index_url": URL, "api_key": "secret"}
    model.index(["The library opens.", "Le livre est ici."], ["a", "b"], [{"n": 1}, {"n": 2}], **options)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="already"):
        model.index(["x"], overwrite_index=False, **options)

    other = RAGPretrainedModel.from_index("news", verbose=0, index_url=URL, api_key="secret")
    before = other.search("library", k=2)
    assert {r["document_id"] for r in before} == {"a", "b"}
    assert before == model.search("library", k=2)
    model.add_to_index(["A garden by the river."], ["c"])
    assert len(other.search("library", k=9)) == 3
    model.update_in_index(["The library is closed."], ["a"])
    assert other.get_passages("a")[0]["content"] == "The library is closed."
    assert model.delete_from_index("c") == 1
    assert [r["document_id"] for r in other.search("x", k=9, filter={"n": {"$gte": 2}})] == ["b"]
    model.close()
    assert len(model.search("library", k=9)) == 2
    model.index(["Begun again."], ["z"], **options)
    assert [r["document_id"] for r in other.search("library")] == ["z"]
    model.index(["In a folder."], ["f"], index_name="news")
    assert [r["document_id"] for r in model.search("library")] == ["f"]


def test_a_build_in_qdrant_is_resumed(checkpoint: Path, host: QdrantClient, monkeypatch) -> None:
    monkeypatch.setattr("ragatouille_xm.indexing.DOCUMENT_BATCH", 2)
    model = RAGPretrainedModel.from_pretrained(checkpoint, verbose=0)
    texts, ids = [f"Text number {i}." for i in range(6)], [str(i) for i in range(6)]
    options = {"index_name": "news", "index_url": URL, "overwrite_index": "resume"}

    def broken():
        yield from texts[:4]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        model.index(broken(), ids, **options)
    encoded = []
    real = model.encoder.encode_documents
    monkeypatch.setattr(model.encoder, "encode_documents", lambda t, *a, **k: encoded.extend(t) or real(t, *a, **k))
    model.index(texts, ids, **options)
    assert encoded == texts[4:]
    assert {r["document_id"] for r in model.search("text", k=9)} == set(ids)


def test_what_the_facade_refuses(checkpoint: Path, host: QdrantClient, tmp_path: Path, root: Path) -> None:
    model = RAGPretrainedModel.from_pretrained(checkpoint, verbose=0)
    with pytest.raises(InputError, match="give index_url="):
        model.index(["x"], api_key="secret")
    with pytest.raises(IndexNotFoundError, match="no index 'nothing'"):
        RAGPretrainedModel.from_index("nothing", verbose=0, index_url=URL)
    model.index(["x"], ["x"], index_name="news", index_url=URL)
    name = host.get_aliases().aliases[0].collection_name
    [point] = host.retrieve(name, ids=[STATE_ID])
    other = point.payload[STATE].replace(model.encoder.checkpoint.fingerprint, "another")
    host.set_payload(name, {STATE: other}, points=[STATE_ID])
    with pytest.raises(IndexFormatError, match="was filled by the checkpoint"):
        RAGPretrainedModel.from_index("news", verbose=0, index_url=URL)


def test_without_the_client(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    for name in ("ragatouille_xm.index.qdrant", "ragatouille_xm.index.qdrant.server"):
        monkeypatch.delitem(sys.modules, name)
    model = RAGPretrainedModel.from_pretrained(checkpoint, verbose=0)
    with pytest.raises(MissingExtraError, match=r'pip install "ragatouille-xm\[qdrant\]"'):
        model.index(["x"], index_url=URL)
