"""Packed linear layers against torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xmod
from torch.nn import functional as F

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import InputError
from ragatouille_xm.model import linear
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.model.linear import Int8Linear, PackedLinear, packing

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(packing(None, CPU, torch.float32) is None, reason="this torch lacks oneDNN")
needs_int8 = pytest.mark.skipif(not linear._works(Int8Linear), reason="this torch lacks oneDNN's int8 for x86")
TEXTS = ["the library opens", "le livre de la bibliothèque", "图书馆在东京。", "der Fluss"]
LANGUAGES = ["en", "fr", "zh", "de"]


def tensors(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    return tuple(torch.randn(*each, generator=generator) for each in ((48, 32), (48,), (*shape, 32)))  # type: ignore[return-value]


@needs_onednn
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (1, 1)])
def test_packed_is_exact(shape: tuple[int, ...]) -> None:
    weight, bias, x = tensors(*shape)
    torch.testing.assert_close(PackedLinear(weight, bias)(x), F.linear(x, weight, bias), atol=1e-5, rtol=0)


@needs_int8
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (1, 1)])
def test_int8_is_close(shape: tuple[int, ...]) -> None:
    weight, bias, x = tensors(*shape)
    expected = F.linear(x, weight, bias)
    assert (Int8Linear(weight, bias)(x) - expected).norm() < 0.02 * expected.norm()


@needs_int8
def test_a_token_does_not_depend_on_its_neighbours() -> None:
    weight, bias, x = tensors(6)
    layer = Int8Linear(weight, bias)
    x[3] *= 1000
    torch.testing.assert_close(layer(x)[:3], layer(x[:3]))


@needs_int8
def test_nothing_but_zeros_gives_the_bias() -> None:
    weight, bias, _ = tensors(1)
    torch.testing.assert_close(Int8Linear(weight, bias)(torch.zeros(2, 32)), bias.expand(2, -1))


@needs_int8
def test_without_vnni_weights_have_seven_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = tensors(7)
    monkeypatch.setattr(linear, "_has_vnni", lambda: False)
    expected = F.linear(x, weight, bias)
    assert (Int8Linear(weight, bias)(x) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("build", [build_tiny_xmod, build_tiny_bert])
def test_an_encoder_gives_the_same_vectors_packed(tmp_path: Path, build) -> None:  # type: ignore[no-untyped-def]
    folder = build(tmp_path)
    plain, packed = Encoder(load_checkpoint(folder), device="cpu"), Encoder.from_pretrained(folder, device="cpu")
    expected, found = (each.encode_documents(TEXTS, LANGUAGES) for each in (plain, packed))
    torch.testing.assert_close(found.vectors, expected.vectors, atol=1e-5, rtol=0)


@needs_int8
def test_int8_vectors_compare_with_float32(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path)
    exact, rough = (Encoder.from_pretrained(folder, device="cpu", quantize=how) for how in (None, "int8"))
    expected, found = (each.encode_documents(TEXTS, LANGUAGES) for each in (exact, rough))
    similarity = (expected.vectors * found.vectors).sum(1)
    assert 0.9 < similarity.min() < similarity.mean() < 0.99999


@pytest.mark.parametrize(
    ("quantize", "dtype", "message"),
    [("int3", None, "quantize='int3' is not known"), ("int8", "bfloat16", "needs float32 on the CPU")],
)
def test_bad_quantization(tmp_path: Path, quantize: str, dtype: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained(build_tiny_xmod(tmp_path), device="cpu", dtype=dtype, quantize=quantize)


def test_a_torch_without_the_operators_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_works", lambda kind: False)
    assert packing(None, CPU, torch.float32) is None
    with pytest.raises(InputError, match="needs a torch with oneDNN"):
        packing("int8", CPU, torch.float32)


@needs_onednn
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_packing_lets_go_of_the_originals(tmp_path: Path) -> None:
    def mapped(folder: Path) -> int:
        return Path("/proc/self/maps").read_text().count(str(folder / "model.safetensors"))

    folder = build_tiny_xmod(tmp_path)
    encoder = Encoder.from_pretrained(folder, device="cpu")
    encoder.encode_queries(TEXTS, LANGUAGES)
    assert 0 < mapped(folder) <= 3  # words and head, positions, types: the layers and adapters have gone
    before = mapped(folder)
    plain = Encoder(load_checkpoint(folder), device="cpu")
    # The file is mapped once for what comes before the layers, and once for each of them.
    assert mapped(folder) >= before + 1 + len(plain.model.backbone.layers)  # type: ignore[attr-defined]
