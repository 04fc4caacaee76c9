"""Small random encoders of every listed backbone, as transformers makes them, with a tokeniser built in code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

if __package__:
    from .tiny import _template, _write_bert_tokenizer, _write_json, _write_tokenizer, _write_xlmr_tokenizer
else:  # the scripts run in this folder
    from tiny import _template, _write_bert_tokenizer, _write_json, _write_tokenizer, _write_xlmr_tokenizer

_SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 96, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
_ROBERTA = {"max_position_embeddings": 98, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_DEBERTA = {
    "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0, "position_biased_input": False,
}  # fmt: skip
_MODERN = {
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2,
    "local_attention": 8, "global_attn_every_n_layers": 2, "max_position_embeddings": 256,
}  # fmt: skip
_XMOD = {
    "languages": ["en_XX", "fr_XX"], "default_language": "en_XX", "adapter_reduction_factor": 2, "type_vocab_size": 1,
}  # fmt: skip
# Kind -> its tokeniser, and what its config.json says beside the sizes.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("wordpiece", {}),
    "xlm-roberta": ("unigram", _ROBERTA),
    "roberta": ("bytes", _ROBERTA),
    "camembert": ("unigram", _ROBERTA),
    "mpnet": ("wordpiece-mpnet", {"max_position_embeddings": 98, "pad_token_id": 1}),
    "deberta": ("bytes", _DEBERTA | {"pad_token_id": 1}),
    "deberta-v2": ("wordpiece", _DEBERTA | {"position_buckets": 16, "norm_rel_ebd": "layer_norm"}),
    "modernbert": ("bytes", _MODERN),
    "distilbert": ("wordpiece", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "dropout": 0.0}),
    "electra": ("wordpiece", {"embedding_size": 8}),
    "xmod": ("small-unigram", _ROBERTA | _XMOD),
}
_PLAIN = ((0x30, 0x3A), (0x41, 0x5B), (0x61, 0x7B), (0xE0, 0xFF))  # digits and Latin letters


def build_encoder(folder: Path, kind: str, *, tokenizer: str = "", seed: int = 0, **config: Any) -> Path:
    """Write an encoder of a kind, and return its folder. `config` is what differs in ``config.json``."""
    import torch
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    usual, own = KINDS[kind]
    size = write_tokenizer(folder, tokenizer or usual)
    torch.manual_seed(seed)
    settings = AutoConfig.for_model(kind, vocab_size=size, **(_SIZES | {"initializer_range": 0.3} | own | config))
    AutoModel.from_config(settings).float().save_pretrained(folder)
    return folder


def build_colbert(
    folder: Path, kind: str, *, dim: int = 8, metadata: dict[str, Any] | None = None, **config: Any
) -> Path:
    """Write an encoder of a kind with a head, in colbert-ai's format, and return its folder."""
    import torch
    from safetensors.torch import load_file, save_file

    build_encoder(folder, kind, **config)
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _write_json(folder / "config.json", stored | {"architectures": ["HF_ColBERT"]})
    file = folder / "model.safetensors"
    tensors = load_file(file)
    torch.manual_seed(1)
    head = 0.2 * torch.randn(dim, _SIZES["hidden_size"])
    save_file(tensors | {"linear.weight": head}, file, metadata={"format": "pt"})
    _write_json(folder / "artifact.metadata", {"query_maxlen": 40, "doc_maxlen": 64} | (metadata or {}))
    return folder


def write_tokenizer(folder: Path, kind: str) -> int:
    """Write a tokeniser, and return the number of its ids."""
    if kind == "unigram":
        return len(_write_xlmr_tokenizer(folder))
    if kind == "small-unigram":
        return len(_write_xlmr_tokenizer(folder, ranges=_PLAIN, more=""))
    if kind == "bytes":
        return _write_bytes(folder)
    size = len(_write_bert_tokenizer(folder))
    if kind == "wordpiece-mpnet":  # <pad> is 1 there, and positions count from 2
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        config |= {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[unused0]"}
        _write_json(folder / "tokenizer_config.json", config)
    return size


def _write_bytes(folder: Path) -> int:
    """Write a tokeniser of bytes with a few merges, as RoBERTa and ModernBERT have them: a blank belongs to a word."""
    from tokenizers.pre_tokenizers import ByteLevel

    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    merges = ["t h", "th e", "Ġ the", "i n", "a n", "Ġ b", "o o", "oo k", "Ġb ook", "e r", "r i", "Ġ l", "l e"]
    symbols = [*names, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    ids = {symbol: i for i, symbol in enumerate(dict.fromkeys(symbols))}
    _write_tokenizer(
        folder,
        model={
            "type": "BPE",
            "vocab": ids,
            "merges": merges,
            "unk_token": None,
            "fuse_unk": False,
            "byte_fallback": False,
        },
        special={name: ids[name] for name in names},
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        post_processor=_template(("<s>", 0), ("</s>", 2), second=("</s>", "$B", "</s>")),
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    )
    named = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "mask_token": "<mask>"}
    other = {"pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast"}
    _write_json(folder / "tokenizer_config.json", named | other | {"model_max_length": 512})
    return len(ids)
