"""Relevance as users see it, on the demo checkpoint."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.demo import demo_queries, demo_sample
from ragatouille_xm.errors import InputError


@pytest.fixture(scope="module")
def rag(demo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RAGPretrainedModel:
    """Return a model with the sample collection, which is large enough to be calibrated."""
    made = RAGPretrainedModel.from_pretrained(demo_path, index_root=tmp_path_factory.mktemp("root"), verbose=0)
    sample = demo_sample()
    languages = [document.language for document in sample]
    made.index([document.text for document in sample], [d.id for d in sample], index_name="sample", languages=languages)
    return made


@cache  # what is asked without options is asked once
def answers(rag, **options):
    queries = demo_queries()
    found = rag.search([q.text for q in queries], k=5, language=[q.language for q in queries], **options)
    return list(zip(queries, found, strict=True))


def test_answers_are_told_from_what_is_there_without_them(rag):
    """A vague query has a high score and a low relevance."""
    best = [found[0] for query, found in answers(rag) if found[0]["document_id"] == query.document_id]
    vague = [found[0] for found in rag.search(["when", "and then", "yes", "quand", "wann"], k=1)]
    assert max(each["relevance"] for each in vague) < 0.5
    assert min(each["score"] for each in vague) > 0.8 * 32
    assert sorted(each["relevance"] for each in best)[len(best) // 2] > max(each["relevance"] for each in vague)


def test_the_question_of_the_museum(rag):
    """It had 0.94."""
    [found] = rag.rerank("when", ["The museum shows paintings of the nineteenth century."], k=1)
    assert found["relevance"] < 0.5


def test_more_score_is_more_relevance(rag):
    for _, found in answers(rag):
        relevance = [each["relevance"] for each in found]
        assert relevance == sorted(relevance, reverse=True)
        assert all(0 <= each <= 1 for each in relevance)


def test_min_relevance_leaves_out_what_has_less(rag):
    some = [each["relevance"] for _, found in answers(rag) for each in found]
    least = sorted(some)[len(some) // 2]
    for (_, every), (_, left) in zip(answers(rag), answers(rag, min_relevance=least), strict=True):
        assert left == [each for each in every if each["relevance"] >= least]
    assert not any(found for _, found in answers(rag, min_relevance=1.0))


def test_rerank_and_encoded_documents_say_the_same_as_the_index(rag):
    """To within the rounding of what the index stores."""
    rag.clear_encoded_docs()
    for query, found in answers(rag)[::15]:
        texts = [each["content"] for each in found]
        expected = pytest.approx([each["relevance"] for each in found], abs=0.02)
        options = {"language": query.language}
        languages = [each["language"] for each in found]
        assert [
            each["relevance"] for each in rag.rerank(query.text, texts, 5, languages=languages, **options)
        ] == expected
        rag.encode(texts, languages=languages)
        assert [each["relevance"] for each in rag.search_encoded_docs(query.text, 5, **options)] == expected
        rag.clear_encoded_docs()


def test_relevance_is_measured_by_the_index_that_is_named(rag):
    query, texts = demo_queries()[0].text, [document.text for document in demo_sample()[:3]]
    rag.encode(texts)

    def measured(**options):
        found = [rag.rerank(query, texts, 3, **options), rag.search_encoded_docs(query, 3, **options)]
        return [[each["relevance"] for each in results] for results in found]

    by_sample = measured(index_name="sample")
    rag.index(texts, index_name="few")
    assert measured() != by_sample
    assert measured(index_name="sample") == by_sample
    assert measured() == by_sample  # it was named last
    rag.clear_encoded_docs()


def test_thresholds_without_an_index(rag):
    texts = [document.text for document in demo_sample()[:3]]
    every = rag.rerank(demo_queries()[0].text, texts, 3)
    least = every[1]["relevance"]
    assert [each["relevance"] >= least for each in every] == [True, True, False]
    assert rag.rerank(demo_queries()[0].text, texts, 3, min_relevance=least) == every[:2]
    rag.encode(texts)
    assert len(rag.search_encoded_docs(demo_queries()[0].text, 3, min_relevance=least)) == 2
    rag.clear_encoded_docs()


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "high", True])
def test_thresholds_that_are_none(rag, value):
    for search in (rag.search, lambda *a, **o: rag.rerank(*a, ["text"], **o)):
        with pytest.raises(InputError, match="min_relevance"):
            search("a query", min_relevance=value)


def test_the_query_language_first(rag):
    """Eight of ten subjects are in all languages."""
    plain, preferring = answers(rag), answers(rag, prefer_language="query", language_weight=1.0)
    for (query, before), (_, after) in zip(plain, preferring, strict=True):
        assert {each["language"] for each in after} == {query.language}
        assert len(after) == len(before)
