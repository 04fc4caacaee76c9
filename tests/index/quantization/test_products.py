from __future__ import annotations

import numkong
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.index.quantization.products import dot_products

ON = [name for name, on in numkong.get_capabilities().items() if on and name != "serial"]


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def expected(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) @ right.astype(np.int64).T


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([1, 2, 3, 8, 33, 96, 128, 600]), st.integers(0, 999))
def test_products_are_exact(a, b, dim, seed):
    left, right = numbers(seed, a, dim), numbers(seed + 1, b, dim)
    found = dot_products(left, right)
    assert (found.dtype, found.shape) == (np.int32, (a, b))
    assert (found == expected(left, right)).all()


@pytest.mark.parametrize("number", [-128, -127, 127])
@pytest.mark.parametrize("dim", [1, 128, 2_000, 131_071])
def test_products_of_the_largest_numbers_are_exact(number, dim):
    left, right = np.full((3, dim), -128, np.int8), np.full((5, dim), number, np.int8)
    assert (dot_products(left, right) == -128 * number * dim).all()


def test_rows_of_a_file_or_of_a_larger_array_are_taken_as_they_are():
    left, right = numbers(0, 20, 128), numbers(1, 9, 128)
    left.flags.writeable = False
    assert (dot_products(left[3:17], right[1:6]) == expected(left[3:17], right[1:6])).all()
    assert (dot_products(left[::2], right[::3]) == expected(left[::2], right[::3])).all()


def test_a_machine_without_vector_instructions_gives_the_same():
    left, right = numbers(2, 50, 128), numbers(3, 33, 128)
    found = dot_products(left, right)
    for name in ON:
        numkong.disable_capability(name)
    try:
        assert (dot_products(left, right) == found).all()
    finally:
        for name in ON:
            numkong.enable_capability(name)
