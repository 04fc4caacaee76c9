from __future__ import annotations

from collections.abc import Iterator

import pytest

from ragatouille_xm.corpus.passages import Document, read_documents
from ragatouille_xm.corpus.splitting import SplitOptions, make_splitter, whole
from ragatouille_xm.errors import DuplicateDocumentError, InputError


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def documents(*texts: str) -> list[Document]:
    return [Document(f"d{i}", text) for i, text in enumerate(texts)]


def test_columns_are_joined() -> None:
    found = list(read_documents(["a", "b"], ["x", "y"], [{"n": 1}, None], ["fr", None]))
    assert found == [Document("x", "a", {"n": 1}, "fr"), Document("y", "b", None, None)]


def test_ids_are_made_unique_and_one_language_is_for_all() -> None:
    found = list(read_documents(["a"] * 3, languages="fr"))
    assert len({document.document_id for document in found}) == 3
    assert {document.language for document in found} == {"fr"}


def test_documents_are_read_as_they_come() -> None:
    taken = []

    def texts() -> Iterator[str]:
        for text in "abc":
            taken.append(text)
            yield text

    stream = read_documents(texts())
    next(stream)
    assert taken == ["a"]


def test_metadata_is_copied_and_stays_empty_or_none() -> None:
    mine = {"tags": ["a"]}
    (first, second, third) = read_documents(["a", "c", "d"], None, [mine, {}, None])
    mine["tags"].append("b")
    assert (first.metadata, second.metadata, third.metadata) == ({"tags": ["a"]}, {}, None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("text",), InputError, "The collection is a str; give a list of texts"),
        ((5,), InputError, "The collection is a int"),
        ((["a"], "x"), InputError, "document_ids is 'x'; give a list"),
        ((["a"], 5), InputError, "document_ids is 5; give a list"),
        ((["a"], None, {"year": 2020}), InputError, "metadatas is {'year': 2020}; give a list"),
        ((["a"], None, None, 5), InputError, "languages is 5; give a list"),
        ((["a", b"b"],), InputError, "Document 1 is a bytes"),
        ((["a", "b"], ["x"]), InputError, "document_ids has fewer entries"),
        ((["a", "b"], None, [{}]), InputError, "metadatas has fewer entries"),
        ((["a"], None, [{}, {}]), InputError, "metadatas has 2 entries for 1 texts"),
        ((["a"], [7]), InputError, r"document_ids\[0\] is 7"),
        ((["a"], ["x\ud800"]), InputError, "x.*has a lone surrogate"),
        ((["a", "b\ud800"],), InputError, "Document 1 has a lone surrogate"),
        ((["a"], None, None, [7]), InputError, r"languages\[0\] is 7"),
        ((["a", "b"], ["x", "x"]), DuplicateDocumentError, "'x' twice"),
    ],
)
def test_bad_documents(arguments: tuple[object, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(read_documents(*arguments))


def test_splitting_by_sentences_by_a_function_and_not_at_all() -> None:
    texts = documents("One two three. Four five six.", "Seven.")
    assert whole(texts) == [(0, "One two three. Four five six."), (1, "Seven.")]
    assert make_splitter(SplitOptions(9, document_splitter_fn=None), words, 4)(texts) == whole(texts)
    assert make_splitter(SplitOptions(9), words, 4)(texts) == [
        (0, "One two three."),
        (0, "Four five six."),
        (1, "Seven."),
    ]
    assert make_splitter(SplitOptions(9, document_splitter_fn=lambda text: text.split(" ", 1)), words, 4)(
        documents("a b c")
    ) == [
        (0, "a"),
        (0, "b c"),
    ]


def test_preprocessing_follows_splitting() -> None:
    split = make_splitter(SplitOptions(9, preprocessing_fn=[str.upper, lambda text: text + "!"]), words, 4)
    assert split(documents("one")) == [(0, "ONE!")]


def test_a_splitter_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="document_splitter_fn='words' is not usable"):
        make_splitter(SplitOptions(9, document_splitter_fn="words"), words, 4)
