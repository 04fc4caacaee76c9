"""Small random checkpoints of the systems' architectures, made in code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from reference.tiny import LANGUAGES, build_tiny_xlmr


def tiny_classifier(folder: Path, n_labels: int = 1) -> Path:
    """Write an XLM-R cross-encoder."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    _tokenizer(folder)
    torch.manual_seed(0)
    config = XLMRobertaConfig(**_sizes(folder), num_labels=n_labels)
    _save(XLMRobertaForSequenceClassification(config), folder)
    return folder


def tiny_xmod_classifier(folder: Path) -> Path:
    """Write an X-MOD cross-encoder whose languages differ."""
    from transformers import XmodConfig, XmodForSequenceClassification

    _tokenizer(folder)
    torch.manual_seed(0)
    config = XmodConfig(
        **_sizes(folder), num_labels=1, languages=list(LANGUAGES), default_language="en_XX", ln_before_adapter=True
    )
    _save(XmodForSequenceClassification(config), folder)
    return folder


def tiny_mt5(folder: Path) -> Path:
    """Write an mT5 whose tokeniser knows ▁yes and ▁no."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import MT5Config, MT5ForConditionalGeneration, PreTrainedTokenizerFast

    letters = [(chr(c), -10.0) for c in (*range(97, 123), *range(48, 58), 81, 68, 82, 58, 46, 44)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0), ("▁no", -3.0), ("▁yes", -3.1)]
    pieces += [("▁Query:", -4.0), ("▁Document:", -4.0), ("▁Relevant:", -4.0), ("▁the", -4.0), ("▁library", -4.5)]
    tokenizer = Tokenizer(models.Unigram(pieces + letters, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = MT5Config(
        vocab_size=len(pieces) + len(letters), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    _save(MT5ForConditionalGeneration(config), folder)
    return folder


def _tokenizer(folder: Path) -> None:
    """Write XLM-R's tokeniser alone."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = build_tiny_xlmr(folder / "whole")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, folder / name)
    shutil.copy(whole / "config.json", folder / "sizes.json")
    shutil.rmtree(whole)


def _sizes(folder: Path) -> dict[str, int]:
    config = json.loads((folder / "sizes.json").read_text())
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
             "max_position_embeddings", "type_vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")  # fmt: skip
    return {name: config[name] for name in names}


def _save(model: torch.nn.Module, folder: Path) -> None:
    with torch.no_grad():
        for parameter in model.parameters():  # else the outputs hardly differ
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)  # type: ignore[operator]
