"""`RagatouilleXMCompressor`: alone, and inside LangChain's ContextualCompressionRetriever."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_ragatouille_xm import RagatouilleXMCompressor
from pydantic import ValidationError
from reference.five import IDS, TEXTS

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError

DOCUMENTS = [
    Document(id=name, page_content=text, metadata={"source": name}) for name, text in zip(IDS, TEXTS, strict=True)
]


@pytest.fixture
def compressor(empty: RAGPretrainedModel) -> BaseDocumentCompressor:
    made: BaseDocumentCompressor = empty.as_langchain_document_compressor(k=3)
    return made


def test_the_best_documents_come_back_as_scored_copies(
    empty: RAGPretrainedModel, compressor: BaseDocumentCompressor
) -> None:
    found: Sequence[Document] = compressor.compress_documents(DOCUMENTS, TEXTS[3])
    expected = empty.rerank(TEXTS[3], TEXTS, k=3)
    assert [document.page_content for document in found] == [result["content"] for result in expected]
    assert (found[0].id, found[0].page_content, found[0].metadata["source"]) == ("de", TEXTS[3], "de")
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == pytest.approx([result["score"] for result in expected])
    assert all(type(score) is float for score in scores)
    assert all(set(document.metadata) == {"source"} for document in DOCUMENTS)
    assert asyncio.run(compressor.acompress_documents(DOCUMENTS, TEXTS[3])) == found


def test_options_per_call_and_fixed_languages(empty: RAGPretrainedModel, compressor: BaseDocumentCompressor) -> None:
    assert isinstance(compressor, RagatouilleXMCompressor)
    assert len(compressor.compress_documents(DOCUMENTS, "book", k=1)) == 1
    assert len(compressor.compress_documents(DOCUMENTS, "book", k=50)) == 5
    fixed = RagatouilleXMCompressor(model=empty, language="de", document_language="en")
    (found,) = fixed.compress_documents(DOCUMENTS[:1], "Buch")
    (expected,) = empty.rerank("Buch", TEXTS[:1], language="de", languages="en")
    assert found.metadata["relevance_score"] == pytest.approx(expected["score"])
    per_call = compressor.compress_documents(DOCUMENTS[:1], "Buch", language="de", document_language="en")
    assert per_call == [found]
    assert len(asyncio.run(compressor.acompress_documents(DOCUMENTS, "book", k=1))) == 1
    assert fixed.compress_documents(DOCUMENTS[1:2], "Buch", document_language=None) != fixed.compress_documents(
        DOCUMENTS[1:2], "Buch"
    )


def test_copies_share_the_model_and_the_schema_is_without_it(compressor: BaseDocumentCompressor) -> None:
    assert isinstance(compressor, RagatouilleXMCompressor)
    for made in (copy.deepcopy(compressor), compressor.model_copy(deep=True)):
        assert made.model is compressor.model
        assert made.compress_documents(DOCUMENTS, "book") == compressor.compress_documents(DOCUMENTS, "book")
    schema = RagatouilleXMCompressor.model_json_schema()
    assert set(schema["properties"]) == {"k", "language", "document_language", "with_scores"}


def test_without_scores_the_documents_are_equal_to_what_came(compressor: BaseDocumentCompressor) -> None:
    assert isinstance(compressor, RagatouilleXMCompressor)
    found = compressor.compress_documents((each for each in DOCUMENTS), TEXTS[3], with_scores=False)  # type: ignore[arg-type]
    assert len(found) == 3
    assert all(each in DOCUMENTS and type(each) is Document for each in found)


def test_no_documents(compressor: BaseDocumentCompressor) -> None:
    assert compressor.compress_documents([], "book") == []


def test_behind_another_retriever(compressor: BaseDocumentCompressor) -> None:
    classic = pytest.importorskip("langchain_classic.retrievers")

    class Everything(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
            return DOCUMENTS

    chain = classic.ContextualCompressionRetriever(base_compressor=compressor, base_retriever=Everything())
    found = chain.invoke(TEXTS[4])
    assert (len(found), found[0].id) == (3, "ja")
    assert asyncio.run(chain.ainvoke(TEXTS[4])) == found


def test_bad_input(empty: RAGPretrainedModel, compressor: BaseDocumentCompressor) -> None:
    with pytest.raises(ValidationError, match="k=0 is not usable"):
        RagatouilleXMCompressor(model=empty, k=0)
    with pytest.raises(ValidationError, match="top_n"):
        empty.as_langchain_document_compressor(top_n=3)
    with pytest.raises(InputError, match="A query is blank"):
        compressor.compress_documents(DOCUMENTS, "  ")


@pytest.mark.parametrize(
    ("documents", "query", "message"),
    [
        (["a text"], "book", r"documents\[0\] is a str; give Document"),
        ("a text", "book", "documents is a str"),
        (None, "book", "documents is a NoneType"),
        (DOCUMENTS, ["book"], "The query is a list"),
    ],
)
def test_what_is_no_document_or_query_is_refused(
    compressor: BaseDocumentCompressor, documents: Any, query: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compressor.compress_documents(documents, query)
