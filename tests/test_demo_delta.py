"""What training changed in the demo checkpoint: its file, and which of the two checkpoints "demo" is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import safe_open

from ragatouille_xm.demo import build, checkpoint, delta, demo_checkpoint
from ragatouille_xm.demo.delta import Delta, add_to_delta, decode, encode, find_delta, write_delta
from ragatouille_xm.errors import CheckpointError
from ragatouille_xm.health.checkpoint import examine_checkpoint
from ragatouille_xm.model.checkpoint import locate

RECIPE = checkpoint.RECIPE
FROM_TRANSLATIONS = {"am_ET", "eu_ES", "ha_NG", "is_IS", "ku_TR", "la_VA", "lo_LA"}  # as far as they got better
BEFORE_TRANSLATIONS = "cc390f31e512024ac46a4b06b88bdc08c08340de2d6e08c88524322a35f0a91c"
BASE = {
    "wide": np.random.RandomState(0).randn(6, 40).astype(np.float16),
    "bias": np.random.RandomState(1).randn(40).astype(np.float16),
    "left alone": np.ones((2, 2), np.float16),
}
TRAINED = {name: BASE[name] + np.float16(0.03) * BASE[name][::-1] for name in ("wide", "bias")}


@pytest.fixture
def written(tmp_path: Path) -> Delta:
    return write_delta(tmp_path / "delta.safetensors", BASE, TRAINED, RECIPE)


# the file


@given(arrays(np.float32, array_shapes(min_dims=1, max_dims=2, max_side=8), elements=st.floats(-4, 4, width=32)))
def test_a_change_comes_back_within_half_a_step(change: np.ndarray) -> None:
    codes, scales = encode(change)
    assert codes.dtype == np.int8
    step = np.abs(change.reshape(-1, change.shape[-1])).max(1) / 127
    error = np.abs(decode(codes, scales) - change).reshape(len(step), -1)
    assert (error <= step[:, None] * 0.501 + 1e-7).all()


def test_applied_it_gives_the_trained_tensors(written: Delta) -> None:
    found = dict(written.apply(BASE))
    assert list(found) == list(BASE)
    assert found["left alone"] is BASE["left alone"]
    for name, trained in TRAINED.items():
        assert found[name].dtype == np.float16
        change = np.abs(trained.astype(np.float32) - BASE[name])
        half_a_step = change.reshape(-1, change.shape[-1]).max() / 254
        np.testing.assert_allclose(found[name].astype(np.float32), trained, atol=half_a_step + 2e-3, rtol=0)
        assert np.abs(found[name].astype(np.float32) - trained).mean() < 0.05 * change.mean()


def test_equal_changes_have_equal_checksums(written: Delta, tmp_path: Path) -> None:
    again = write_delta(tmp_path / "again", BASE, TRAINED, RECIPE)
    other = write_delta(tmp_path / "other", BASE, {"bias": TRAINED["bias"]}, RECIPE)
    assert written.checksum == again.checksum != other.checksum


def test_more_tensors_leave_the_others_to_the_bit(written: Delta) -> None:
    more = {"left alone": BASE["left alone"] + np.float16(0.5)}
    before = dict(written.apply(BASE))
    grown = add_to_delta(written.path, BASE, more, RECIPE)
    after = dict(grown.apply(BASE))
    assert all((after[name] == before[name]).all() for name in TRAINED)
    np.testing.assert_allclose(after["left alone"], more["left alone"], atol=0.01)
    assert grown.checksum != written.checksum


def test_it_names_the_adapters_that_it_changes(tmp_path: Path) -> None:
    names = [
        f"roberta.encoder.layer.{i}.output.adapter_modules.{a}.dense1.bias" for i, a in ((0, "ha_NG"), (1, "de_DE"))
    ]
    base = {name: np.zeros(2, np.float32) for name in (*names, "linear.weight")}
    found = write_delta(tmp_path / "delta", base, {name: value + 1 for name, value in base.items()}, RECIPE)
    assert found.adapters == ("de_DE", "ha_NG")


def overwrite_a_number(content: bytes) -> bytes:
    header = struct.unpack("<Q", content[:8])[0] + 8
    return content[:header] + bytes([content[header] ^ 1]) + content[header + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:100], lambda content: content[:-1], lambda content: b"\0" + content],
)
def test_a_file_that_is_none_is_refused(written: Delta, damage: Callable[[bytes], bytes]) -> None:
    written.path.write_bytes(damage(written.path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"delta\.safetensors.*damaged.*demo-untrained"):
        Delta.open(written.path, RECIPE)


def test_a_changed_number_is_noticed(written: Delta) -> None:
    written.path.write_bytes(overwrite_a_number(written.path.read_bytes()))
    with pytest.raises(CheckpointError, match="checksum differs"):
        dict(Delta.open(written.path, RECIPE).apply(BASE))


def test_a_delta_of_another_checkpoint_is_refused(written: Delta) -> None:
    with pytest.raises(CheckpointError, match=rf"recipe {RECIPE}; here .*, {RECIPE + 1}\)"):
        Delta.open(written.path, RECIPE + 1)
    with pytest.raises(CheckpointError, match="has no wide"):
        dict(written.apply({"bias": BASE["bias"]}))
    with pytest.raises(CheckpointError, match=r"wide has shape \(6, 40\), not \(40, 6\)"):
        dict(written.apply(BASE | {"wide": BASE["wide"].T}))


def test_a_checkpoint_is_no_delta(demo_path: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to another demo checkpoint"):
        Delta.open(demo_path / "model.safetensors", RECIPE)


# which checkpoint it is


@pytest.fixture
def installed(written: Delta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delta:
    """Install the delta of this test in the place of the distribution's."""
    package = tmp_path / "site" / "a_delta"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    written.path.rename(package / "delta.safetensors")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(delta, "DISTRIBUTION", "a_delta")
    monkeypatch.setattr(checkpoint, "find_delta", find_delta)
    return Delta.open(package / "delta.safetensors", RECIPE)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def build_small(source: Path, folder: Path, delta: Delta | None) -> None:
        (folder / "which").write_text(delta.checksum if delta else "untrained")

    monkeypatch.setattr(build, "build", build_small)
    monkeypatch.setattr(checkpoint, "find_weights", lambda: tmp_path / "nothing")
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path / "cache"))


def test_without_the_distribution_it_is_the_untrained_one(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "DISTRIBUTION", "not_installed")
    monkeypatch.setattr(checkpoint, "find_delta", find_delta)
    assert demo_checkpoint() == demo_checkpoint(trained=False) == locate("demo") == locate("demo-untrained")
    assert (locate("demo") / "which").read_text() == "untrained"


def test_with_the_distribution_both_stand_side_by_side(small: None, installed: Delta) -> None:
    trained, untrained = locate("demo"), locate("demo-untrained")
    assert (trained / "which").read_text() == installed.checksum
    assert (untrained / "which").read_text() == "untrained"
    assert (locate("demo"), locate("demo-untrained")) == (trained, untrained)


def test_another_delta_has_a_folder_of_its_own(small: None, installed: Delta) -> None:
    first = locate("demo")
    write_delta(installed.path, BASE, {"bias": TRAINED["bias"]}, RECIPE)
    assert locate("demo") != first


def test_a_damaged_delta_does_not_become_the_untrained_checkpoint(small: None, installed: Delta) -> None:
    installed.path.write_bytes(installed.path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="demo-untrained"):
        locate("demo")
    assert (locate("demo-untrained") / "which").read_text() == "untrained"
    installed.path.unlink()
    with pytest.raises(CheckpointError, match="demo-untrained"):
        locate("demo")


def test_the_built_checkpoint_has_what_was_trained_and_doctor_tells(
    demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = "roberta.encoder.layer.10.output.adapter_modules.fr_XX.dense2.weight"
    with safe_open(demo_path / "model.safetensors", "np") as stored:
        base = {name: stored.get_tensor(name) for name in (adapter, "linear.weight")}
    trained = {name: value + np.random.RandomState(2).randn(*value.shape) * 0.01 for name, value in base.items()}
    change = write_delta(tmp_path / "delta.safetensors", base, trained, RECIPE)
    folder = tmp_path / "built"
    folder.mkdir()
    build.build(checkpoint.find_weights(), folder, change)
    with (
        safe_open(demo_path / "model.safetensors", "np") as stored,
        safe_open(folder / "model.safetensors", "np") as built,
    ):
        assert built.metadata()["delta"] == change.checksum
        assert set(built.keys()) == set(stored.keys())
        for name in sorted(stored.keys()):
            if name in trained:
                np.testing.assert_allclose(built.get_tensor(name), trained[name], atol=4e-4)
            elif "layer.10." in name:
                assert (built.get_tensor(name) == stored.get_tensor(name)).all(), name
    assert next(examine_checkpoint("demo-untrained")).found.startswith("untrained: ")
    monkeypatch.setattr("ragatouille_xm.model.checkpoint.demo_checkpoint", lambda trained=True: folder)
    assert next(examine_checkpoint("demo")).found.startswith("trained: ")


def test_the_delta_that_is_shipped_belongs_to_this_checkpoint(demo_path: Path) -> None:
    path = Path(__file__).parents[1] / "integrations" / "demo" / "ragatouille_xm_demo" / "delta.safetensors"
    if not path.is_file():
        pytest.skip("the distribution ragatouille-xm-demo is not here")
    assert path.stat().st_size < 30_000_000
    shipped = Delta.open(path, RECIPE)
    with safe_open(path, "np") as stored:
        changed = {name for name in stored.keys() if not name.endswith(".scale")}  # noqa: SIM118, not a mapping
    assert "linear.weight" in changed
    assert not any("embeddings" in name for name in changed)
    with safe_open(demo_path / "model.safetensors", "np") as stored:
        base = {name: stored.get_tensor(name) for name in changed}
    trained = dict(shipped.apply(base))
    assert all(np.isfinite(value).all() and (value != base[name]).any() for name, value in trained.items())
    kept = {"de_DE", "en_XX", "es_XX", "fr_XX", "id_ID", "it_IT", "ja_XX"}  # Turkish did not get better
    kept |= {"ko_KR", "pl_PL", "pt_XX", "ru_RU", "vi_VN", "zh_CN"}
    assert set(shipped.adapters) - FROM_TRANSLATIONS == kept
    with safe_open(path, "np") as stored:
        earlier = {
            name: stored.get_tensor(name)
            for name in stored.keys()  # noqa: SIM118, not a mapping
            if not any(f".{adapter}." in name for adapter in FROM_TRANSLATIONS)
        }
    assert delta.checksum_of(earlier) == BEFORE_TRANSLATIONS, "adapters of weak languages leave all else to the bit"
