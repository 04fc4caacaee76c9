"""Training from checkpoints of other formats: what is written is colbert-ai's, and says the same of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.training.config import TrainingConfig
from ragatouille_xm.training.module import TrainableColBERT
from ragatouille_xm.training.saving import save_checkpoint
from ragatouille_xm.training.setup import as_colbert_ai, prepare_checkpoint

FOLDERS = Path(__file__).parents[1] / "reference" / "checkpoints"
TEXTS = ["  the book, in the garden ", "Le livre ?"]


@pytest.mark.parametrize("name", ["pylate-bert", "pylate-xmod", "pylate-xlmr", "st-modernbert", "st-colbert-xm"])
def test_a_checkpoint_written_again_encodes_as_before(tmp_path: Path, name: str) -> None:
    base = as_colbert_ai(load_checkpoint(FOLDERS / name))
    save_checkpoint(base, {}, tmp_path / "saved")
    assert load_checkpoint(tmp_path / "saved").format == "colbert-ai"
    before, after = (Encoder.from_pretrained(each, device="cpu") for each in (FOLDERS / name, tmp_path / "saved"))
    languages = [next(iter(before.adapters.languages), "en")] * 2
    assert torch.equal(after.encode_queries(TEXTS, languages), before.encode_queries(TEXTS, languages))
    assert torch.equal(
        after.encode_documents(TEXTS, languages).vectors, before.encode_documents(TEXTS, languages).vectors
    )


def test_a_step_of_training_is_written(tmp_path: Path) -> None:
    config = TrainingConfig(query_maxlen=24, doc_maxlen=48)
    base = prepare_checkpoint(load_checkpoint(FOLDERS / "pylate-xmod"), config)
    encoder = Encoder(base, device="cpu", dtype="float32")
    module = TrainableColBERT(encoder)
    batch = encoder.tokenizer.pad(encoder.tokenise(TEXTS))
    vectors = module(batch.input_ids, batch.attention_mask, ["fr_XX", "en_XX"])
    vectors.sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    trained = module.stored_tensors()
    assert set(trained) <= set(base.weights.names)
    save_checkpoint(base, trained, tmp_path / "saved")
    found = Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    assert found.checkpoint.settings.query_maxlen == 24
    torch.testing.assert_close(
        found.encode_queries(TEXTS, ["fr", "en"]), encoder.encode_queries(TEXTS, ["fr", "en"]), atol=1e-5, rtol=0
    )
    untrained = Encoder.from_pretrained(FOLDERS / "pylate-xmod", device="cpu")
    rows = untrained.encode_queries(TEXTS, ["fr", "en"])
    assert (found.encode_queries(TEXTS, ["fr", "en"]) - rows[:, :24]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["pylate-modernbert", "st-bert", "bge-m3"])
def test_a_head_that_colbert_ais_format_has_no_place_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="its head is more than one matrix"):
        prepare_checkpoint(load_checkpoint(FOLDERS / name), TrainingConfig())
