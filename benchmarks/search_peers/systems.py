"""The systems under measurement: each builds from token vectors, and answers a query with positions of passages.

Imports of packages are inside functions: each system runs in the Python environment that has it.
"""

from __future__ import annotations

from pathlib import Path

from search_peers.colbert_ai import COLBERT, build_colbert
from search_peers.fast_plaid import FAST_PLAID, build_fast_plaid
from search_peers.lance import LANCE, build_lance
from search_peers.own import FILTERED, OURS, SMALLER, batch_of_ours, build_nothing, build_ours, exact
from search_peers.system import System
from search_peers.warp import WARP, build_warp

OWN = "ragatouille_xm"
# faiss brings an OpenBLAS that does not know the newest processors: its own choice takes four times as long on them.
AVX512 = Path("/proc/cpuinfo").exists() and "avx512f" in Path("/proc/cpuinfo").read_text()
FAISS = {"OPENBLAS_CORETYPE": "SkylakeX"} if AVX512 else {}

SYSTEMS = {
    "ours": System(OWN, build_ours("int16"), OURS, batch_of_ours),
    "ours, int8": System(OWN, build_ours("int8"), SMALLER),
    "ours, int4": System(OWN, build_ours("int4"), SMALLER),
    "ours, pooling 2": System(OWN, build_ours("int16", pooling=2), SMALLER),
    "ours, int4, pooling 2": System(OWN, build_ours("int4", pooling=2), SMALLER),
    "ours, with filters": System(OWN, build_ours("int16", metadata=True), FILTERED),
    "exact MaxSim": System(OWN, build_nothing, {"torch": exact}),
    "WARP, 4 bit": System("xtr_warp", build_warp(4), WARP, None, "xtr-warp-rs"),
    "WARP, 2 bit": System("xtr_warp", build_warp(2), WARP, None, "xtr-warp-rs"),
    "fast-plaid, 4 bit": System("fast_plaid", build_fast_plaid(4), FAST_PLAID),
    "fast-plaid, 2 bit": System("fast_plaid", build_fast_plaid(2), FAST_PLAID),
    "colbert-ai PLAID, 4 bit": System("colbert", build_colbert(4), COLBERT, None, "colbert-ai", FAISS),
    "colbert-ai PLAID, 2 bit": System("colbert", build_colbert(2), COLBERT, None, "colbert-ai", FAISS),
    "LanceDB IVF_PQ": System("lancedb", build_lance, LANCE),
}
