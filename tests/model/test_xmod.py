"""Our X-MOD against transformers', which is the reference."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from reference.tiny import LANGUAGES, build_tiny_xmod
from safetensors.torch import load_file, save_file
from transformers import XmodModel

from ragatouille_xm.errors import CheckpointError, LanguageError
from ragatouille_xm.model.weights import Weights
from ragatouille_xm.model.xmod import XmodConfig, XmodEncoder

CPU = torch.device("cpu")
SWITCHES = ("adapter_layer_norm", "adapter_reuse_layer_norm", "ln_before_adapter", "pre_norm")


def load(folder: Path, dtype: torch.dtype = torch.float32) -> XmodEncoder:
    config = json.loads((folder / "config.json").read_bytes())
    return XmodEncoder.load(config, Weights.open(folder), CPU, dtype)


def batch(rows: int, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random ids with padding of various lengths, and their mask."""
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(4, 200, (rows, width), generator=generator)
    mask = torch.ones(rows, width, dtype=torch.long)
    for row in range(rows):
        mask[row, width - row % 5 :] = 0 if row % 5 else 1
    return ids * mask + (1 - mask), mask


@pytest.mark.parametrize("values", list(itertools.product([False, True], repeat=4)))
def test_equals_transformers_for_every_language_and_setting(tmp_path: Path, values: tuple[bool, ...]) -> None:
    folder = build_tiny_xmod(tmp_path, **dict(zip(SWITCHES, values, strict=True)))
    reference = XmodModel.from_pretrained(folder, add_pooling_layer=False).eval()
    ids, mask = batch(2 * len(LANGUAGES))
    adapters = list(LANGUAGES) * 2  # the same adapter in two places: rows need not be sorted
    with torch.inference_mode():
        expected = reference(
            input_ids=ids, attention_mask=mask, lang_ids=torch.tensor([LANGUAGES.index(name) for name in adapters])
        ).last_hidden_state
        found = load(folder)(ids, mask, adapters)
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=0)


def test_languages_differ(tmp_path: Path) -> None:
    ids, mask = batch(1)
    encoder = load(build_tiny_xmod(tmp_path))
    french, german = (encoder(ids, mask, [name]) for name in ("fr_XX", "de_DE"))
    assert (french - german).abs().max() > 0.1


def test_a_row_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    ids, mask = batch(6)
    encoder = load(build_tiny_xmod(tmp_path))
    together = encoder(ids, mask, ["fr_XX", "fr_XX", "de_DE", "zh_CN", "fr_XX", "en_XX"])
    for row, name in ((1, "fr_XX"), (3, "zh_CN")):
        length = int(mask[row].sum())
        alone = encoder(ids[row : row + 1, :length], mask[row : row + 1, :length], [name])
        torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=0)


def test_only_adapters_in_use_are_read(tmp_path: Path) -> None:
    ids, mask = batch(3)
    encoder = load(build_tiny_xmod(tmp_path))
    assert encoder.bank.resident == ()
    encoder(ids, mask, ["ar_AR", "ar_AR", "zh_CN"])
    assert encoder.bank.resident == ("ar_AR", "zh_CN")


def test_unknown_adapter_is_named(tmp_path: Path) -> None:
    ids, mask = batch(1)
    with pytest.raises(LanguageError, match="no adapter 'xx_YY'.*fr_XX"):
        load(build_tiny_xmod(tmp_path))(ids, mask, ["xx_YY"])


def test_half_precision_stays_close(tmp_path: Path) -> None:
    ids, mask = batch(4)
    folder = build_tiny_xmod(tmp_path)
    adapters = ["en_XX", "en_XX", "fr_XX", "de_DE"]
    exact, half = (load(folder, dtype)(ids, mask, adapters) for dtype in (torch.float32, torch.bfloat16))
    kept = mask.bool()
    assert torch.cosine_similarity(exact[kept], half[kept].float(), dim=-1).min() > 0.99


@pytest.mark.parametrize(
    "name",
    ["roberta.encoder.layer.1.attention.self.key.weight", "roberta.embeddings.LayerNorm.bias"],
)
def test_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    folder = build_tiny_xmod(tmp_path)
    state = load_file(folder / "model.safetensors")
    del state[name]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"no tensor '{name}'"):
        load(folder)


def test_missing_adapter_tensor_is_named_when_it_is_needed(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    state = load_file(folder / "model.safetensors")
    name = "roberta.encoder.layer.0.output.adapter_modules.fr_XX.dense1.bias"
    del state[name]
    save_file(state, folder / "model.safetensors")
    encoder = load(folder)
    ids, mask = batch(1)
    encoder(ids, mask, ["de_DE"])
    with pytest.raises(CheckpointError, match=name):
        encoder(ids, mask, ["fr_XX"])


def test_wrong_shape_names_both_shapes(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    state = load_file(folder / "model.safetensors")
    state["roberta.encoder.layer.0.intermediate.dense.weight"] = torch.zeros(7, 32)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"intermediate.dense.weight' has shape \(7, 32\).*requires \(64, 32\)"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"hidden_act": "swish2"}, "hidden_act='swish2' is not known"), ({"num_attention_heads": 5}, "not a multiple")],
)
def test_impossible_config_is_refused(change: dict[str, object], message: str) -> None:
    config = {"hidden_size": 32, "num_attention_heads": 4, "languages": ["en_XX"], **change}
    with pytest.raises(CheckpointError, match=message):
        XmodConfig.from_dict(config)


def test_words_stay_in_the_file_whatever_the_dtype(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    narrow = load(folder, torch.bfloat16)
    assert narrow.words.weight.dtype == torch.float32
    assert {p.dtype for name, p in narrow.named_parameters() if name != "words.weight"} == {torch.bfloat16}
    ids = torch.tensor([[0, 3, 5, 9, 2]])
    expected = load(folder, torch.bfloat16)
    expected.words.to(torch.bfloat16)
    found, wanted = (each(ids, None, ["fr_XX"]) for each in (narrow, expected))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted)


def test_no_mask_is_a_mask_of_ones(tmp_path: Path) -> None:
    model = load(build_tiny_xmod(tmp_path))
    ids = torch.tensor([[0, 3, 5, 9, 2]])
    torch.testing.assert_close(
        model(ids, None, ["fr_XX"]), model(ids, torch.ones_like(ids), ["fr_XX"]), atol=1e-6, rtol=0
    )


def test_words_stored_in_half_precision_stay_so_and_give_the_same(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    tensors = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    kept, converted = load(folder), load(folder)
    assert kept.words.weight.dtype == torch.float16
    converted.words.float()
    ids = torch.tensor([[0, 3, 5, 9, 2]])
    found = kept(ids, None, ["fr_XX"])
    assert found.dtype == torch.float32
    assert torch.equal(found, converted(ids, None, ["fr_XX"]))
