"""Hybrid search through the facade: what users see."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError
from ragatouille_xm.index.local.index import LocalIndex
from ragatouille_xm.transfer.plaid import convert_index, export_index

DOCUMENTS = {
    "en": "The library opens in the morning and the book is in the garden.",
    "fr": "La bibliothèque est au bord de la rivière, et le livre est dans le jardin.",
    "zh": "图书馆在北京市，今天有水和火，明年有雨雪。",
    "de": "Das Buch ist in der Bibliothek und das Brot ist im Garten am Fluss.",
    "code": "Error QX-7741 means that the garden gate is open.",
}


@pytest.fixture
def rag(model: RAGPretrainedModel, tmp_path: Path) -> RAGPretrainedModel:
    fresh = RAGPretrainedModel(model.encoder, tmp_path / "root", verbose=0)
    fresh.index(DOCUMENTS, document_metadatas=[{"n": i} for i in range(5)], index_name="town")
    return fresh


def ids(results: list[dict]) -> list[str]:
    return [result["document_id"] for result in results]


def test_a_rare_word_is_found_by_it(rag: RAGPretrainedModel) -> None:
    results = rag.search("QX-7741", k=5, hybrid=True, lexical_weight=1.0)
    assert results[0]["document_id"] == "code"
    assert results[0]["score"] == 1.0
    assert rag.search("图书馆", k=1, hybrid=True, lexical_weight=1.0)[0]["document_id"] == "zh"


def test_the_score_is_made_of_both(rag: RAGPretrainedModel) -> None:
    maxsim = {each["document_id"]: each for each in rag.search("the garden gate", k=5)}
    lexical = {each["document_id"]: each["lexical_score"] for each in rag.search("the garden gate", k=5, hybrid=True)}

    def scaled(value: float, values: list[float]) -> float:
        return (value - min(values)) / (max(values) - min(values))

    for weight in (0.0, 0.3, 1.0):
        results = rag.search("the garden gate", k=5, hybrid=True, lexical_weight=weight)
        assert [each["rank"] for each in results] == [1, 2, 3, 4, 5]
        for each in results:
            plain = maxsim[each["document_id"]]
            assert each["maxsim_score"] == pytest.approx(plain["score"], abs=1e-3)
            assert each["relevance"] == pytest.approx(plain["relevance"], abs=1e-4)
            assert each["lexical_score"] == pytest.approx(lexical[each["document_id"]])
            parts = (
                scaled(plain["score"], [other["score"] for other in maxsim.values()]),
                scaled(each["lexical_score"], list(lexical.values())),
            )
            assert each["score"] == pytest.approx((1 - weight) * parts[0] + weight * parts[1], abs=1e-3)
            assert set(each) - set(plain) == {"maxsim_score", "lexical_score"}
    assert ids(rag.search("the garden gate", k=5, hybrid=True, lexical_weight=0.0)) == list(maxsim)
    assert "lexical_score" not in maxsim["en"]


def test_case_does_not_matter(rag: RAGPretrainedModel) -> None:
    for one, other in (("GARDEN GATE", "garden gate"), ("bibliothek", "BIBLIOTHEK")):
        scores = [
            {each["document_id"]: each["lexical_score"] for each in rag.search(query, k=5, hybrid=True)}
            for query in (one, other)
        ]
        assert scores[0] == scores[1]


def test_filters_explanations_and_scores_go_along(rag: RAGPretrainedModel) -> None:
    assert ids(rag.search("QX-7741", k=5, hybrid=True, filter={"n": {"$lt": 2}})) in (["en", "fr"], ["fr", "en"])
    assert ids(rag.search("QX-7741", k=5, hybrid=True, doc_ids="zh")) == ["zh"]
    best = rag.search("garden gate", k=3, hybrid=True, explain=True)[0]
    assert best["evidence"].score == pytest.approx(best["maxsim_score"], abs=0.01)
    few = rag.search("QX-7741", k=5, hybrid=True, lexical_weight=1.0, min_score=0.5)
    assert [each["score"] >= 0.5 for each in few] == [True] * len(few)
    assert len(few) < 5
    assert rag.search("QX-7741", k=1, hybrid=True, zero_index_ranks=True)[0]["rank"] == 0


def test_blank_queries_among_others(rag: RAGPretrainedModel) -> None:
    both = rag.search(["", "QX-7741"], k=1, hybrid=True, lexical_weight=1.0, filter={"n": {"$gte": 3}})
    assert [ids(results) for results in both] == [["de"], ["code"]]


def test_additions_updates_and_deletes_count(rag: RAGPretrainedModel) -> None:
    rag.add_to_index(["A second gate has the number QX-7741 too."], ["more"])
    found = rag.search("QX-7741", k=6, hybrid=True, lexical_weight=1.0)
    assert set(ids(found[:2])) == {"code", "more"}
    before = found[0]["lexical_score"]
    rag.delete_from_index(["more"])
    found = rag.search("QX-7741", k=6, hybrid=True, lexical_weight=1.0)
    assert found[0]["document_id"] == "code"
    assert found[0]["lexical_score"] > before  # it is rarer now
    rag.update_in_index(["Nothing of it is left."], ["code"])
    assert rag.search("QX-7741", k=1, hybrid=True)[0]["lexical_score"] < before


@pytest.mark.parametrize("weight", [-0.1, 1.1, "much", True, None, float("nan")])
def test_weights_that_are_none(rag: RAGPretrainedModel, weight: object) -> None:
    rag.encode(["The garden gate."], verbose=False)
    with pytest.raises(InputError, match="lexical_weight=.* is not usable"):
        rag.search("garden", hybrid=True, lexical_weight=weight)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="lexical_weight=.* is not usable"):
        rag.search_encoded_docs("garden", hybrid=True, lexical_weight=weight)  # type: ignore[arg-type]


def test_an_index_without_pieces_says_how_to_get_them(rag: RAGPretrainedModel) -> None:
    path = rag.index(DOCUMENTS, index_name="plain", lexical=False)
    with pytest.raises(InputError, match=r"plain.* does not keep the pieces .*index\(…, lexical=True\)"):
        rag.search("garden", hybrid=True)
    assert len(rag.search("garden", k=5)) == 5
    rag.add_to_index(["One more."], ["more"])
    assert not list(Path(path).glob("*.lexical"))


def test_folders_of_colbert_ai_and_what_becomes_of_them(rag: RAGPretrainedModel, tmp_path: Path) -> None:
    export_index(tmp_path / "root/colbert/indexes/town", tmp_path / "exported", nbits=4)
    opened = RAGPretrainedModel.from_index(tmp_path / "exported", verbose=0, checkpoint=rag.encoder.checkpoint.folder)
    with pytest.raises(InputError, match="exported.* does not keep the pieces"):
        opened.search("garden", hybrid=True)
    convert_index(tmp_path / "exported", tmp_path / "converted", checkpoint=rag.encoder.checkpoint.folder)
    assert not LocalIndex.open(tmp_path / "converted").lexical


def test_documents_in_memory(rag: RAGPretrainedModel) -> None:
    rag.encode(list(DOCUMENTS.values()), verbose=False)
    found = rag.search_encoded_docs("QX-7741", k=2, hybrid=True, lexical_weight=1.0)
    assert found[0]["result_index"] == 4
    assert found[0]["score"] == 1.0
    assert "lexical_score" not in rag.search_encoded_docs("QX-7741", k=2)[0]
    rag.clear_encoded_docs()


def test_vectors_alone_have_no_words(rag: RAGPretrainedModel) -> None:
    retriever = rag.catalog.get()
    with pytest.raises(InputError, match="hybrid=True needs the texts"):
        retriever.search(retriever.encode(["garden"]), lexical_weight=0.3)
