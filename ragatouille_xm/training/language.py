"""Training language adapters by masked-language modelling on raw text, with all other weights frozen."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..encoder import Encoder
from ..errors import InputError, LanguageError
from ..model.checkpoint import load_checkpoint
from ..model.xmod import XmodEncoder
from ..text.detect import list_of_strings
from ..text.tokenizer import Tokens
from .adapters import adapter_name, initial_adapter
from .config import TrainingConfig
from .masking import MaskedLanguageHead, hide_tokens
from .module import TrainableColBERT
from .saving import check_new, save_checkpoint
from .setup import as_colbert_ai, make_accelerator


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """Settings for training language adapters.

    Attributes
    ----------
    steps : int
        Steps per language.
    batch_size : int
        Texts per step, all of one language.
    learning_rate : float
        Peak; the rate rises linearly over the first tenth of the steps, then falls linearly to 0.
    max_length : int
        Maximum tokens per text, including special tokens; longer texts are truncated.
    share : float
        Share of tokens to predict.
    weight_decay : float
        AdamW's.
    precision : {"no", "bf16", "fp16"} or None
        As in `TrainingConfig`.
    seed : int
    log_every : int
        Steps between lines of ``adapter_log.jsonl``.
    """

    steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-4
    max_length: int = 128
    share: float = 0.15
    weight_decay: float = 0.01
    precision: str | None = None
    seed: int = 0
    log_every: int = 10

    def __post_init__(self) -> None:
        self.schedule(1)  # checks what the two have in common
        if not isinstance(self.share, float) or not 0 < self.share < 1:
            raise InputError(f"share={self.share!r} is not usable. Give a number between 0 and 1, such as 0.15.")

    def schedule(self, languages: int) -> TrainingConfig:
        """Return the settings of a run over so many languages."""
        return TrainingConfig(
            steps=self.steps * languages,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            precision=self.precision,
            seed=self.seed,
            log_every=self.log_every,
        )


def train_language_adapters(
    checkpoint: str | Path,
    texts: Mapping[str, Sequence[str]],
    output: str | Path,
    config: AdapterConfig | None = None,
    *,
    start_from: str | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Train adapters for new or existing languages, and write a checkpoint.

    Only these adapters change (and a masked-language head, which retrieval does not use: see `MaskedLanguageHead`), so
    what was learnt for retrieval in other languages transfers to a new one (Pfeiffer et al. 2022, sections 3 and 5.3).
    Languages alternate batch by batch.

    Parameters
    ----------
    checkpoint : str or Path
        Hub id, folder, or ``"demo"``, with language adapters.
    texts : mapping of str to sequence of str
        By language: a BCP-47 code (``"yo"``) or the name of an adapter (``"yo_NG"``).
    output : str or Path
        Folder for the new checkpoint; must not exist.
    config : AdapterConfig, optional
    start_from : str, optional
        Language whose adapter a new one is copied from; ``"zeros"`` for one that initially adds nothing. By default the
        nearest relative in the checkpoint, else the default adapter. An existing adapter starts from itself.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a GPU if there is one.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        `output`, with ``adapter_log.jsonl`` in it.

    Raises
    ------
    InputError
        If there is no text, or `output` exists or cannot be written.
    LanguageError
        If a language is invalid, or the checkpoint has no adapters.
    """
    config, folder = config or AdapterConfig(), Path(output)
    check_new(folder)
    base = as_colbert_ai(load_checkpoint(checkpoint))
    accelerator = make_accelerator(config.precision, device)
    encoder = Encoder(base, device=accelerator.device, dtype="float32")
    backbone = encoder.model.backbone
    if not isinstance(backbone, XmodEncoder):
        raise LanguageError(f"{base.name!r} is a {base.model_type!r} checkpoint, which has no language adapters.")
    corpora = _by_adapter(texts, encoder, config.max_length)
    adapters = {name: initial_adapter(name, encoder, start_from, config.seed) for name in corpora}
    module = TrainableColBERT(encoder, adapters)
    candidates = torch.tensor(sorted({i for tokens in corpora.values() for each in tokens for i in each.ids}))
    head = MaskedLanguageHead(base, backbone.words.weight, candidates, backbone.config.layer_norm_eps)
    log = _run(module, head, encoder, corpora, config, accelerator, progress)

    def write_log(temporary: Path) -> None:
        (temporary / "adapter_log.jsonl").write_text(
            "".join(json.dumps(entry) + "\n" for entry in log), encoding="utf-8"
        )

    languages = [*base.adapters, *(name for name in corpora if name not in base.adapters)]
    changed = module.stored_tensors() | head.stored_tensors()
    save_checkpoint(base, changed, folder, config={"languages": languages}, also=write_log)
    return folder


def _by_adapter(texts: Mapping[str, Sequence[str]], encoder: Encoder, max_length: int) -> dict[str, list[Tokens]]:
    """Tokenise texts as passages, dropping empty ones."""
    if not texts:
        raise InputError("There are no texts to train on: give some by language, such as {'yo': [...]}.")
    result: dict[str, list[Tokens]] = {}
    for language, each in texts.items():
        if isinstance(each, str):
            raise InputError(f"The texts of {language!r} are one string; give a list of strings.")
        name = adapter_name(language, encoder.adapters)
        tokens = encoder.tokenizer.documents(list_of_strings(each, f"texts[{language!r}]"), max_length)
        kept = [one for one in tokens if len(one.ids) > encoder.tokenizer.overhead]
        if not kept:
            raise InputError(f"The language {language!r} has no text to train on.")
        result.setdefault(name, []).extend(kept)
    return result


def _run(
    module: TrainableColBERT,
    head: MaskedLanguageHead,
    encoder: Encoder,
    corpora: Mapping[str, Sequence[Tokens]],
    config: AdapterConfig,
    accelerator: Any,
    progress: bool,
) -> list[dict[str, Any]]:
    schedule = config.schedule(len(corpora))
    trained = [each for part in (module, head) for each in part.parameters() if each.requires_grad]
    adamw = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    optimizer = accelerator.prepare(adamw)
    mask_id = encoder.tokenizer.queries([""])[0].ids[-1]  # the filling of queries
    generator = torch.Generator().manual_seed(config.seed)
    turns = [(name, _cycle_batches(tokens, config.batch_size, config.seed)) for name, tokens in corpora.items()]
    log: list[dict[str, Any]] = []
    since = time.perf_counter()
    for step in tqdm(range(schedule.steps), unit="step", disable=not progress, leave=False):
        name, stream = turns[step % len(turns)]
        batch = encoder.tokenizer.pad(texts := next(stream))
        text = _text_positions(texts, batch.input_ids.shape[1], encoder.tokenizer.overhead)
        masked = hide_tokens(batch.input_ids, text, mask_id, head.candidates.cpu(), generator, config.share)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate_at(step)
        with accelerator.autocast():
            hidden = module.hidden(masked.input_ids, batch.attention_mask, [name] * len(texts))
            loss = head(hidden[masked.chosen.to(hidden.device)], batch.input_ids[masked.chosen])
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step // len(turns) + 1) % config.log_every == 0:
            seconds = time.perf_counter() - since
            log.append({"step": step + 1, "language": name, "loss": loss.item(), "seconds": round(seconds, 2)})
    return log


def _cycle_batches(tokens: Sequence[Tokens], size: int, seed: int) -> Iterator[list[Tokens]]:
    """Yield batches endlessly in a seeded order, with texts of any length together."""
    generator = random.Random(seed)
    waiting: list[Tokens] = []
    while True:
        while len(waiting) < size:
            waiting += generator.sample(tokens, len(tokens))
        yield waiting[:size]
        waiting = waiting[size:]


def _text_positions(texts: Sequence[Tokens], width: int, overhead: int) -> torch.Tensor:
    """Return which tokens are text, not prefix, end or padding: ``(b, L)``, bool."""
    columns = torch.arange(width)
    ends = torch.tensor([len(each.ids) - 1 for each in texts])
    return (columns >= overhead - 1) & (columns[None] < ends[:, None])
