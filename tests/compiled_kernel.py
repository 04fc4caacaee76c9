"""Compile the fused kernel for GPUs that need not be here; print what each program is made of, as JSON.

``python tests/compiled_kernel.py CAPABILITY …``, without Triton's interpreter.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import NamedTemporaryFile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ragatouille_xm.scoring_triton import ROW_BLOCK, TOKEN_BLOCK, _kernel

TOOL = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def made_of(capability: int, storage: str, group: int, rows: int) -> dict[str, object]:
    stored = {"float16": "*fp16", "int8": "*i8"}[storage]
    types = {"queries": "*fp16", "vectors": stored, "scales": "*fp32" if storage == "int8" else stored}
    types |= {"starts": "*i64", "lengths": "*i64", "scores": "*fp32"}
    types |= dict.fromkeys(("groups", "passages", "dim"), "i32")
    fixed = {"group_size": group, "rows": rows, "width": 128, "token_block": TOKEN_BLOCK}
    fixed |= {"scaled": storage == "int8"}
    names = _kernel.arg_names
    aligned = [name for name, kind in types.items() if kind.startswith("*")] + ["dim"]
    source = ASTSource(
        _kernel,
        types | dict.fromkeys(fixed, "constexpr"),
        {(names.index(name),): value for name, value in fixed.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        lines = subprocess.run([TOOL, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    usage = dict(pair.split(":", 1) for pair in lines.split() if pair.startswith(("REG:", "LOCAL:")))
    assembly = compiled.asm["ptx"]
    return {
        "program": f"{storage}, {group} x {rows} rows, capability {capability}",
        "shared_bytes": compiled.metadata.shared,
        "registers": int(usage["REG"]),
        "spilled_bytes": int(usage["LOCAL"]),
        "matrix_products": sum(assembly.count(name) for name in ("mma.sync", "wgmma.mma_async", "tcgen05.mma")),
    }


if __name__ == "__main__":
    shapes = [(1, 32), (ROW_BLOCK // 32, 32)]  # one query, and the most at once
    every = product(map(int, sys.argv[1:]), ("float16", "int8"), shapes)
    print(json.dumps([made_of(capability, storage, *shape) for capability, storage, shape in every]))
