"""Record token ids and masks as colbert-ai makes them. Run by both versions in turn, see README.md.

python make_tokens.py new|old XLM-R's_tokenizer.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint
from golden import amend, versions
from texts import TOKENS
from tiny import build_tiny_bert, build_tiny_xmod

DOC_MAXLENS, QUERY_MAXLENS = (256, 16), (32, 48)
Golden = dict[str, Any]


def documents(checkpoint: Checkpoint) -> Golden:
    """Return ids (the rows of a batch up to where attention ends) and which of them keep their vectors."""
    batch, attention = checkpoint.doc_tokenizer.tensorize(list(TOKENS.values()))
    keep = checkpoint.mask(batch, skiplist=checkpoint.skiplist)
    found = {}
    for name, ids, seen, kept in zip(TOKENS, batch.tolist(), attention.tolist(), keep, strict=True):
        length = sum(seen)
        assert seen == [1] * length + [0] * (len(ids) - length)
        assert not any(kept[length:])
        alone, _ = checkpoint.doc_tokenizer.tensorize([TOKENS[name]])
        assert alone[0].tolist() == ids[:length]  # padding in a batch changes nothing
        found[name] = [ids[:length], "".join(str(int(bit)) for bit in kept[:length])]
    return found


def queries(attending: Checkpoint, unattending: Checkpoint) -> Golden:
    """Return ids up to where the fill begins."""
    texts = list(TOKENS.values())
    (batch, attention), (other, unfilled) = (c.query_tokenizer.tensorize(texts) for c in (attending, unattending))
    assert batch.tolist() == other.tolist()
    assert attention.all()
    assert all(all(row) for row in attending.mask(batch, skiplist=[]))  # every vector counts, the fill's too
    found = {}
    for name, ids, seen in zip(TOKENS, batch.tolist(), unfilled.tolist(), strict=True):
        length = sum(seen)
        assert seen == [1] * length + [0] * (len(ids) - length)
        assert set(ids[length:]) <= {attending.query_tokenizer.mask_token_id}
        found[name] = ids[:length]
    return found


def record(folder: Path) -> Golden:
    def load(**settings: Any) -> Checkpoint:
        return Checkpoint(str(folder), colbert_config=ColBERTConfig(**settings), verbose=0)

    checkpoint = load()
    tokenizer = checkpoint.query_tokenizer
    return {
        "skiplist": sorted(i for i in checkpoint.skiplist if isinstance(i, int)),
        "marker_ids": [tokenizer.Q_marker_token_id, checkpoint.doc_tokenizer.D_marker_token_id],
        "fill_id": tokenizer.mask_token_id,
        "documents": {str(n): documents(load(doc_maxlen=n)) for n in DOC_MAXLENS},
        "queries": {
            str(n): queries(*(load(query_maxlen=n, attend_to_mask_tokens=attend) for attend in (True, False)))
            for n in QUERY_MAXLENS
        },
    }


def xlmr_folder(root: Path, tokenizer_json: Path, *, split: bool) -> Path:
    """Put the genuine tokenizer beside a narrow model, as it is or in the form that splits at blanks first."""
    narrow = {"vocab_size": 250002, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    folder = build_tiny_xmod(root / f"xlmr{split}", languages=["en_XX"], **narrow)
    content = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    if split:
        content["normalizer"] = next(n for n in content["normalizer"]["normalizers"] if n["type"] == "Precompiled")
        splitters = [{"type": "WhitespaceSplit"}, content["pre_tokenizer"]]
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splitters}
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def differences(golden: Golden, base: Golden) -> Golden:
    """Return those texts of `golden` that are not as in `base`."""
    assert golden["skiplist"] == base["skiplist"]
    return {
        kind: {
            n: {name: value for name, value in rows.items() if value != base[kind][n][name]}
            for n, rows in golden[kind].items()
        }
        for kind in ("documents", "queries")
    }


def main() -> None:
    label, tokenizer_json = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        plain = record(xlmr_folder(root, tokenizer_json, split=False))
        split = record(xlmr_folder(root, tokenizer_json, split=True))
        bert = record(build_tiny_bert(root / "bert"))
    made_by = versions("colbert-ai", "transformers", "tokenizers", "torch")
    kept = {"made_by": made_by, **plain, "split": differences(split, plain)}
    amend("tokens.json", texts=TOKENS, **{label: kept})
    amend("bert_tokens.json", texts=TOKENS, **{label: {"made_by": made_by, **bert}})


if __name__ == "__main__":
    main()
