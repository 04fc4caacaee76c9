"""What doctor finds in sound installations and in damaged checkpoints; and what it says mends them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from cli.doctor import checks, faults
from reference.tiny import build_tiny_bert, build_tiny_xmod
from safetensors.numpy import load_file, save_file
from typer.testing import Result

from ragatouille_xm import health

Run = Callable[..., Result]


# what is well


def test_all_is_well(run: Run, shared: Path) -> None:
    result = run("doctor", "--root", shared)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "Packages", "Devices", "Caches", "Index mine", "No problems found.",
    ]  # fmt: skip
    assert f"  ✓ torch             {version('torch')}" in lines
    assert any(line.startswith("  ✓ python") for line in lines)
    assert "passages: 4, segments: 0, buffered: 4, dimensions: 32" in " ".join(result.stdout.split())


def test_json_has_a_line_for_each_check(run: Run, shared: Path, checkpoint: Path) -> None:
    result = run("doctor", "--root", shared, "--index", "mine", "--checkpoint", checkpoint, "--json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(set(line) == {"section", "name", "found", "status", "remedy"} for line in lines)
    assert set(checks(result, "Packages")) >= {"ragatouille-xm", "python", "torch", "transformers"}
    assert set(checks(result, "Caches")) == {"hub cache", "hub", "own cache"}
    assert set(checks(result, f"Checkpoint {checkpoint}")) == {"checkpoint", "settings", "tokeniser", "weights"}
    assert set(checks(result, "Index mine")) == {"index", "content", "checkpoint"}


def test_long_lines_are_folded_below_their_beginning(run: Run, shared: Path) -> None:
    result = run("doctor", "--root", shared, "--index", "mine")
    section = result.stdout[result.stdout.index("Index mine") :].splitlines()
    assert max(map(len, section)) <= 100
    assert all(line.startswith((" " * 22, "  ✓ ")) for line in section[1:4])


@pytest.mark.parametrize("build", [build_tiny_xmod, build_tiny_bert])
def test_a_whole_checkpoint(run: Run, tmp_path: Path, build: Callable[..., Path]) -> None:
    folder = build(tmp_path / "tiny")
    quick = checks(run("doctor", "--checkpoint", folder, "--root", tmp_path, "--json"), f"Checkpoint {folder}")
    assert {check["status"] for check in quick.values()} == {"ok"}
    assert "values not read (--full)" in quick["weights"]["found"]
    full = checks(run("doctor", "--checkpoint", folder, "--root", tmp_path, "--full", "--json"), f"Checkpoint {folder}")
    assert "all values finite" in full["weights"]["found"]
    assert full["checksums"]["status"] == "note", "a plain folder has none"


def test_an_index_that_is_not_there_is_bad_input(run: Run, shared: Path) -> None:
    result = run("doctor", "--index", "yours", "--root", shared)
    assert result.exit_code == 2
    assert "There is no index 'yours'" in result.stderr
    nothing = run("doctor", "--root", shared / "elsewhere")
    assert nothing.exit_code == 0, "no index yet is no fault"


# checkpoints


def broken(run: Run, folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    found = faults(
        run("doctor", "--checkpoint", folder, "--root", folder / "none", "--json", *options), f"Checkpoint {folder}"
    )
    for check in found.values():
        assert check["remedy"] == f"put a complete copy of the checkpoint at {folder}"
    return found


@pytest.mark.parametrize(
    ("file", "content", "name", "told"),
    [
        ("config.json", None, "checkpoint", "has no readable config.json"),
        ("config.json", b"{", "checkpoint", "not valid JSON"),
        ("artifact.metadata", b"[]", "checkpoint", "is not a JSON object"),
        ("model.safetensors", None, "checkpoint", "has no weights"),
        ("model.safetensors", b"\x10", "checkpoint", "not a readable safetensors file"),
        ("tokenizer.json", None, "tokeniser", "has no tokeniser"),
        ("tokenizer.json", b"{}", "tokeniser", "cannot be loaded"),
    ],
)
def test_a_damaged_checkpoint(run: Run, tmp_path: Path, file: str, content: bytes | None, name: str, told: str) -> None:
    folder = build_tiny_xmod(tmp_path / "tiny")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    found = broken(run, folder)
    assert set(found) == {name}
    assert told in found[name]["found"]


def test_weights_cut_short(run: Run, tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "tiny")
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size // 2)
    assert "not a readable safetensors file" in broken(run, folder)["checkpoint"]["found"]


@pytest.mark.parametrize("build", [build_tiny_xmod, build_tiny_bert])
def test_weights_that_are_not_what_config_json_wants(run: Run, tmp_path: Path, build: Callable[..., Path]) -> None:
    folder = build(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    changed = config | {"intermediate_size": 48}
    (folder / "config.json").write_text(json.dumps(changed), encoding="utf-8")
    fault = broken(run, folder)["weights"]["found"]
    assert "layer.0.intermediate.dense.weight' of shape (48, 32); the weights have it with shape (64, 32)" in fault


def test_an_adapter_that_is_missing(run: Run, tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["languages"].append("sw_KE")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    fault = broken(run, folder)["weights"]["found"]
    assert "adapter_modules.sw_KE.dense1.weight' of shape (16, 32); the weights have no such tensor" in fault


def test_values_that_are_not_finite(run: Run, tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    weights["linear.weight"][3, 5] = np.nan
    save_file(weights, folder / "model.safetensors")
    assert broken(run, folder) == {}
    assert "linear.weight has values that are not finite" in broken(run, folder, "--full")["weights"]["found"]


def test_a_vocabulary_larger_than_the_embeddings(run: Run, tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 100}), encoding="utf-8")
    assert "but the model has only 100" in broken(run, folder)["tokeniser"]["found"]


def test_pickled_weights_and_missing_settings_are_notes(run: Run, tmp_path: Path) -> None:
    folder = build_tiny_xmod(tmp_path / "pickled", bin=True)
    found = checks(run("doctor", "--checkpoint", folder, "--root", tmp_path, "--json"), f"Checkpoint {folder}")
    assert [check["status"] for check in found.values()] == ["note"]
    folder = build_tiny_xmod(tmp_path / "bare")
    (folder / "artifact.metadata").unlink()
    found = checks(run("doctor", "--checkpoint", folder, "--root", tmp_path, "--json"), f"Checkpoint {folder}")
    assert found["settings"]["status"] == "note"


# the hub's cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty hub cache, which is used."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def hub(checkpoint: Path, cache: Path) -> Path:
    """Return the folder of ``some/xmod`` in the hub's cache, laid out as the hub's client does it."""
    repo = cache / "models--some--xmod"
    snapshot, blobs = repo / "snapshots" / ("a" * 40), repo / "blobs"
    for folder in (snapshot, blobs, repo / "refs"):
        folder.mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    for path in checkpoint.iterdir():
        content = path.read_bytes()
        large = path.suffix == ".safetensors"
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        blob = blobs / (hashlib.sha256(content) if large else git).hexdigest()
        blob.write_bytes(content)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


@pytest.mark.skipif(os.name == "nt", reason="the hub's client makes links only where the system lets it")
def test_checksums_of_the_hubs_cache(run: Run, hub: Path, tmp_path: Path) -> None:
    arguments = ("doctor", "--checkpoint", "some/xmod", "--root", tmp_path, "--full", "--json")
    whole = checks(run(*arguments), "Checkpoint some/xmod")
    assert whole["checksums"]["status"] == "ok"
    assert f"{len(list(hub.iterdir()))} files match" in whole["checksums"]["found"]
    blob = (hub / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    fault = faults(run(*arguments), "Checkpoint some/xmod")["checksums"]
    assert "model.safetensors is damaged" in fault["found"]
    assert fault["remedy"] == "hf download some/xmod --force-download"


def test_checksums_that_a_folder_brings_along(run: Run, tmp_path: Path) -> None:
    """As the demo checkpoint does."""
    folder = build_tiny_xmod(tmp_path / "tiny")
    recorded = {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in folder.iterdir()}
    (folder / "checksums.json").write_text(json.dumps(recorded), encoding="utf-8")
    assert broken(run, folder, "--full") == {}
    with (folder / "config.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    assert broken(run, folder, "--full")["checksums"]["found"].startswith("config.json is damaged")


def test_a_checkpoint_that_would_have_to_be_fetched(
    run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("doctor", "--checkpoint", "some/other", "--root", tmp_path, "--json")
    [check] = checks(run(*arguments), "Checkpoint some/other").values()
    assert (check["status"], check["remedy"]) == ("note", "hf download some/other")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    [check] = faults(run(*arguments), "Checkpoint some/other").values()
    assert check["remedy"] == "unset HF_HUB_OFFLINE; hf download some/other"
    assert checks(run(*arguments), "Caches")["hub"]["status"] == "note"
    [check] = faults(run("doctor", "--checkpoint", "not an id", "--json"), "Checkpoint not an id").values()
    assert "not an id" in check["found"]


# the installation


def test_packages_that_are_missing_or_too_old(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.0.1", "typer": "0.1"}
    original = metadata.version

    def version(name: str) -> str:
        if name == "tqdm":
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or original(name)

    monkeypatch.setattr(health.installation, "version", version)
    found = faults(run("doctor", "--root", tmp_path, "--json"), "Packages")
    assert {name: check["remedy"] for name, check in found.items()} == {
        "torch": 'pip install "torch>=2.6"',
        "typer": 'pip install "typer>=0.16"',
        "tqdm": 'pip install "tqdm>=4.66"',
    }
    assert found["tqdm"]["found"] == "not installed; >=4.66 is needed"


def test_a_package_that_cannot_be_imported(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        if name == "tokenizers":
            raise ImportError("libwhatever.so.1: cannot open shared object file")

    monkeypatch.setattr(health.installation, "import_module", fail)
    found = faults(run("doctor", "--root", tmp_path, "--json"), "Packages")
    assert set(found) == {"import tokenizers"}
    assert found["import tokenizers"]["remedy"] == "pip install --force-reinstall --no-deps tokenizers"


@pytest.mark.parametrize("module", ["torch", "huggingface_hub"])
def test_without_a_package_there_is_still_a_diagnosis(shared: Path, checkpoint: Path, module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from ragatouille_xm.cli import app; "
        f"app(['doctor', '--root', {str(shared)!r}, '--checkpoint', {str(checkpoint)!r}])"
    )
    home = str(Path(health.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": home, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "found; the fix is below each." in done.stdout
    assert module in done.stdout


def test_a_gpu_that_torch_cannot_use(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(health.installation.shutil, "which", lambda name: f"/usr/bin/{name}")
    check = checks(run("doctor", "--root", tmp_path, "--json"), "Devices")["GPU"]
    assert check["status"] == "note"
    assert "torch is built for the CPU" in check["found"]


def test_gpus_are_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = type("Properties", (), {"name": "Some GPU", "total_memory": 80 << 30})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)
    check = checks(run("doctor", "--root", tmp_path, "--json"), "Devices")["GPU"]
    assert check["found"].startswith("Some GPU (80 GiB), Some GPU (80 GiB)")


def test_a_cache_that_cannot_be_written_to(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "file" / "cache"))
    [(name, fault)] = faults(run("doctor", "--root", tmp_path, "--json"), "Caches").items()
    assert name == "own cache"
    assert fault["remedy"] == "export RAGATOUILLE_XM_CACHE=/a/folder/of/yours"


def test_a_disk_without_room_for_a_checkpoint(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health.installation.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    found = checks(run("doctor", "--root", tmp_path, "--json"), "Caches")
    for name in ("hub cache", "own cache"):
        assert (found[name]["status"], found[name]["found"][-10:]) == ("note", "1 GiB free")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pylate-xmod", "format of PyLate, xmod, 2 language adapters, queries filled to 40 tokens, passages of 64"),
        ("st-bert", "format of sentence-transformers, bert, no language adapters, queries as long as they are"),
        ("bge-m3", "format of BGE-M3, xlm-roberta, no language adapters, queries as long as they are"),
    ],
)
def test_checkpoints_of_other_formats(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))
    folder = Path(__file__).parents[1] / "reference" / "checkpoints" / name
    result = run("doctor", "--checkpoint", folder, "--root", tmp_path, "--full", "--json")
    found = checks(result, f"Checkpoint {folder}")
    assert {check["status"] for check in found.values()} <= {"ok", "note"}
    assert said in found["settings"]["found"]
    assert "all values finite" in found["weights"]["found"]


def test_a_setting_that_is_not_known_is_a_fault(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[1] / "reference" / "checkpoints" / "pylate-bert", tmp_path / "m")
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"gate": 1}))
    assert "gate='1' is a setting that is not known" in broken(run, folder)["checkpoint"]["found"]
