"""An encoder that keeps what it has encoded: a benchmark that is run again encodes no passage twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ragatouille_xm.encoder import Encoder
from ragatouille_xm.text.tokenizer import Tokens
from ragatouille_xm.types import TokenVectors


class RememberingEncoder(Encoder):
    """Encodes each passage once, and queries once in a process. Vectors of passages are kept as float16."""

    memory: sqlite3.Connection
    queries: dict[tuple[tuple[str, ...], tuple[str, ...]], torch.Tensor]

    def remember(self, folder: Path) -> None:
        """Keep the vectors of passages in a file of this folder, for this checkpoint."""
        self.queries = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.memory = sqlite3.connect(folder / f"{self.checkpoint.fingerprint}.db", check_same_thread=False)
        self.memory.execute("CREATE TABLE IF NOT EXISTS encoded (key BLOB PRIMARY KEY, vectors BLOB)")

    def encode_documents(
        self, texts: Sequence[str], languages: Sequence[str], *, tokens: Sequence[Tokens] | None = None, **options: Any
    ) -> TokenVectors:
        """Encode those passages that are not known, by their tokens and languages."""
        if tokens is None:
            tokens = self.tokenise(texts, options.get("max_length"))
        keys = [_key(each, language) for each, language in zip(tokens, languages, strict=True)]
        new = [i for i, key in enumerate(keys) if self._recall(key) is None]
        found = super().encode_documents(
            [texts[i] for i in new], [languages[i] for i in new], tokens=[tokens[i] for i in new], **options
        )
        with self.memory:
            self.memory.executemany(
                "INSERT OR IGNORE INTO encoded VALUES (?, ?)",
                [(keys[i], block.half().numpy().tobytes()) for i, block in zip(new, found, strict=True)],
            )
        blocks = [
            torch.from_numpy(np.frombuffer(self._recall(key) or b"", np.float16).astype(np.float32)) for key in keys
        ]
        every = TokenVectors.of_blocks([block.view(-1, self.dim) for block in blocks], self.dim)
        ids = [i for each in tokens for i, scored in zip(each.ids, each.scored, strict=True) if scored]
        return TokenVectors(every.vectors, every.lengths, torch.tensor(ids))

    def encode_queries(self, texts: Sequence[str], languages: Sequence[str]) -> torch.Tensor:
        """Encode the queries of a call, unless there was one like it."""
        key = tuple(texts), tuple(languages)
        if key not in self.queries:
            self.queries[key] = super().encode_queries(texts, languages)
        return self.queries[key]

    def _recall(self, key: bytes) -> bytes | None:
        row = self.memory.execute("SELECT vectors FROM encoded WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])


def _key(tokens: Tokens, language: str) -> bytes:
    return hashlib.blake2b(json.dumps([tokens.ids, tokens.scored, language]).encode(), digest_size=16).digest()
