"""Backbones that transformers runs: each as it would be by itself, as long as it can be, and packed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from reference.encoders import KINDS, build_colbert, build_encoder
from transformers import AutoModel

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError, InputError
from ragatouille_xm.model import linear
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.model.linear import Int8Linear

# As published: how many positions each has, and how many tokens that leaves for a text.
LENGTHS = {
    "bert": (512, 512), "xlm-roberta": (514, 512), "roberta": (514, 512), "camembert": (514, 512), "mpnet": (514, 512),
    "deberta": (512, 512), "deberta-v2": (512, 512), "modernbert": (8192, 8192), "distilbert": (512, 512),
    "electra": (512, 512), "xmod": (514, 512),
}  # fmt: skip
LONG = "the book in a garden " * 120  # of 600 words
MANY = {"modernbert": 1024}  # enough to show that a table does not limit it


def language_of(encoder: Encoder) -> str:
    return next(iter(encoder.adapters.languages), "en")


def test_all_kinds_are_tried() -> None:
    assert set(LENGTHS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_cut_to_what_the_model_takes(tmp_path: Path, kind: str) -> None:
    positions, most = LENGTHS[kind]
    encoder = Encoder.from_pretrained(build_colbert(tmp_path, kind, max_position_embeddings=positions), device="cpu")
    assert encoder.tokenizer.max_tokens == most
    longest = min(most, 1024)
    language = language_of(encoder)
    vectors = encoder.encode_documents([LONG, "the book"], [language] * 2, max_length=longest)
    assert vectors.vectors.isfinite().all()
    assert vectors.lengths[0] > 500
    assert encoder.encode_queries([LONG[:1500]], [language]).isfinite().all()
    with pytest.raises(InputError, match=f"from 8 to {most}"):
        encoder.tokenise(["the book"], most + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    folder = build_colbert(tmp_path, kind)
    reference = AutoModel.from_pretrained(folder).eval()
    head = load_checkpoint(folder).weights.get("linear.weight")
    for encoder in (Encoder(load_checkpoint(folder), device="cpu"), Encoder.from_pretrained(folder, device="cpu")):
        language = language_of(encoder)
        texts = ["the book", "a garden by the river in the morning"]
        found = encoder.encode_documents(texts, [language] * 2)
        batch = encoder.tokenizer.pad(encoder.tokenise(texts))
        with torch.inference_mode():
            hidden = reference(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        expected = torch.nn.functional.normalize(hidden @ head.T, dim=-1)[batch.scoring_mask]
        torch.testing.assert_close(found.vectors, expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(not linear._works(Int8Linear), reason="this torch lacks oneDNN's int8 for x86")
@pytest.mark.parametrize("kind", ["deberta", "modernbert"])
def test_layers_without_bias_are_packed_too(tmp_path: Path, kind: str) -> None:
    folder = build_colbert(tmp_path, kind)
    exact, rough = (Encoder.from_pretrained(folder, device="cpu", quantize=how) for how in (None, "int8"))
    expected, found = (each.encode_documents(["the book in a garden"], ["en"]).vectors for each in (exact, rough))
    assert 0.8 < (expected * found).sum(1).mean() < 0.99999


def test_positions_keep_their_precision_in_other_types(tmp_path: Path) -> None:
    folder = build_colbert(tmp_path, "modernbert")
    model = Encoder.from_pretrained(folder, device="cpu", dtype="bfloat16").model.backbone.model  # type: ignore[attr-defined]
    frequencies = [buffer for name, buffer in model.named_buffers() if "inv_freq" in name]
    assert frequencies
    assert all(buffer.dtype == torch.float32 for buffer in frequencies)
    assert all(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


def test_names_of_norms_as_older_files_have_them(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = build_colbert(tmp_path, "bert")
    expected = Encoder.from_pretrained(folder, device="cpu").encode_queries(["the book"], ["en"])
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = load_file(folder / "model.safetensors")
    for today, before in old.items():
        tensors = {name.replace(today, before): value for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    assert torch.equal(Encoder.from_pretrained(folder, device="cpu").encode_queries(["the book"], ["en"]), expected)


def test_a_checkpoint_that_needs_code_is_told_so_in_a_sentence(tmp_path: Path) -> None:
    folder = build_colbert(tmp_path, "bert")
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    path.write_text(json.dumps(config | {"model_type": "flash-bert", "auto_map": {"AutoModel": "modeling.FlashBert"}}))
    with pytest.raises(CheckpointError, match="'flash-bert' .* needs Python code of its own.*never run"):
        Encoder.from_pretrained(folder, device="cpu")
    # a known type whose weights are those of other code
    path.write_text(json.dumps(config | {"hidden_size": 8, "auto_map": {"AutoModel": "modeling.FlashBert"}}))
    with pytest.raises(CheckpointError, match="needs Python code of its own"):
        Encoder.from_pretrained(folder, device="cpu")
    path.write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.FlashBert"}}))
    assert Encoder.from_pretrained(folder, device="cpu").dim == 8, "not needed after all"


@pytest.mark.parametrize("kind", ["distilbert", "electra", "modernbert"])
def test_an_encoder_can_be_trained_whatever_its_sizes_are_called(tmp_path: Path, kind: str) -> None:
    from ragatouille_xm.training.config import TrainingConfig
    from ragatouille_xm.training.setup import prepare_checkpoint

    checkpoint = load_checkpoint(build_encoder(tmp_path, kind))
    prepared = prepare_checkpoint(checkpoint, TrainingConfig(dim=8))
    assert prepared.weights.get("linear.weight").shape == (8, 16)
