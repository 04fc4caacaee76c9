from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest

from ragatouille_xm.errors import InputError
from ragatouille_xm.text.hooks import apply_preprocessing, apply_splitter_fn

TEXTS = ["one two", "three", "four five six"]
IDS = ["a", "b", "c"]


def ragatouille_splitter(documents: list[str], document_ids: list[str], chunk_size: int = 256) -> list[dict[str, str]]:
    pairs = zip(document_ids, documents, strict=True)
    return [{"document_id": i, "content": f"{word}/{chunk_size}"} for i, text in pairs for word in text.split()]


class TestSplitter:
    def test_ragatouilles_form(self) -> None:
        assert apply_splitter_fn(ragatouille_splitter, TEXTS, IDS, 64) == [
            (0, "one/64"), (0, "two/64"), (1, "three/64"), (2, "four/64"), (2, "five/64"), (2, "six/64"),
        ]  # fmt: skip

    def test_ragatouilles_form_without_a_chunk_size(self) -> None:
        def fn(documents: list[str], document_ids: list[str]) -> list[dict[str, str]]:
            return ragatouille_splitter(documents, document_ids, 7)

        assert apply_splitter_fn(fn, ["one"], ["a"], 64) == [(0, "one/7")]

    def test_ragatouilles_form_by_the_name_of_a_parameter(self) -> None:
        def fn(documents: list[str], document_ids: Sequence[str] = (), **kwargs: int) -> list[dict[str, str]]:
            return ragatouille_splitter(documents, list(document_ids), kwargs["chunk_size"])

        assert apply_splitter_fn(fn, ["one"], ["a"], 64) == [(0, "one/64")]

    def test_a_function_of_one_text(self) -> None:
        expected = [(0, "one"), (0, "two"), (1, "three"), (2, "four"), (2, "five"), (2, "six")]
        assert apply_splitter_fn(str.split, TEXTS, IDS, 64) == expected
        assert apply_splitter_fn(lambda text, sep=" ": iter(text.split(sep)), TEXTS, IDS, 64) == expected

    def test_partials_and_objects(self) -> None:
        class Fixed:
            def __call__(self, documents: Any, document_ids: Any, chunk_size: int) -> Any:
                return ragatouille_splitter(documents, document_ids, chunk_size)

        assert apply_splitter_fn(Fixed(), ["one"], ["a"], 5) == [(0, "one/5")]
        assert apply_splitter_fn(functools.partial(ragatouille_splitter, chunk_size=9), ["x"], ["a"], 5) == [(0, "x/5")]

    def test_chunks_come_grouped_by_document(self) -> None:
        def fn(documents: list[str], document_ids: list[str]) -> list[dict[str, str]]:
            return [{"document_id": i, "content": text} for text in ("1", "2") for i in reversed(document_ids)]

        assert apply_splitter_fn(fn, ["x", "y"], ["a", "b"], 5) == [(0, "1"), (0, "2"), (1, "1"), (1, "2")]

    def test_a_blank_document_stays_and_other_blank_chunks_go(self) -> None:
        assert apply_splitter_fn(str.split, [" ", "one"], ["a", "b"], 5) == [(0, " "), (1, "one")]
        assert apply_splitter_fn(str.splitlines, ["one\n\ntwo"], ["a"], 5) == [(0, "one"), (0, "two")]

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            (None, "None"), ("text", "str"), ({"a": []}, "dict"), (["x"], "str"), ([{"content": "x"}], "document_id"),
            ([{"document_id": "z", "content": "x"}], "'z'"), ([{"document_id": "a", "content": None}], "None"),
            ([{"document_id": "a", "content": "x"}], "'b'"), ([], "'a'"),
        ],
    )  # fmt: skip
    def test_another_form_is_refused_with_what_is_wrong(self, returned: object, said: str) -> None:
        with pytest.raises(InputError, match="document_splitter_fn") as caught:
            apply_splitter_fn(lambda documents, document_ids: returned, ["x", "y"], ["a", "b"], 5)
        assert said in str(caught.value)

    @pytest.mark.parametrize("returned", [None, "text", 3, {"a": "b"}, [None], [["x"]], [], [" "]])
    def test_another_form_from_a_function_of_one_text(self, returned: object) -> None:
        with pytest.raises(InputError, match="document_splitter_fn"):
            apply_splitter_fn(lambda text: returned, ["x"], ["a"], 5)

    @pytest.mark.parametrize("fn", ["sentences", 3, None, lambda *, x: [], lambda a, b, c: []])
    def test_what_cannot_be_called_so_is_refused(self, fn: Any) -> None:
        with pytest.raises(InputError, match="document_splitter_fn"):
            apply_splitter_fn(fn, ["x"], ["a"], 5)

    def test_its_own_errors_come_through(self) -> None:
        def fn(text: str) -> list[str]:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            apply_splitter_fn(fn, ["x"], ["a"], 5)


class TestPreprocessing:
    chunks = ((0, "One"), (0, "Two"), (1, "Three"))

    def test_ragatouilles_form_sees_dicts_where_documents_were_split(self) -> None:
        def fn(documents: list[dict[str, str]], document_ids: list[str]) -> list[dict[str, str]]:
            assert document_ids == ["a", "b"]
            return [{**each, "content": each["content"].lower()} for each in documents]

        assert apply_preprocessing(fn, self.chunks, ["a", "b"]) == [(0, "one"), (0, "two"), (1, "three")]

    def test_ragatouilles_form_sees_strings_where_they_were_not(self) -> None:
        def fn(documents: list[str], document_ids: list[str]) -> list[dict[str, str]]:
            return [{"document_id": i, "content": text + "!"} for i, text in zip(document_ids, documents, strict=True)]

        assert apply_preprocessing(fn, [(0, "x"), (1, "y")], ["a", "b"], split=False) == [(0, "x!"), (1, "y!")]

    def test_strings_may_come_back_as_strings(self) -> None:
        def fn(documents: list[str], document_ids: list[str]) -> list[str]:
            return [text.upper() for text in documents]

        assert apply_preprocessing(fn, [(0, "x"), (1, "y")], ["a", "b"], split=False) == [(0, "X"), (1, "Y")]

    def test_functions_of_one_text_one_after_the_other(self) -> None:
        fns = [str.lower, lambda text: text + "!", lambda text: text * 2]
        assert apply_preprocessing(fns, [(0, "A")], ["a"]) == [(0, "a!a!")]

    def test_none_at_all(self) -> None:
        assert apply_preprocessing([], self.chunks, ["a", "b"]) == list(self.chunks)

    def test_chunks_may_be_dropped_but_not_a_document(self) -> None:
        def fn(documents: list[dict[str, str]], document_ids: list[str]) -> list[dict[str, str]]:
            return [each for each in documents if each["content"] != "Two"]

        assert apply_preprocessing(fn, self.chunks, ["a", "b"]) == [(0, "One"), (1, "Three")]
        with pytest.raises(InputError, match="preprocessing_fn left nothing of document 'b'"):
            apply_preprocessing(fn, [(0, "One"), (1, "Two")], ["a", "b"])
        with pytest.raises(InputError, match="left nothing of document 'a'"):
            apply_preprocessing(lambda text: "", self.chunks, ["a", "b"])

    def test_a_blank_document_stays(self) -> None:
        assert apply_preprocessing(str.strip, [(0, " "), (1, " x")], ["a", "b"]) == [(0, " "), (1, "x")]

    @pytest.mark.parametrize("returned", [None, 3, "text", [None], ["x"], [{"document_id": "z", "content": "x"}]])
    def test_another_form_is_refused(self, returned: object) -> None:
        with pytest.raises(InputError, match="preprocessing_fn"):
            apply_preprocessing(lambda documents, document_ids: returned, self.chunks, ["a", "b"])
        if not isinstance(returned, str):
            with pytest.raises(InputError, match="preprocessing_fn"):
                apply_preprocessing(lambda text: returned, self.chunks, ["a", "b"])
