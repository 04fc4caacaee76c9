"""What ColBERT puts around every text, as ids that other programs can put there."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from ..errors import InputError
from ..text.tokenizer import ColBERTTokenizer

_PROBES = ("a", "1 b", "Où", "書")
_BEFORE, _AFTER = "<before>", "<after>"


class Frame(NamedTuple):
    """The ids around a text.

    Attributes
    ----------
    query, document : tuple of int
        Before the text: the tokeniser's first special token, the marker, and what may follow it.
    after : tuple of int
    """

    query: tuple[int, ...]
    document: tuple[int, ...]
    after: tuple[int, ...]


def frame_of(tokenizer: ColBERTTokenizer) -> tuple[Tokenizer, Frame]:
    """Return a checkpoint's tokeniser, and the ids that stand around what it makes of a text.

    Raises
    ------
    InputError
        If the tokeniser is not one of the tokenizers library, or a text has other ids in its frame than alone.
    """
    backend = tokenizer.vocabulary.backend
    if backend is None:
        raise InputError("The checkpoint's tokeniser is not one of the tokenizers library. Add a tokenizer.json.")
    frames = {_frame(tokenizer, text) for text in _PROBES}
    if len(frames) > 1 or None in frames:
        raise InputError(
            "The checkpoint's tokeniser makes other tokens of a text that something stands before. Such a checkpoint "
            "can only be used here."
        )
    [frame] = frames
    assert frame is not None
    return backend, frame


def _frame(tokenizer: ColBERTTokenizer, text: str) -> Frame | None:
    vocabulary = tokenizer.vocabulary
    [inner] = vocabulary.ids([text], special=False)
    [query], [document] = tokenizer.queries([text]), tokenizer.documents([text], tokenizer.max_tokens)
    asked = list(query.ids)
    while asked[-1] == vocabulary.mask:
        asked.pop()
    query_start, document_start = len(asked) - len(inner) - 1, len(document.ids) - len(inner) - 1
    if asked[query_start:-1] != inner or document.ids[document_start:-1] != inner or asked[-1] != document.ids[-1]:
        return None
    return Frame(tuple(asked[:query_start]), tuple(document.ids[:document_start]), (asked[-1],))


def framed(backend: Tokenizer, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Return a ``tokenizer.json`` that puts ids around every text by itself."""
    content: dict[str, Any] = json.loads(backend.to_str()) | {"truncation": None, "padding": None}

    def special(name: str, ids: tuple[int, ...]) -> dict[str, Any]:
        return {"id": name, "ids": list(ids), "tokens": [backend.id_to_token(i) for i in ids]}

    around = [{"SpecialToken": {"id": name, "type_id": 0}} for name in (_BEFORE, _AFTER)]
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [around[0], first, around[1]],
        "pair": [around[0], first, around[1], second, around[1]],
        "special_tokens": {_BEFORE: special(_BEFORE, before), _AFTER: special(_AFTER, after)},
    }
    return json.dumps(content, ensure_ascii=False)


def prompt_of(written: str, marker: int) -> str:
    """Return the text that makes a tokeniser insert a marker, in the hands of sentence-transformers.

    A marker that is not one token as text is registered there as a special one.

    Parameters
    ----------
    written : str
        The ``tokenizer.json`` to use.
    marker : int
        Its id.

    Raises
    ------
    InputError
        If there is none: the tokeniser makes other tokens of a text after it.
    """
    other = Tokenizer.from_str(written)
    token = str(other.id_to_token(marker))
    plain = [other.encode(text).ids for text in _PROBES]
    if other.encode(token, add_special_tokens=False).ids != [marker]:
        other.add_special_tokens([AddedToken(token, normalized=False, special=True)])
    for prompt in (token, f"{token} "):
        if [other.encode(prompt + text).ids for text in _PROBES] == [[ids[0], marker, *ids[1:]] for ids in plain]:
            return prompt
    raise InputError(f"The checkpoint's tokeniser makes other tokens of a text after its marker {token!r}.")


def token_names(tokenizer: ColBERTTokenizer, backend: Tokenizer, frame: Frame) -> dict[str, Any]:
    """Return a ``tokenizer_config.json`` for which ``tokenizer.json`` says everything."""
    vocabulary = tokenizer.vocabulary
    first, last = frame.document[0], frame.after[-1]
    unknown = vocabulary.id_of("\U0010fffd")  # in no vocabulary
    ids = {"cls_token": first, "bos_token": first, "sep_token": last, "eos_token": last}
    ids |= {"pad_token": vocabulary.pad, "mask_token": vocabulary.mask}
    names = {name: backend.id_to_token(i) for name, i in ids.items()}
    if unknown is not None:
        names["unk_token"] = backend.id_to_token(unknown)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # another class would rebuild it from the vocabulary
        "model_max_length": tokenizer.max_tokens,
        "clean_up_tokenization_spaces": False,
        **names,
    }
