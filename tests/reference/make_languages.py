"""Record token vectors of the tiny X-MOD checkpoint through every adapter, as transformers computes them.

colbert-ai knows no language but the checkpoint's default, so transformers' own `XmodModel` is the reference here, with
the projection and the normalisation of colbert-ai behind it. See README.md.

    python make_languages.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import HERE, amend, versions
from safetensors.torch import load_file
from texts import DOCUMENTS
from tiny import LANGUAGES, build_tiny_xmod
from transformers import AutoTokenizer, XmodModel

ROWS = (0, 4, 8, 13)
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "adapter_layer_norm": {"adapter_layer_norm": True},
    "no_reuse": {"adapter_reuse_layer_norm": False},
    "ln_after": {"ln_before_adapter": False},
    "pre_norm": {"pre_norm": True},
    "reduction_4": {"adapter_reduction_factor": 4},
}


@torch.inference_mode()
def vectors(folder: Path, ids: torch.Tensor, attention: torch.Tensor, language: str) -> np.ndarray[Any, Any]:
    """Return the vectors of the attended tokens, shape ``(T, dim)``."""
    model = XmodModel.from_pretrained(folder, add_pooling_layer=False).eval()
    projection = load_file(folder / "model.safetensors")["linear.weight"]
    adapter = torch.full((len(ids),), LANGUAGES.index(language))
    hidden = model(input_ids=ids, attention_mask=attention, lang_ids=adapter)[0]
    return torch.nn.functional.normalize(hidden @ projection.T, dim=-1)[attention.bool()].numpy()


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: build_tiny_xmod(Path(temporary) / name, **config) for name, config in VARIANTS.items()}
        tokenizer = AutoTokenizer.from_pretrained(folders["default"])
        batch = tokenizer([DOCUMENTS[row] for row in ROWS], padding=True, return_tensors="pt")
        ids, attention = (
            torch.cat([batch[key][:, :1], torch.full((len(ROWS), 1), value), batch[key][:, 1:]], 1)
            for key, value in (("input_ids", tokenizer.unk_token_id), ("attention_mask", 1))
        )
        arrays = {
            f"{name} {language}": vectors(folder, ids, attention, language)
            for name, folder in folders.items()
            for language in (LANGUAGES if name == "default" else ("fr_XX",))
        }
    np.savez_compressed(HERE / "xmod_languages.npz", ids=ids.numpy(), attention=attention.numpy(), **arrays)
    made_by = versions("transformers", "tokenizers", "torch", "numpy")
    amend("scores.json", languages={"made_by": made_by, "documents": ROWS, "variants": VARIANTS})


if __name__ == "__main__":
    main()
