"""A checkpoint's tokeniser files → texts to ids.

``tokenizer.json`` says everything by itself, and is read without transformers, whose import takes a second.
transformers reads what else there is: other files, and a ``tokenizer.json`` that ``tokenizer_config.json`` changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from tokenizers import AddedToken, Encoding, Tokenizer, normalizers
from tokenizers.models import Unigram

from ..errors import CheckpointError, MissingExtraError, RagatouilleXMError
from ..files import is_file_name, lacks_memory, open_regular, parse_json

_JSON = "tokenizer.json"
_SENTENCEPIECE = "sentencepiece.bpe.model"
_FILES = (_JSON, _SENTENCEPIECE, "vocab.txt", "vocab.json", "spiece.model", "spm.model")
_USUAL = {"pad_token": ("<pad>", "[PAD]"), "mask_token": ("<mask>", "[MASK]"), "unk_token": ("<unk>", "[UNK]")}
# What transformers changes in a tokenizer.json: a part, its attribute, and the name in tokenizer_config.json.
_CHANGES = (
    ("normalizer", "lowercase", "do_lower_case"),
    ("normalizer", "strip_accents", "strip_accents"),
    ("normalizer", "handle_chinese_chars", "tokenize_chinese_chars"),
    ("pre_tokenizer", "add_prefix_space", "add_prefix_space"),
)


class Vocabulary(Protocol):
    """Texts → ids, whichever library does it. Thread-safe.

    Attributes
    ----------
    pad, mask : int
        Ids of padding and of ``<mask>``.
    size : int
        One more than the largest id.
    """

    pad: int
    mask: int
    size: int

    @property
    def backend(self) -> Tokenizer | None:
        """The tokeniser as the tokenizers library has it; None if it is of another."""
        ...

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, or that of the unknown token; None if there is neither."""
        ...

    def ids(self, texts: list[str], *, special: bool = True) -> list[list[int]]:
        """Return the ids of texts, with special tokens or without, neither cut off nor padded."""
        ...

    def encoding(self, text: str) -> Encoding | None:
        """Return the tokens of a text, with special tokens, and where they stand; None if the library does not say."""
        ...


def load_vocabulary(folder: Path, *, lowercase: bool = False) -> Vocabulary:
    """Read the tokeniser of a checkpoint folder; errors are those of `tokeniser_errors`.

    With `lowercase`, letters are lower-cased before anything else, whatever the files say.

    Raises
    ------
    CheckpointError
        If there is none.
    MissingExtraError
        If there is only a SentencePiece model, and sentencepiece is not installed.
    """
    files = _files(folder)
    if not files:
        raise CheckpointError(f"The checkpoint folder {str(folder)!r} has no tokeniser: none of {', '.join(_FILES)}.")
    config = _read_config(folder)
    if files[0] == _JSON:
        with open_regular(folder / _JSON, links=True) as file:
            tokenizer = Tokenizer.from_buffer(file.read())
        if not _is_changed(tokenizer, config):
            return JsonVocabulary(_lowercased(tokenizer) if lowercase else tokenizer, config)
    if files == [_SENTENCEPIECE] and not (_installed("sentencepiece") and _installed("google.protobuf")):
        raise MissingExtraError(f"Reading {_SENTENCEPIECE}", "sentencepiece")
    return TransformersVocabulary(folder, lowercase=lowercase)


@contextmanager
def tokeniser_errors(folder: Path) -> Iterator[None]:
    """Turn what a tokeniser raises while it is loaded and tried into a `CheckpointError` that names its file."""
    try:
        yield
    except RagatouilleXMError:
        raise
    except BaseException as error:  # each kind of tokeniser raises its own, and Rust a PanicException
        if lacks_memory(error) or not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise CheckpointError(
            f"The tokeniser ({_files(folder)[0]}) of {str(folder)!r} cannot be loaded: {error}. It, or "
            "tokenizer_config.json, is damaged. Fetch the checkpoint again."
        ) from error


class JsonVocabulary:
    """A ``tokenizer.json``.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    config : mapping
        What `ragatouille_xm` needs of ``tokenizer_config.json``: which tokens pad, mask and stand for unknown ones.
        Where it does not name them, those of XLM-R or BERT are looked for.
    """

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        special = {
            name: next((i for each in names if (i := tokenizer.token_to_id(each)) is not None), None)
            for name, usual in _USUAL.items()
            for names in [_tokens(config[name]) if name in config else usual]
        }
        self._unknown = special["unk_token"]
        self.pad = known(special["pad_token"], "pad_token")
        self.mask = known(special["mask_token"], "mask_token")
        self.size = _size(tokenizer)

    @property
    def backend(self) -> Tokenizer:
        """The tokeniser as the tokenizers library has it."""
        return self._tokenizer

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, or that of the unknown token; None if there is neither."""
        found = self._tokenizer.token_to_id(token)
        return self._unknown if found is None else found

    def ids(self, texts: list[str], *, special: bool = True) -> list[list[int]]:
        """Return the ids of texts, with special tokens or without, neither cut off nor padded."""
        return [each.ids for each in self._tokenizer.encode_batch_fast(texts, add_special_tokens=special)]

    def encoding(self, text: str) -> Encoding | None:
        """Return the tokens of a text, with special tokens, and where they stand."""
        return self._tokenizer.encode(text)


class TransformersVocabulary:
    """Whatever transformers finds in a folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path, *, lowercase: bool = False) -> None:
        for path in folder.iterdir():  # transformers would wait for a pipe
            if path.exists() and not path.is_file() and not path.is_dir():
                raise CheckpointError(f"{str(path)!r} is not a regular file. Fetch the checkpoint again.")
        from transformers import AutoTokenizer

        # Named, so that older transformers do not follow the name that tokenizer_config.json may have for it.
        named = {"tokenizer_file": str(folder / _JSON)} if (folder / _JSON).is_file() else {}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **named
        )
        if lowercase:
            _lowercased(self._tokenizer.backend_tokenizer)
        self.pad = known(self._tokenizer.pad_token_id, "pad_token")
        self.mask = known(self._tokenizer.mask_token_id, "mask_token")
        self.size: int = 1 + max(self._tokenizer.get_vocab().values())

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, or that of the unknown token; None if there is neither."""
        found: int | None = self._tokenizer.convert_tokens_to_ids(token)
        return found

    def ids(self, texts: list[str], *, special: bool = True) -> list[list[int]]:
        """Return the ids of texts, with special tokens or without, neither cut off nor padded."""
        ids: list[list[int]] = self._tokenizer(texts, verbose=False, add_special_tokens=special)["input_ids"]
        return ids

    @property
    def backend(self) -> Tokenizer | None:
        """The tokeniser as the tokenizers library has it; None if it is not a fast one."""
        found: Tokenizer | None = getattr(self._tokenizer, "backend_tokenizer", None)
        return found

    def encoding(self, text: str) -> Encoding | None:
        """Return the tokens of a text, with special tokens, and where they stand, if they are of a fast tokeniser."""
        return None if self.backend is None else self.backend.encode(text)


def _lowercased(tokenizer: Tokenizer) -> Tokenizer:
    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([] if own is None else [own])])
    return tokenizer


def known(value: object, field: str) -> int:
    """Return the id of the token that `field` names; raise `ValueError` if there is none."""
    if not isinstance(value, int):
        raise ValueError(f"it has no {field}")
    return value


def _files(folder: Path) -> list[str]:
    return [name for name in _FILES if (folder / name).is_file()]


def _read_config(folder: Path) -> dict[str, Any]:
    """Return ``tokenizer_config.json``, before it what older transformers wrote into a file of its own."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if os.path.lexists(folder / name):
            with open_regular(folder / name, links=True) as file:
                found = parse_json(file.read())
            if not isinstance(found, dict):
                raise ValueError(f"{name} is not a JSON object")
            config |= found
    names = config.get("fast_tokenizer_files", [])  # transformers would open them
    if not isinstance(names, list) or not all(map(is_file_name, names)):
        raise CheckpointError(
            f"{str(folder / 'tokenizer_config.json')!r} has fast_tokenizer_files={str(names)[:80]!r}, which are not "
            "names of files in the folder. Fetch the checkpoint again."
        )
    return config


def _is_changed(tokenizer: Tokenizer, config: Mapping[str, Any]) -> bool:
    """Return whether transformers would make more of ``tokenizer.json`` than it says: other parts, or more tokens."""
    for part, attribute, name in _CHANGES:
        if name in config and getattr(getattr(tokenizer, part), attribute, config[name]) != config[name]:
            return True
    flags = {str(i): repr(token) for i, token in tokenizer.get_added_tokens_decoder().items()}
    added = {i: repr(AddedToken(**token)) for i, token in (config.get("added_tokens_decoder") or {}).items()}
    named = [
        token
        for name, value in config.items()
        if name.endswith("_token") or name in ("additional_special_tokens", "extra_special_tokens")
        for token in _tokens(value)
    ]
    return (
        bool(config.get("split_special_tokens"))
        or not added.items() <= flags.items()
        or any(tokenizer.token_to_id(token) is None for token in named)
    )


def _tokens(value: object) -> list[str]:
    """Return the tokens that a value of ``tokenizer_config.json`` names: a string, a token with its flags, or more."""
    if isinstance(value, dict):
        value = value.get("content", list(value.values()))
    if isinstance(value, list):
        return [token for each in value for token in _tokens(each)]
    return [value] if isinstance(value, str) else []


def _size(tokenizer: Tokenizer) -> int:
    if isinstance(tokenizer.model, Unigram):  # has no gaps, and listing 250,000 tokens takes a third of a second
        own = tokenizer.get_vocab_size(with_added_tokens=False)
    else:
        own = 1 + max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    return max(own, 1 + max(tokenizer.get_added_tokens_decoder(), default=-1))


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
