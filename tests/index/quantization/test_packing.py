from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ragatouille_xm.index.quantization.packing import BASES, Packing, packed_width, shared_scale
from ragatouille_xm.index.quantization.rotation import rotate, unrotate


def unit(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def unpacked(packing: Packing, vectors: torch.Tensor) -> torch.Tensor:
    return unrotate(normalize(torch.from_numpy(packing.unpack(packing.pack(vectors))).float(), dim=1))


@pytest.fixture(scope="module")
def mixed() -> torch.Tensor:
    """2,000 vectors without pattern, and 2,000 that are nearly one of two."""
    near = unit(2, 128, seed=1)[torch.arange(2000) % 2] + unit(2000, 128, seed=2) * 0.1
    return torch.cat([unit(2000, 128), normalize(near, dim=1)])


@pytest.mark.parametrize("dim", [1, 2, 7, 16, 96, 128, 129])
def test_vectors_come_back_nearly_as_they_were_at_any_width(dim: int) -> None:
    vectors = unit(3000, dim)
    packing = Packing.fit(vectors)
    packed = packing.pack(vectors)
    assert packed.shape == (3000, packed_width(dim)) == (3000, 1 + -(-dim // 2))
    assert packing.unpack(packed).shape == (3000, dim)
    assert float((unpacked(packing, vectors) * vectors).sum(1).mean()) > 0.99


def test_numbers_are_counted_from_the_base_in_its_steps() -> None:
    bases, steps = np.zeros((BASES, 3), np.int8), np.full(BASES, 9, np.int8)
    bases[2], steps[2] = [100, -100, 3], 4
    packing = Packing(bases, steps)
    rows = np.array([[2, 0xF0, 0x08], [0, 0x87, 0x00]], np.uint8)
    lowest = [67, -127, -27]  # 15 steps of 4 upwards from these are 8-bit codes
    assert packing.unpack(rows).tolist() == [[lowest[0], lowest[1] + 60, lowest[2] + 32], [-67 + 63, -67 + 72, -67]]


def test_what_is_nearly_the_same_everywhere_is_rounded_least(mixed: torch.Tensor) -> None:
    packing = Packing.fit(mixed)
    errors = (unpacked(packing, mixed) - mixed).norm(dim=1)
    assert float(errors[:2000].mean()) < 0.1
    assert float(errors[2000:].mean()) < 0.2 * float(errors[:2000].mean())


def test_what_is_like_no_base_is_rounded_as_without_bases(mixed: torch.Tensor) -> None:
    packing, others = Packing.fit(mixed[2000:]), unit(500, 128, seed=9)
    assert (packing.pack(others)[:, 0] == 0).mean() > 0.9
    assert float((unpacked(packing, others) - others).norm(dim=1).mean()) < 0.11


def test_a_row_depends_on_its_vector_alone(mixed: torch.Tensor) -> None:
    packing = Packing.fit(mixed)
    whole = packing.pack(mixed)
    for rows in (slice(0, 1), slice(700, 2500), slice(3999, 4000)):
        assert packing.pack(mixed[rows]).tolist() == whole[rows].tolist()
        assert packing.unpack(whole[rows]).tolist() == packing.unpack(whole)[rows].tolist()


def test_large_numbers_are_cut_off() -> None:
    """A vector along one axis of the rotated space has a number of 1 there; the scale ends far below."""
    assert shared_scale(128) * 127 < 0.6
    axis = unrotate(torch.eye(128)[:1])
    packing = Packing.fit(unit(500, 128))
    assert packing.unpack(packing.pack(axis)).max() > 60
    assert float((unpacked(packing, axis) * axis).sum()) > 0.8


@pytest.mark.parametrize("n", [1, 3, 300])
def test_few_vectors_are_a_packing_too(n: int) -> None:
    vectors = unit(n, 16)
    assert float((unpacked(Packing.fit(vectors), vectors) * vectors).sum(1).min()) > 0.97


def test_the_same_vectors_give_the_same_packing(mixed: torch.Tensor) -> None:
    assert Packing.fit(mixed).content() == Packing.fit(mixed).content() != Packing.fit(mixed, seed=1).content()


def test_a_saved_packing_is_the_same(mixed: torch.Tensor, tmp_path: Path) -> None:
    packing, path = Packing.fit(mixed), tmp_path / "bases"
    path.write_bytes(packing.content())
    assert path.stat().st_size == Packing.file_bytes(128)
    opened = Packing.open(path, 128)
    assert opened.pack(mixed).tolist() == packing.pack(mixed).tolist()
    for content in (b"", packing.content()[:-1], packing.content()[:-1] + b"\0", b"\1" + packing.content()[1:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="bases"):
            Packing.open(path, 128)
    path.unlink()
    with pytest.raises(OSError, match="bases"):
        Packing.open(path, 128)


def test_codes_are_those_of_the_rotated_vector(mixed: torch.Tensor) -> None:
    packing = Packing.fit(mixed)
    codes = packing.unpack(packing.pack(mixed[:100])).astype(np.float32) * packing.scale
    assert np.abs(codes - rotate(mixed[:100]).numpy()).mean() < 0.01


@pytest.mark.parametrize("dim", [2, 7, 128])
def test_a_device_unpacks_the_same_codes(dim: int) -> None:
    vectors = normalize(torch.randn(3000, dim))
    packing = Packing.fit(vectors)
    packed = packing.pack(vectors)
    packed[:256, 0] = range(256)  # every base, and the largest number of steps
    packed[:256, 1:] = 0xFF
    assert np.array_equal(packing.unpack_on(torch.from_numpy(packed)).numpy(), packing.unpack(packed))
