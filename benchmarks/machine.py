"""The machine of a measurement: every result names its processor, and which instructions that matter here it has."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu() -> str:
    """Return the processor and its instructions: ``AMD EPYC (AVX2, no VNNI)``."""
    has = instructions()
    if not has:
        return platform.processor() or platform.machine()
    wide = "AVX-512" if "avx512f" in has else "AVX2" if "avx2" in has else "no AVX2"
    return f"{_field('model name')} ({wide}, {'VNNI' if has_vnni() else 'no VNNI'})"


def has_vnni() -> bool:
    """Return whether it has instructions for products of 8-bit integers."""
    return bool(instructions() & {"avx512_vnni", "avx_vnni"})


def instructions() -> set[str]:
    """Return the flags of an x86 processor on Linux; elsewhere there are none."""
    return set(_field("flags").split())


def _field(name: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
