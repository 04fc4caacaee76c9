"""The training loop: ColBERT-XM's recipe (Louis et al. 2024, arXiv 2402.15059) on a checkpoint folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..encoder import Encoder
from ..model.checkpoint import Checkpoint, load_checkpoint
from .batches import Batch, Collator
from .config import TrainingConfig
from .curves import draw_curves
from .data import ExampleStream, Shuffled, TrainingExample
from .gradients import batch_loss, cached_gradient, encode, plain_gradient
from .module import TrainableColBERT
from .runs import STATE, Run
from .saving import save_checkpoint
from .setup import make_accelerator, of_process, prepared

logger = logging.getLogger(__name__)

Validation = Sequence[TrainingExample] | Callable[[Encoder], float]


def train(
    checkpoint: str | Path,
    examples: Sequence[TrainingExample] | ExampleStream,
    output: str | Path,
    config: TrainingConfig | None = None,
    *,
    language: str | None = None,
    validation: Validation | None = None,
    resume: bool = False,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Train a checkpoint for retrieval, with its embeddings and language adapters frozen.

    Parameters
    ----------
    checkpoint : str or Path
        Hub id, folder, or ``"demo"``: a ColBERT, or an encoder that has no head yet.
    examples : sequence of TrainingExample, or ExampleStream
        A sequence is gone through in an order drawn from ``config.seed``, again and again.
    output : str or Path
        Folder of the run: checkpoints ``step-…``, ``log.jsonl``, ``curves.png``.
    config : TrainingConfig, optional
        By default ColBERT-XM's.
    language : str, optional
        Of all texts that do not tell theirs; by default detected. English for the paper's recipe.
    validation : sequence of TrainingExample, or callable, optional
        Examples whose loss is to become small, or a function of the encoder whose value is to become large.
    resume : bool
        Go on with the run in `output`, from its newest checkpoint; a run that was killed ends as if it had not been.
    device : str, optional
        ``"cpu"``, or by default what accelerate finds (all GPUs, under ``accelerate launch``).
    progress : bool
        Show a bar.

    Returns
    -------
    Path
        The best checkpoint's folder by `validation`, or the last one's.

    Raises
    ------
    InputError
        If the examples, or the settings, or `output` cannot be used.
    CheckpointError
        If `checkpoint` cannot be loaded.
    MissingExtraError
        If accelerate is not installed.
    """
    config = config or TrainingConfig()
    run = Run(Path(output), config, resume=resume)
    trainer = _Trainer(run, load_checkpoint(run.newest or checkpoint), config, language, device)
    stream = examples if isinstance(examples, ExampleStream) else Shuffled(examples, config.seed)
    return trainer.run_to_end(stream, validation, progress)


class _Trainer:
    def __init__(
        self, run: Run, checkpoint: Checkpoint, config: TrainingConfig, language: str | None, device: str | None
    ) -> None:
        self.run = run
        self.config = config
        self.accelerator = make_accelerator(config.precision, device)
        self.checkpoint = prepared(checkpoint, config)
        self.encoder = Encoder(self.checkpoint, device=self.accelerator.device, dtype="float32")
        self.module = TrainableColBERT(self.encoder)
        self.collate = Collator(self.encoder, config.negatives, config.distillation, language)
        trained = [each for each in self.module.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(self.module, optimizer)
        self.best: tuple[float, int] | None = None
        if run.state is not None:
            self._restore(run.state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.best = None if state["best"] is None else tuple(state["best"])

    def run_to_end(self, stream: ExampleStream, validation: Validation | None, progress: bool) -> Path:
        config, first = self.config, self.run.step
        ours = stream.stream(first * config.batch_size)
        is_main = self.accelerator.is_main_process
        bar = tqdm(total=config.steps, initial=first, unit="step", disable=not (progress and is_main), leave=False)
        losses: list[float] = []
        tokens, since = 0, time.perf_counter()
        with bar:
            for step in range(first, config.steps):
                loss, n_tokens = self._step(step, ours)
                losses.append(loss)
                tokens += n_tokens
                bar.update()
                done = step + 1
                if self._due(done, config.log_every):
                    mean, spent = sum(losses) / len(losses), time.perf_counter() - since
                    bar.set_postfix(loss=f"{mean:.4f}")
                    self._log(
                        done, loss=mean, learning_rate=config.learning_rate_at(step), tokens_per_second=tokens / spent
                    )
                    losses, tokens, since = [], 0, time.perf_counter()
                if validation is not None and self._due(done, config.validate_every):
                    self._validate(done, validation)
                    since = time.perf_counter()
                if self._due(done, config.save_every) or (self.best is not None and self.best[1] == done):
                    self._save(done)
                    since = time.perf_counter()
        if is_main:
            draw_curves(self.run.entries(), self.run.folder / "curves.png")
        best = None if self.best is None else self.run.folder_of(self.best[1])
        return best if best is not None and best.is_dir() else self.run.folder_of(config.steps)

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.config.steps

    def _log(self, step: int, **values: float) -> None:
        if self.accelerator.is_main_process:
            self.run.log(step=step, **values)

    def _step(self, step: int, stream: Iterator[TrainingExample]) -> tuple[float, int]:
        """Do one step; return its mean loss and the number of its tokens."""
        config, accelerator = self.config, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        part = config.batch_size // config.accumulation
        share = 1 / config.accumulation
        total, tokens = 0.0, 0
        for i in range(config.accumulation):
            batch = self.collate(of_process(list(islice(stream, part)), accelerator))
            with accelerator.no_sync(self.model) if i < config.accumulation - 1 else nullcontext():
                total += self._gradient(batch, share) * share
            tokens += batch.n_tokens
        accelerator.clip_grad_norm_(self.module.parameters(), config.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total, tokens * accelerator.num_processes

    def _gradient(self, batch: Batch, share: float) -> float:
        if self.config.chunk_size is None:
            return plain_gradient(self.model, batch, self.config, self.accelerator.backward, share)
        return cached_gradient(
            self.model,
            batch,
            self.config,
            self.accelerator.backward,
            share,
            no_sync=lambda: self.accelerator.no_sync(self.model),
        )

    def _validate(self, step: int, validation: Validation) -> None:
        if callable(validation):
            value = float(validation(self.encoder))
            better = self.best is None or value > self.best[0]
            self._log(step, validation=value)
        else:
            value = self._validation_loss(validation)
            better = self.best is None or value < self.best[0]
            self._log(step, validation_loss=value)
        if better:
            self.best = (value, step)

    @torch.no_grad()
    def _validation_loss(self, examples: Sequence[TrainingExample]) -> float:
        part = self.config.batch_size // self.config.accumulation
        losses = []
        for start in range(0, len(examples), part):
            batch = self.collate(examples[start : start + part])
            vectors = (encode(self.model, texts, self.config.chunk_size) for texts in (batch.queries, batch.passages))
            losses.append(batch_loss(*vectors, batch, self.config).item())
        return sum(losses) / len(losses)

    def _save(self, step: int) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "step": step,
            "config": asdict(self.config),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "best": self.best,
        }
        save_checkpoint(
            self.checkpoint,
            self.module.stored_tensors(self.checkpoint),
            self.run.folder_of(step),
            metadata={"dim": self.module.linear.shape[0]},
            also=lambda folder: torch.save(state, folder / STATE),
        )
        self.run.prune(self.config.keep, None if self.best is None else self.best[1])
