"""Checkpoints that are damaged: each works, or fails with one error of ours that names the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from damage import HOW, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod
from safetensors.torch import load_file, save_file

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.errors import CheckpointError, RagatouilleXMError
from ragatouille_xm.model.checkpoint import load_checkpoint

TEXTS = ["Le livre est dans la bibliothèque.", "The river, and the bread!", ""]
PLAIN = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "xmod": build_tiny_xmod(root / "xmod", sharded=True),
        "bert": build_tiny_bert(root / "bert"),
        "xlmr": build_tiny_xlmr(root / "xlmr"),
        "bin": build_tiny_xmod(root / "bin", bin=True),
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))


def use(folder: Path) -> None:
    """Encode with a checkpoint: real vectors, or one error that names a file of it."""
    encoder = Encoder(load_checkpoint(folder), device="cpu")
    names = encoder.adapters.languages[:2] or ("en", "fr")
    languages = [names[0], names[-1], names[0]]
    vectors = encoder.encode_documents(TEXTS, languages).vectors
    queries = encoder.encode_queries(TEXTS, languages)
    assert vectors.shape[1] == queries.shape[2] == 32
    assert not vectors.isinf().any()
    assert not queries.isinf().any()


def assert_sound_or_refused(folder: Path, name: str) -> None:
    try:
        use(folder)
    except RagatouilleXMError as error:
        assert str(folder) in str(error) or name in str(error) or "config.json" in str(error), error


JSON = [
    ("xmod", "config.json"), ("xmod", "artifact.metadata"), ("xmod", "model.safetensors.index.json"),
    ("xmod", "tokenizer_config.json"), ("xmod", "tokenizer.json"), ("bert", "config.json"), ("xlmr", "config.json"),
    ("bert", "tokenizer.json"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), JSON, ids=["-".join(each) for each in JSON])
@PLAIN
@given(how=st.sampled_from(HOW), seed=SEEDS)
def test_json_with_one_fault(folders: dict[str, Path], kind: str, name: str, how: str, seed: int) -> None:
    with damaged(folders[kind] / name, how, seed):
        assert_sound_or_refused(folders[kind], name)


@pytest.mark.parametrize(("kind", "name"), [("bert", "model.safetensors"), ("bin", "pytorch_model.bin")])
@PLAIN
@given(seed=SEEDS)
def test_weights_with_one_fault(folders: dict[str, Path], kind: str, name: str, seed: int) -> None:
    with damaged(folders[kind] / name, "", seed):
        assert_sound_or_refused(folders[kind], name)
