"""A say in the language: what is asked for comes first, unless another answer is clearly better."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import InputError, LanguageError
from ragatouille_xm.index.exact import ExactIndex
from ragatouille_xm.relevance import Curve, Gauge
from ragatouille_xm.retriever import Retriever
from ragatouille_xm.types import Passage, TokenVectors

LANGUAGES = ("de", "en", "fr")
CURVE = Curve(10.0, 0.5)


@pytest.fixture(scope="module")
def make(model):
    """Return what makes a retriever over passages of some scores, for the query of `asked`."""
    dim = model.encoder.dim

    def made(passages: list[tuple[float, str]]) -> Retriever:
        vectors = torch.zeros(len(passages), dim)
        for i, (score, _) in enumerate(passages):
            vectors[i, 0], vectors[i, 1] = score, (1 - score**2) ** 0.5
        index = ExactIndex(dim)
        found = [Passage(i, f"d{i}", f"text {i}", language) for i, (_, language) in enumerate(passages)]
        index.add(found, TokenVectors(vectors, torch.ones(len(passages), dtype=torch.int64)))
        background = TokenVectors(torch.eye(dim)[2:4], torch.tensor([1, 1]))  # chance is 0
        return Retriever(model.encoder, index, 32, gauge=Gauge(background, CURVE))

    return made


def asked(retriever: Retriever) -> torch.Tensor:
    return torch.eye(retriever.encoder.dim)[None, :1]


hits = st.lists(st.tuples(st.floats(0.05, 0.95), st.sampled_from(LANGUAGES)), min_size=1, max_size=12, unique=True)


@settings(max_examples=50)
@given(hits=hits, k=st.integers(1, 12), weight=st.floats(0.01, 1), language=st.sampled_from(LANGUAGES))
def test_results_are_the_best_by_what_they_are_worth(make, hits, k, weight, language):
    """Those in the language are found however far behind they are."""
    retriever = make(hits)
    [found] = retriever.search(asked(retriever), k, prefer_language=language, language_weight=weight)

    def worth(relevance: float, own: str) -> float:
        return relevance * (1 if own == language else 1 - weight)

    every = sorted((worth(float(CURVE(score)), own) for score, own in hits), reverse=True)[:k]
    assert [worth(each["relevance"], each["language"]) for each in found] == pytest.approx(every, abs=0.01)
    assert [each["rank"] for each in found] == list(range(1, len(found) + 1))
    for each in found:  # the score stays what it is
        assert each["score"] == pytest.approx(hits[each["passage_id"]][0], abs=1e-5)


def languages(found):
    return [each["language"] for each in found[0]]


def test_a_clearly_better_answer_is_not_hidden(make):
    close, clear = make([(0.8, "en"), (0.7, "fr")]), make([(0.9, "en"), (0.3, "fr")])
    for retriever, expected in ((close, ["fr", "en"]), (clear, ["en", "fr"])):
        assert languages(retriever.search(asked(retriever), 2, prefer_language="fr")) == expected
        assert languages(retriever.search(asked(retriever), 2)) == ["en", "fr"]
        assert languages(retriever.search(asked(retriever), 2, prefer_language="fr", language_weight=0)) == ["en", "fr"]
        assert languages(retriever.search(asked(retriever), 2, prefer_language="fr", language_weight=1)) == ["fr", "en"]
        assert languages(retriever.search(asked(retriever), 1, prefer_language="fr_XX")) == expected[:1]


def test_filters_and_thresholds_hold(make):
    retriever = make([(0.9, "en"), (0.8, "fr"), (0.2, "fr"), (0.6, "de")])
    options = {"prefer_language": "fr", "language_weight": 1.0}
    some = retriever.search(asked(retriever), 9, filter={"language": {"$ne": "fr"}}, **options)
    assert languages(some) == ["en", "de"]
    some = retriever.search(asked(retriever), 9, min_relevance=0.5, **options)
    assert (languages(some), [each["rank"] for each in some[0]]) == (["fr", "en", "de"], [1, 2, 3])
    assert languages(retriever.search(asked(retriever), 9, min_score=0.7, **options)) == ["fr", "en"]


def test_the_language_of_each_query(model, tmp_path):
    rag = type(model)(model.encoder, tmp_path, verbose=0)
    rag.index(["the library", "la bibliothèque", "the garden", "le jardin"], languages=["en", "fr", "en", "fr"])
    queries = ["the book", "le livre", " "]
    options = {"language": ["en", "fr", "en"], "prefer_language": "query", "language_weight": 1.0}
    english, french, blank = rag.search(queries, k=4, filter={"language": {"$in": ["en", "fr"]}}, **options)
    assert [each["language"] for each in english] == ["en", "en", "fr", "fr"]
    assert [each["language"] for each in french] == ["fr", "fr", "en", "en"]
    assert len(blank) == 4


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_weights_that_are_none(make, weight):
    retriever = make([(0.5, "en")])
    with pytest.raises(InputError, match="language_weight"):
        retriever.search(asked(retriever), 1, prefer_language="fr", language_weight=weight)


def test_languages_that_are_none(make):
    retriever = make([(0.5, "en")])
    with pytest.raises(InputError, match="give the language"):
        retriever.search(asked(retriever), 1, prefer_language="query")
    with pytest.raises(LanguageError):
        retriever.search(asked(retriever), 1, prefer_language="klingon")
    with pytest.raises(InputError):
        retriever.search(asked(retriever), 1, prefer_language=3)
