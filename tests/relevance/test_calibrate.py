"""When an index is calibrated, and what stays of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import IndexLockedError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.relevance import neutral_gauge
from ragatouille_xm.relevance.calibrate import BACKGROUND, LEAST
from ragatouille_xm.retriever import Retriever
from ragatouille_xm.types import Calibration

SENTENCE = "the library book garden river opens morning bread fire water city year today weather rain snow"


def texts(n: int, first: int = 0) -> list[str]:
    words = SENTENCE.split()
    return [" ".join(words[(i * step) % 16] for step in (1, 3, 5, 7, 11)) + f". Number {i}." for i in range(first, n)]


def made(rag: RAGPretrainedModel) -> Calibration:
    calibration = rag.catalog.get().index.calibration
    assert calibration is not None
    return calibration


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    return RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0)


def index(rag: RAGPretrainedModel, n: int) -> None:
    rag.index(texts(n), [str(i) for i in range(n)], index_name="it", split_documents=False)


def test_a_small_index_has_none(rag):
    index(rag, LEAST - 1)
    retriever = rag.catalog.get()
    assert retriever.index.calibration is None
    assert retriever.gauge() is neutral_gauge(rag.encoder)


def test_it_is_made_with_the_index_and_kept(rag):
    index(rag, LEAST)
    found = made(rag)
    assert (found.passages, len(set(found.pids))) == (LEAST, BACKGROUND)
    assert set(found.pids) < set(range(LEAST))
    rag.close()
    assert made(rag) == found


def test_it_is_made_again_at_twice_and_half_the_size(rag):
    index(rag, LEAST)
    first = made(rag)
    rag.add_to_index(texts(2 * LEAST - 1, LEAST), [str(i) for i in range(LEAST, 2 * LEAST - 1)], split_documents=False)
    assert made(rag) == first
    rag.add_to_index(["one more text"], ["last"])
    assert made(rag).passages == 2 * LEAST
    rag.delete_from_index([str(i) for i in range(5)])
    assert made(rag).passages == 2 * LEAST
    rag.optimize_index()
    assert made(rag).passages == 2 * LEAST - 5


def test_searches_see_another_calibration_at_once(rag):
    index(rag, LEAST)
    [before] = rag.search("the library", k=1)
    other = LocalIndex.open(rag.catalog.path("it"))  # as another process has it
    other.calibrate(Calibration(LEAST, made(rag).pids, 5.0, 0.9))
    other.close()
    [after] = rag.search("the library", k=1)
    assert after["score"] == before["score"]
    assert after["relevance"] != before["relevance"]


def test_a_calibration_that_fails_does_not_undo_the_change(rag, monkeypatch, caplog):
    index(rag, LEAST)

    def locked(self: LocalIndex, calibration: Calibration) -> None:
        raise IndexLockedError("busy")

    monkeypatch.setattr(LocalIndex, "calibrate", locked)
    with caplog.at_level(logging.WARNING):
        rag.add_to_index(texts(3 * LEAST, LEAST), [str(i) for i in range(LEAST, 3 * LEAST)], split_documents=False)
    assert "busy" in caplog.text
    assert len(rag.catalog.get().index) == 3 * LEAST


def test_what_is_deleted_meanwhile_is_no_error(rag, monkeypatch):
    index(rag, 2 * LEAST)
    retriever: Retriever = rag.catalog.get()
    search = retriever.index.search

    def search_and_delete(*arguments, **options):
        hits = search(*arguments, **options)
        retriever.index.delete([str(int(hits.pids[0, 0]))])
        return hits

    monkeypatch.setattr(retriever.index, "search", search_and_delete)
    before = made(rag)
    monkeypatch.setattr("ragatouille_xm.retriever.is_due", lambda *_, **__: True)
    retriever.calibrate()
    assert made(rag) == before


def test_an_index_of_a_single_document(rag):
    rag.index([" ".join(texts(400))], ["one"], index_name="long", max_document_length=32)
    assert made(rag).passages >= LEAST
