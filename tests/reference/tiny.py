"""Small random checkpoints in colbert-ai's format, built in code: X-MOD, XLM-RoBERTa and BERT.

Every tensor is drawn from numpy's `RandomState` seeded by its own name, so that a checkpoint is the same on every
machine, and a language's adapters are the same whichever other languages stand beside them. Only numpy and
safetensors are needed (torch for ``bin=True``): the golden values of this folder were made by upstream's own
environments from these very functions.
"""

from __future__ import annotations

import json
import string
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Weights = dict[str, NDArray[Any]]

LANGUAGES = ("en_XX", "ja_XX", "fr_XX", "de_DE", "zh_CN", "ar_AR")  # in the order of the real checkpoint

# Every character a piece of its own: sixteen scripts and their digits, then Hangul and Han by example.
_RANGES = (
    (0x30, 0x3A), (0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x180), (0x391, 0x3CA), (0x410, 0x460), (0x561, 0x588),
    (0x5D0, 0x5EB), (0x621, 0x64B), (0x905, 0x94E), (0x985, 0x9CE), (0xB85, 0xBCE), (0xE01, 0xE5A), (0xE81, 0xEC5),
    (0x1000, 0x1040), (0x10D0, 0x10F1), (0x1200, 0x1260), (0x1780, 0x17D3), (0x3041, 0x3094), (0x30A1, 0x30FC),
)  # fmt: skip
_HANGUL_AND_HAN = (
    "가나다라마바사아자차카타파하고도서관은는이를에의책을읽다오늘날씨한국어문서검색"
    "的一是不了在人有我他这中大来上国個和書图圖館馆本读讀語语文日天学学生水火山川木林東西南北京都市今明年月時间間"
    "第二三四五六七八九十雨雪花鳥魚食飲行见見言話说。、，！？「」"
)
_PIECES = (
    "▁the ▁of ▁and ▁is ▁in ▁to ▁a ▁library ▁book s ing ed er ▁opens ▁river ▁train ▁bread ▁garden "
    "▁le ▁la ▁les ▁de ▁du ▁des ▁et ▁est ▁livre ▁bibliothèque ▁rivière ▁pain ▁jardin ment tion "
    "▁der ▁die ▁das ▁und ▁ist ▁Buch ▁Bibliothek ▁Fluss ▁Brot ▁Garten en ung ▁el ▁los ▁río ▁libro "
    "▁в ▁и ▁на ▁книга ▁река ый ▁του ▁και ▁βιβλίο ▁ال ▁في ▁كتاب ▁הספר ▁של ▁है ▁में ▁किताब ▁বই ▁நூல் "
    "หนังสือ แม่น้ำ ▁წიგნი ▁գիրք ▁መጽሐፍ សៀវភៅ စာအုပ် ປຶ້ມ ▁책 을 ▁강 図書館 图书馆 です ます 。 東京 北京 中国 日本"
)
_WORDS = (
    "the of and is in to a library book opens river train bread garden morning winter old small market "
    "##s ##ing ##ed ##er ##en ##ly"
)


def build_tiny_xmod(
    folder: str | Path,
    *,
    languages: Sequence[str] = LANGUAGES,
    seed: int = 0,
    dim: int = 32,
    sharded: bool = False,
    bin: bool = False,
    metadata: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a random X-MOD ColBERT checkpoint and return its folder.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    languages : sequence of str
        Adapters, in the order of their ids.
    seed : int
        Another seed, other weights.
    dim : int
        Width of a token vector.
    sharded, bin : bool
        Two files and an index instead of one file; torch's pickle instead of safetensors.
    metadata, config
        What differs from the defaults in ``artifact.metadata`` and ``config.json``, for instance
        ``adapter_layer_norm=True, pre_norm=True``.
    """
    path = _folder(folder)
    vocabulary = _write_xlmr_tokenizer(path)
    settings = _roberta_config("xmod", len(vocabulary)) | {
        "adapter_layer_norm": False,
        "adapter_reduction_factor": 2,
        "adapter_reuse_layer_norm": True,
        "default_language": languages[0],
        "languages": list(languages),
        "ln_before_adapter": True,
        "pre_norm": False,
    }
    settings |= config
    _write_settings(path, settings, dim, metadata)
    weights = _transformer("roberta.", settings, dim, seed) | _adapters(settings, seed)
    _write_weights(path, weights, sharded=sharded, bin=bin)
    return path


def build_tiny_xlmr(
    folder: str | Path,
    *,
    seed: int = 0,
    dim: int = 32,
    sharded: bool = False,
    bin: bool = False,
    metadata: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a random XLM-RoBERTa ColBERT checkpoint (no adapters) and return its folder."""
    path = _folder(folder)
    settings = _roberta_config("xlm-roberta", len(_write_xlmr_tokenizer(path))) | config
    _write_settings(path, settings, dim, metadata)
    _write_weights(path, _transformer("roberta.", settings, dim, seed), sharded=sharded, bin=bin)
    return path


def build_tiny_bert(
    folder: str | Path,
    *,
    seed: int = 0,
    dim: int = 32,
    sharded: bool = False,
    bin: bool = False,
    metadata: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a random BERT ColBERT checkpoint (lower-cased WordPiece, masks not attended to) and return its folder."""
    path = _folder(folder)
    settings = _common_config("bert", len(_write_bert_tokenizer(path))) | {
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "type_vocab_size": 2,
    }
    settings |= config
    _write_settings(path, settings, dim, {"attend_to_mask_tokens": False} | dict(metadata or {}))
    weights = _transformer("bert.", settings, dim, seed)
    # As published checkpoints have it: a buffer that today's models no longer know.
    weights["bert.embeddings.position_ids"] = np.arange(settings["max_position_embeddings"])[None]
    _write_weights(path, weights, sharded=sharded, bin=bin)
    return path


def _folder(folder: str | Path) -> Path:
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# Settings


def _common_config(model_type: str, vocab_size: int) -> dict[str, Any]:
    return {
        "architectures": ["HF_ColBERT"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "model_type": model_type,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "torch_dtype": "float32",
        "vocab_size": vocab_size,
    }


def _roberta_config(model_type: str, vocab_size: int) -> dict[str, Any]:
    return _common_config(model_type, vocab_size) | {
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 514,
        "pad_token_id": 1,
        "type_vocab_size": 1,
    }


def _write_settings(path: Path, config: Mapping[str, Any], dim: int, metadata: Mapping[str, Any] | None) -> None:
    artifact = {
        "attend_to_mask_tokens": True,
        "dim": dim,
        "doc_maxlen": 256,
        "doc_token": "[D]",
        "doc_token_id": "[unused1]",
        "interaction": "colbert",
        "kmeans_niters": 4,
        "mask_punctuation": True,
        "nbits": 2,
        "query_maxlen": 32,
        "query_token": "[Q]",
        "query_token_id": "[unused0]",
        "similarity": "cosine",
    }
    _write_json(path / "config.json", dict(config))
    _write_json(path / "artifact.metadata", artifact | dict(metadata or {}))


# Tokenizers: plain tokenizer.json files of the oldest form still read, so that every version reads the same thing


def _write_xlmr_tokenizer(
    path: Path, *, ranges: Sequence[tuple[int, int]] = _RANGES, more: str = _HANGUL_AND_HAN
) -> list[str]:
    """Write a Unigram tokenizer laid out as XLM-R's: the same special ids, "," 4, "." 5, "▁" 6, ``<mask>`` last."""
    glued = set(",.\\|")  # as in XLM-R, these have no form with a blank before them
    characters = [chr(c) for low, high in ranges for c in range(low, high)] + list(more)
    marks = list(string.punctuation) + ["▁" + c for c in string.punctuation if c not in glued]
    ordinary = list(dict.fromkeys([",", ".", "▁", *_PIECES.split(), *marks, *characters]))
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *ordinary, "<mask>"]
    scores = [0.0 if p[0] + p[-1] == "<>" else -(6.0 if len(p) > 1 else 10.0) - i / 1000 for i, p in enumerate(pieces)]
    metaspace = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    _write_tokenizer(
        path,
        model={"type": "Unigram", "unk_id": 3, "vocab": [list(pair) for pair in zip(pieces, scores, strict=True)]},
        special={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": len(pieces) - 1},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        post_processor=_template(("<s>", 0), ("</s>", 2), second=("</s>", "$B", "</s>")),
        decoder=metaspace,
    )
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    names |= {"mask_token": "<mask>", "pad_token": "<pad>", "unk_token": "<unk>"}
    other = {"model_max_length": 512, "tokenizer_class": "XLMRobertaTokenizer"}
    _write_json(path / "tokenizer_config.json", names | other)
    return pieces


def bert_vocabulary() -> list[str]:
    """Return the WordPiece vocabulary of `build_tiny_bert`; a token's place is its id."""
    letters = string.digits + string.ascii_lowercase
    first = [*string.punctuation, *letters, *"абвгдежзийклмнопрстуфхцчшщыьэюя", *"日本中国図書館"]
    return [
        "[PAD]",
        *(f"[unused{i}]" for i in range(8)),
        *("[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *dict.fromkeys([*first, *(f"##{c}" for c in letters), *_WORDS.split()]),
    ]


def _write_bert_tokenizer(path: Path) -> list[str]:
    vocabulary = bert_vocabulary()
    ids = {token: i for i, token in enumerate(vocabulary)}
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    pieces = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    _write_tokenizer(
        path,
        model={"type": "WordPiece", **pieces, "vocab": ids},
        special={token: ids[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")},
        normalizer=normalizer | {"strip_accents": None, "lowercase": True},
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=_template(("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"]), second=("$B", "[SEP]")),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    names = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
    names |= {"sep_token": "[SEP]", "unk_token": "[UNK]"}
    other = {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}
    _write_json(path / "tokenizer_config.json", names | other)
    return vocabulary


def _write_tokenizer(path: Path, *, special: Mapping[str, int], **parts: Any) -> None:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": c, **flags, "lstrip": c == "<mask>"} for c, i in special.items()]
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None}
    _write_json(path / "tokenizer.json", head | parts)


def _template(first: tuple[str, int], last: tuple[str, int], *, second: Sequence[str]) -> dict[str, Any]:
    def part(name: str, type_id: int) -> dict[str, Any]:
        kind = "Sequence" if name[0] == "$" else "SpecialToken"
        return {kind: {"id": name.lstrip("$"), "type_id": type_id}}

    single = [part(first[0], 0), part("$A", 0), part(last[0], 0)]
    pair = single + [part(name, int(first[0] == "[CLS]")) for name in second]
    special = {token: {"id": token, "ids": [i], "tokens": [token]} for token, i in (first, last)}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


# Weights


def _draw(name: str, shape: tuple[int, ...], scale: float, seed: int) -> NDArray[np.float32]:
    state = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    return (scale * state.standard_normal(shape)).astype(np.float32)


def _dense(name: str, n_out: int, n_in: int, seed: int) -> Weights:
    weight = _draw(f"{name}.weight", (n_out, n_in), 0.18, seed)
    return {f"{name}.weight": weight, f"{name}.bias": _draw(f"{name}.bias", (n_out,), 0.1, seed)}


def _norm(name: str, width: int, seed: int) -> Weights:
    weight = 1 + _draw(f"{name}.weight", (width,), 0.1, seed)
    return {f"{name}.weight": weight, f"{name}.bias": _draw(f"{name}.bias", (width,), 0.1, seed)}


def _transformer(prefix: str, config: Mapping[str, Any], dim: int, seed: int) -> Weights:
    """Return the weights that BERT, RoBERTa and X-MOD share, pooler and projection with them."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    rows = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    weights: Weights = {}
    for kind, size in rows.items():
        name = f"{prefix}embeddings.{kind}_embeddings.weight"
        weights[name] = _draw(name, (config[size], hidden), 0.3 if kind == "word" else 0.1, seed)
    weights |= _norm(f"{prefix}embeddings.LayerNorm", hidden, seed)
    for i in range(config["num_hidden_layers"]):
        layer = f"{prefix}encoder.layer.{i}."
        for part in ("query", "key", "value"):
            weights |= _dense(f"{layer}attention.self.{part}", hidden, hidden, seed)
        weights |= _dense(f"{layer}attention.output.dense", hidden, hidden, seed)
        weights |= _norm(f"{layer}attention.output.LayerNorm", hidden, seed)
        weights |= _dense(f"{layer}intermediate.dense", inner, hidden, seed)
        weights |= _dense(f"{layer}output.dense", hidden, inner, seed)
        weights |= _norm(f"{layer}output.LayerNorm", hidden, seed)
    weights |= _dense(f"{prefix}pooler.dense", hidden, hidden, seed)
    return weights | {"linear.weight": _draw("linear.weight", (dim, hidden), 0.18, seed)}


def _adapters(config: Mapping[str, Any], seed: int) -> Weights:
    hidden = config["hidden_size"]
    narrow = hidden // config["adapter_reduction_factor"]
    weights: Weights = {}
    for i in range(config["num_hidden_layers"]):
        output = f"roberta.encoder.layer.{i}.output."
        for language in config["languages"]:
            module = f"{output}adapter_modules.{language}."
            weights |= _dense(f"{module}dense1", narrow, hidden, seed)
            weights |= _dense(f"{module}dense2", hidden, narrow, seed)
        if config["adapter_layer_norm"]:
            weights |= _norm(f"{output}adapter_layer_norm", hidden, seed)
    if config["pre_norm"]:
        weights |= _norm("roberta.encoder.LayerNorm", hidden, seed)
    return weights


def _write_weights(path: Path, weights: Weights, *, sharded: bool, bin: bool) -> None:
    stem, suffix = ("pytorch_model", ".bin") if bin else ("model", ".safetensors")
    if not sharded:
        _write_shard(path / (stem + suffix), weights)
        return
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-{i:05d}-of-00002{suffix}"
        _write_shard(path / file, {name: weights[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    total = sum(array.nbytes for array in weights.values())
    _write_json(path / f"{stem}{suffix}.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_shard(file: Path, weights: Weights) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    if file.suffix == ".safetensors":
        save_file(arrays, str(file), metadata={"format": "pt"})
        return
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, file)
