"""Checkpoints that are damaged: each works, or fails with one error of ours that names the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
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
    max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    (build_tiny_bert(root / "vocab.txt") / "tokenizer.json").unlink()
    return {
        "xmod": build_tiny_xmod(root / "xmod", sharded=True),
        "bert": build_tiny_bert(root / "bert"),
        "xlmr": build_tiny_xlmr(root / "xlmr"),
        "bin": build_tiny_xmod(root / "bin", bin=True),
        "vocab.txt": root / "vocab.txt",
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
        assert any(each in str(error) for each in (str(folder), name, "config.json")), error  # noqa: PT017


JSON = [
    ("xmod", "config.json"), ("xmod", "artifact.metadata"), ("xmod", "model.safetensors.index.json"),
    ("xmod", "tokenizer_config.json"), ("xmod", "tokenizer.json"), ("bert", "config.json"),
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


# --- Single faults


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_bytes())
    how(content)
    path.write_text(json.dumps(content))


SHARDS = "model.safetensors.index.json"
FIELDS: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    ("config.json", "hidden_size='32'", lambda c: c.update(hidden_size="32")),
    ("config.json", "num_hidden_layers='1000000000'", lambda c: c.update(num_hidden_layers=10**9)),
    ("config.json", "vocab_size", lambda c: c.update(vocab_size=10**400)),
    ("config.json", "vocab_size='None'", lambda c: c.pop("vocab_size")),
    ("config.json", "languages='en_XX'", lambda c: c.update(languages="en_XX")),
    ("config.json", "Infinity is not finite", lambda c: c.update(layer_norm_eps=float("inf"))),
    ("config.json", "model_type", lambda c: c.update(model_type=["xmod"])),
    ("config.json", "pad_token_id=600", lambda c: c.update(pad_token_id=600)),
    ("config.json", "adapter_reduction_factor=0", lambda c: c.update(adapter_reduction_factor=0)),
    ("artifact.metadata", "query_maxlen='True'", lambda c: c.update(query_maxlen=True)),
    ("artifact.metadata", "query_maxlen=4000", lambda c: c.update(query_maxlen=4000)),
    ("artifact.metadata", "mask_punctuation='no'", lambda c: c.update(mask_punctuation="no")),
    ("artifact.metadata", "doc_maxlen=4000", lambda c: c.update(doc_maxlen=4000)),
    ("tokenizer_config.json", "mask_token", lambda c: c.update(mask_token=None)),
    ("tokenizer_config.json", "fast_tokenizer_files", lambda c: c.update(fast_tokenizer_files=["../tokenizer.4.json"])),
    (SHARDS, "'../x.safetensors'", lambda c: c["weight_map"].update({"linear.weight": "../x.safetensors"})),
    (SHARDS, "'/x.safetensors'", lambda c: c["weight_map"].update({"linear.weight": "/x.safetensors"})),
    (SHARDS, "weight_map", lambda c: c["weight_map"].update({"linear.weight": "x\0"})),
    (SHARDS, "weight_map", lambda c: c["weight_map"].update({"linear.weight": None})),
    (SHARDS, "weight_map", lambda c: c.update(weight_map=[])),
    (SHARDS, "no shards in weight_map", lambda c: c.update(weight_map={})),
]


@pytest.mark.parametrize("case", range(len(FIELDS)))
def test_file_and_field_are_named(tmp_path: Path, case: int) -> None:
    name, field, how = FIELDS[case]
    folder = build_tiny_xmod(tmp_path / "model", sharded=True)
    shutil.copy(next(folder.glob("*.safetensors")), tmp_path / "x.safetensors")
    change(folder / name, how)
    with pytest.raises(CheckpointError) as caught:
        use(folder)
    assert name in str(caught.value)
    assert field in str(caught.value)


def test_a_hub_snapshot_consists_of_links(tmp_path: Path) -> None:
    blobs = build_tiny_xmod(tmp_path / "blobs", sharded=True)
    (tmp_path / "snapshot").mkdir()
    for file in blobs.iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    use(tmp_path / "snapshot")
    (blobs / "artifact.metadata").unlink()
    with pytest.raises(CheckpointError, match=r"no readable artifact\.metadata"):
        use(tmp_path / "snapshot")


@pytest.mark.parametrize(
    "name", ["config.json", "artifact.metadata", "tokenizer_config.json", "tokenizer.json", "model.safetensors"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.timeout(60)
def test_a_pipe_or_a_folder_in_the_place_of_a_file(tmp_path: Path, name: str, kind: str) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    (folder / name).unlink()
    (os.mkfifo if kind == "pipe" else os.mkdir)(folder / name)
    with pytest.raises(CheckpointError, match=str(folder)):
        use(folder)


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool])
@pytest.mark.parametrize("name", ["linear.weight", "roberta.encoder.layer.0.output.dense.weight"])
def test_weights_of_whole_numbers(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    save_file(state | {name: state[name].to(dtype)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=name):
        use(folder)


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], torch.ones(2), {7: torch.ones(2)}, {"a": torch.ones(1).expand(10**12)}]
)
def test_pickles_of_other_things(tmp_path: Path, content: object) -> None:
    folder = build_tiny_xmod(tmp_path / "model", bin=True)
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        use(folder)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), OSError(12, "ENOMEM")])
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("torch.load", "bin"),
        ("ragatouille_xm.model.weights.safe_open", "xmod"),
        ("ragatouille_xm.text.tokenizer_files.Tokenizer", "xmod"),
        ("transformers.AutoTokenizer.from_pretrained", "vocab.txt"),
        ("transformers.AutoModel.from_config", "bert"),
    ],
)
def test_lack_of_memory_is_not_called_damage(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, function: str, kind: str, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    failing = SimpleNamespace(from_buffer=fail) if function.endswith("Tokenizer") else fail
    monkeypatch.setattr(function, failing)
    with pytest.raises(type(error)) as caught:
        use(folders[kind])
    assert caught.value is error
