from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from reference.tiny import build_tiny_bert, build_tiny_xlmr, build_tiny_xmod
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from ragatouille_xm.errors import CheckpointError
from ragatouille_xm.model.checkpoint import load_checkpoint
from ragatouille_xm.model.colbert import ColBERT

CPU = torch.device("cpu")
IDS = torch.tensor([[0, 3, 7, 30, 31, 2], [0, 3, 9, 2, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))


def vectors(folder: Path | str) -> torch.Tensor:
    checkpoint = load_checkpoint(folder)
    model = ColBERT.load(checkpoint, CPU, torch.float32)
    return model(IDS, MASK, ["fr_XX", "de_DE"] if checkpoint.adapters else [])


@pytest.mark.parametrize("options", [{"sharded": True}, {"bin": True}], ids=["sharded", "pickled"])
def test_every_form_of_weights_gives_the_same_vectors(tmp_path: Path, options: dict[str, bool]) -> None:
    plain = build_tiny_xmod(tmp_path / "plain")
    other = build_tiny_xmod(tmp_path / "other", **options)
    assert not (other / "model.safetensors").exists()
    torch.testing.assert_close(vectors(other), vectors(plain), atol=0, rtol=0)


def test_pickled_weights_are_converted_once(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "model", bin=True)
    first = load_checkpoint(folder)
    (converted,) = (tmp_path / "cache" / "converted").rglob("model.safetensors")
    written = converted.stat().st_mtime_ns
    assert load_checkpoint(folder).fingerprint == first.fingerprint
    assert converted.stat().st_mtime_ns == written
    assert len(list((tmp_path / "cache" / "converted").rglob("*"))) == 2  # the folder and the file: nothing half done


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of the file ran')",))


def test_code_in_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "model", bin=True)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CheckpointError, match="never run"):
        load_checkpoint(folder)


def test_hub_cache_is_found_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    hub = tmp_path / "hub"
    snapshot = hub / "models--someone--colbert" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    refs = hub / "models--someone--colbert" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    checkpoint = load_checkpoint("someone/colbert")
    assert checkpoint.name == "someone/colbert"
    assert checkpoint.folder == snapshot


def test_unreachable_hub_id_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="'someone/absent' is neither a local folder nor in the hub's cache"):
        load_checkpoint("someone/absent")


@pytest.mark.parametrize("name", ["./absent", "/absent/folder", "~/absent", "a/b/c", Path("absent")])
def test_missing_folder_is_not_looked_up_on_the_hub(name: str | Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        load_checkpoint(name)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "no readable config.json"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"[]", "is not a JSON object"),
        ("artifact.metadata", b'{"marker": "above"}', "marker='above' is not known"),
        ("model.safetensors", None, "no weights"),
        ("model.safetensors", b"\xff" * 100, "not a readable safetensors file"),
    ],
)
def test_damaged_folders(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "model", sharded=True)
    shard = sorted(folder.glob("*.safetensors"))[-1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"lacks the shard '{shard.name}'"):
        load_checkpoint(folder)


def test_settings_are_read_and_default_to_colberts(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    settings = load_checkpoint(folder).settings
    assert (settings.query_maxlen, settings.doc_maxlen, settings.attend_to_mask_tokens) == (32, 256, True)
    assert settings.marker == "prefix"
    (folder / "artifact.metadata").unlink()
    assert load_checkpoint(folder).settings.doc_maxlen == 220


def test_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    first, same, other = (
        build_tiny_xmod(tmp_path / "a"), build_tiny_xmod(tmp_path / "b"), build_tiny_xmod(tmp_path / "c", seed=1)
    )  # fmt: skip
    prints = [load_checkpoint(folder).fingerprint for folder in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("build", [build_tiny_bert, build_tiny_xlmr])
def test_other_backbones_go_through_transformers(tmp_path: Path, build: object) -> None:
    folder = build(tmp_path / "model")
    checkpoint = load_checkpoint(folder)
    reference = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        hidden = reference(input_ids=IDS, attention_mask=MASK).last_hidden_state
        expected = torch.nn.functional.normalize(hidden @ checkpoint.weights.get("linear.weight").T, dim=-1)
    assert checkpoint.adapters == ()
    torch.testing.assert_close(vectors(folder)[MASK.bool()], expected[MASK.bool()], atol=1e-5, rtol=0)


def test_unknown_backbone(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "perceptron"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="backbone 'perceptron'.*is not an encoder that transformers knows"):
        vectors(folder)


def test_missing_and_misshapen_head(tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    linear = state.pop("linear.weight")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no tensor 'linear\.weight'"):
        vectors(folder)
    save_file(state | {"linear.weight": linear[:, :8].contiguous()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'linear\.weight' has shape \(32, 8\).*\(dim, 32\)"):
        vectors(folder)


def test_released_files_are_opened_again(tmp_path: Path) -> None:
    weights = load_checkpoint(build_tiny_xmod(tmp_path)).weights
    before = weights.get("linear.weight")
    weights.release()
    assert torch.equal(before, weights.get("linear.weight"))
