"""A model over PostgreSQL: all that it does over a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import IndexNotFoundError, InputError
from ragatouille_xm.index.postgres.server import PostgresServer

from .servers import Server

DOCUMENTS = ["La gare est fermée.", "Die Bibliothek ist offen.", "The harbour is open."]
IDS = ["fr", "de", "en"]


def test_a_model_over_postgresql(
    folder: Path, postgres: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url()
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "here"))
    rag = RAGPretrainedModel.from_pretrained(folder, verbose=0, device="cpu", index_root=str(tmp_path / "root"))
    address = rag.index(DOCUMENTS, IDS, [{"n": i} for i in range(3)], index_name=name, index_url=url)
    assert address == f"postgresql://127.0.0.1:{postgres.port}/texts/{name}"
    assert not (tmp_path / "root").exists()
    local = RAGPretrainedModel.from_pretrained(folder, verbose=0, device="cpu", index_root=str(tmp_path / "root"))
    local.index(DOCUMENTS, IDS, [{"n": i} for i in range(3)], index_name=name)

    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "there"))
    other = RAGPretrainedModel.from_index(name, verbose=0, device="cpu", index_url=url)
    for options in ({}, {"hybrid": True}, {"filter": {"n": {"$gte": 1}}}, {"explain": True}, {"context": 1}):
        found, expected = (model.search("Bibliothek", k=3, **options) for model in (other, local))
        assert found == expected
    asked: list[str] = []
    ask = PostgresServer.ask
    with monkeypatch.context() as patch:
        patch.setattr(PostgresServer, "ask", lambda self, sql, given: asked.append(sql) or ask(self, sql, given))
        for options in ({}, {"hybrid": True}, {"explain": True, "context": 1}, {"group_by_document": True}):
            asked.clear()
            other.search("Bibliothek", k=3, **options)
            assert len(asked) == 1, options
    for model in (rag, local):
        model.add_to_index(["Il fiume è alto."], ["it"])
        model.delete_from_index(["fr"])
        model.update_in_index(["Die Bibliothek ist zu."], ["de"])
    assert other.search("Bibliothek", k=9) == local.search("Bibliothek", k=9)
    assert other.index(DOCUMENTS, IDS, index_name=name, index_url=url, overwrite_index="reuse") == address
    with pytest.raises(InputError, match="There is an index"):
        other.index(DOCUMENTS, IDS, index_name=name, index_url=url, overwrite_index=False)
    with pytest.raises(IndexNotFoundError, match="There are: .*index-"):
        RAGPretrainedModel.from_index("nothing", verbose=0, index_url=url)
    with pytest.raises(InputError, match="give its name, 'town', and index_url='postgresql://host/db'"):
        RAGPretrainedModel.from_index("postgresql://me:secret@host/db/town", verbose=0)
    other.index(["Encore."], ["new"], index_name=name, index_url=url)
    assert [each["document_id"] for each in rag.search("gare", k=5)] == ["new"]
    for model in (rag, other, local):
        model.close()
    assert rag.search("gare", k=5, index_name=name)[0]["document_id"] == "new"  # opened again
