"""`ragatouille_xm.data` and `ragatouille_xm.utils`: what RAGatouille's scripts import besides the two classes."""

from __future__ import annotations

import io
import json
import sys
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit

import pytest

from ragatouille_xm import utils
from ragatouille_xm.data import CorpusProcessor, llama_index_sentence_splitter
from ragatouille_xm.errors import InputError, MissingExtraError


def test_llama_indexs_sentences() -> None:
    pytest.importorskip("llama_index.core")
    long = "This is a sentence of eight words here. " * 40
    chunks = llama_index_sentence_splitter([long, "Short."], ["a", "b"], chunk_size=60)
    assert [chunk["document_id"] for chunk in chunks][-2:] == ["a", "b"]
    assert len(chunks) > 6
    assert chunks[-1]["content"] == "Short."
    assert CorpusProcessor().process_corpus([long, "Short."], ["a", "b"], chunk_size=60) == chunks


def test_without_llama_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_index.core.node_parser", None)
    with pytest.raises(MissingExtraError, match=r"ragatouille-xm\[llama-index\]"):
        llama_index_sentence_splitter(["a"], ["b"])


def test_hooks_in_either_form() -> None:
    assert CorpusProcessor(None).process_corpus(["One", "Two"]) == ["One", "Two"]
    assert CorpusProcessor(None, [str.lower, str.strip]).process_corpus([" One"]) == ["one"]

    def halves(documents: list[str], document_ids: list[str], chunk_size: int = 256) -> list[dict[str, Any]]:
        return [
            {"document_id": i, "content": part}
            for i, text in zip(document_ids, documents, strict=True)
            for part in (text[:chunk_size], text[chunk_size:])
        ]

    def louder(documents: list[dict[str, Any]], document_ids: list[str]) -> list[dict[str, Any]]:
        return [each | {"content": each["content"] + "!"} for each in documents]

    found = CorpusProcessor(halves, louder).process_corpus(["abcd"], ["x"], chunk_size=1)
    assert found == [{"document_id": "x", "content": "a!"}, {"document_id": "x", "content": "bcd!"}]
    ids = [each["document_id"] for each in CorpusProcessor(str.split).process_corpus(["a b", "c"])]
    assert ids[0] == ids[1] != ids[2]
    with pytest.raises(InputError, match="document_splitter_fn returned"):
        CorpusProcessor(len).process_corpus(["a"])


def test_a_splitter_gets_what_is_given_for_it_and_has_its_own_defaults() -> None:
    def start(documents: list[str], document_ids: list[str], chunk_size: int = 2, *, end: str = "") -> list[Any]:
        pairs = zip(document_ids, documents, strict=True)
        return [{"document_id": i, "content": text[:chunk_size] + end} for i, text in pairs]

    def contents(splitter: Any, **options: Any) -> list[str]:
        return [each["content"] for each in CorpusProcessor(splitter).process_corpus(["abcd", "e"], **options)]

    assert contents(start) == ["ab", "e"]
    assert contents(start, chunk_size=3, end="!") == ["abc!", "e!"]
    assert contents(lambda text, sep: text.split(sep), sep="b") == ["a", "cd", "e"]
    with pytest.raises(TypeError, match="overlap"):
        contents(start, overlap=1)


@pytest.mark.parametrize(
    ("documents", "ids", "said"),
    [
        ("one", None, "The collection is a str; give a list of texts"),
        (["one", None], None, "Document 1 is a NoneType"),  # as get_wikipedia_page returns for a page that is not there
        (["one", 3], ["a", "b"], "'b'"),
        (["one", "two"], ["a", "a"], "'a'"),
        (["one", "two"], ["a"], "document_ids has fewer entries"),
    ],
)
@pytest.mark.parametrize("splitter", [None, str.split, llama_index_sentence_splitter])
def test_documents_that_are_none(documents: Any, ids: Any, said: str, splitter: Any) -> None:
    with pytest.raises(InputError, match=said):
        CorpusProcessor(splitter).process_corpus(documents, ids)
    if splitter is llama_index_sentence_splitter:
        pytest.importorskip("llama_index.core")
        with pytest.raises(InputError, match=said):
            splitter(documents, ids)


@pytest.mark.parametrize("size", [0, -5, 2.5, None])
def test_a_chunk_size_that_is_none(size: Any) -> None:
    with pytest.raises(InputError, match=f"chunk_size={size} is not usable"):
        CorpusProcessor().process_corpus(["one"], chunk_size=size)


def test_a_wikipedia_page(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answer(request: Any, timeout: float) -> io.BytesIO:
        asked.append(urlsplit(request.full_url))
        page = {"title": "x"} | ({} if "absent" in request.full_url else {"extract": "Un texte."})
        return io.BytesIO(json.dumps({"query": {"pages": {"7": page}}}).encode())

    monkeypatch.setattr(utils, "urlopen", answer)
    assert utils.get_wikipedia_page("Hayao Miyazaki", language="fr") == "Un texte."
    assert utils.get_wikipedia_page("absent") is None
    assert [each.hostname for each in asked] == ["fr.wikipedia.org", "en.wikipedia.org"]
    assert parse_qs(asked[0].query)["titles"] == ["Hayao Miyazaki"]
    with pytest.raises(InputError, match="is not that of a Wikipedia"):
        utils.get_wikipedia_page("a", language="evil.example/")

    def fail(request: Any, timeout: float) -> io.BytesIO:
        raise URLError("no route")

    monkeypatch.setattr(utils, "urlopen", fail)
    with pytest.raises(InputError, match=r"'a' cannot be fetched from en\.wikipedia\.org: .*no route"):
        utils.get_wikipedia_page("a")


def test_shuffling_is_the_same_every_time() -> None:
    given = list(range(10))
    assert utils.seeded_shuffle(given) is given
    assert given == utils.seeded_shuffle(list(range(10))) != list(range(10))
