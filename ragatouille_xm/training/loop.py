"""The training loop: ColBERT-XM's recipe (Louis et al. 2024, arXiv 2402.15059)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import torch
from tqdm import tqdm

from ..encoder import Encoder
from ..errors import CheckpointError, InputError
from ..extras import import_extra
from ..files import lacks_memory
from ..model.checkpoint import Checkpoint, load_checkpoint
from .batches import Batch
from .config import TrainingConfig
from .curves import draw_curves
from .data import Example, ExampleStream, Shuffled, TrainingExample
from .gradients import cached_gradient, encode, plain_gradient
from .objective import Objective, Retrieval
from .runs import STATE, Run
from .saving import save_checkpoint
from .setup import make_accelerator, prepare_checkpoint, share_of_process

logger = logging.getLogger(__name__)

Validation = Sequence[TrainingExample] | Callable[[Encoder], float]


def train(
    checkpoint: str | Path,
    examples: Sequence[TrainingExample] | ExampleStream[TrainingExample],
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
        Hub id, folder, or ``"demo"``: a ColBERT, or an encoder without a head.
    examples : sequence of TrainingExample, or ExampleStream
        A sequence is used repeatedly, in an order drawn from ``config.seed``.
    output : str or Path
        Folder of the run: checkpoints ``step-…``, ``log.jsonl``, ``curves.png``.
    config : TrainingConfig, optional
        By default ColBERT-XM's.
    language : str, optional
        Language of texts that do not state theirs; by default detected. English in the paper's recipe.
    validation : sequence of TrainingExample, or callable, optional
        Examples whose loss is minimised, or a function of the encoder whose value is maximised: for MRR@10,
        `ragatouille_xm.evaluation.validation.RankingValidation`. Its `name`, if any, appears in the log.
    resume : bool
        Resume the run in `output` from its newest checkpoint; a killed run ends as if it had never stopped.
    device : str, optional
        ``"cpu"``, or by default what accelerate chooses (all GPUs, under ``accelerate launch``).
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        The best checkpoint's folder by `validation`, or the last one's.

    Raises
    ------
    InputError
        If the examples, the settings or `output` are invalid.
    CheckpointError
        If `checkpoint` cannot be loaded.
    MissingExtraError
        If accelerate is not installed.
    """
    config = config or TrainingConfig()
    stream = examples if isinstance(examples, ExampleStream) else Shuffled(examples, config.seed)
    if isinstance(validation, Sequence) and not validation:
        raise InputError("The validation examples are an empty list. Leave validation out, or give some.")
    if validation is not None and not isinstance(validation, Sequence) and not callable(validation):
        raise InputError(f"validation={validation!r} is not usable. Give examples, or a function of an encoder.")
    return pursue(
        lambda encoder: Retrieval(encoder, config, language), prepare_checkpoint, checkpoint, stream, output, config,
        validation=validation, resume=resume, device=device, progress=progress,
    )  # fmt: skip


def pursue(
    objective: Callable[[Encoder], Objective[Example]],
    prepare: Callable[[Checkpoint, TrainingConfig], Checkpoint],
    checkpoint: str | Path,
    stream: ExampleStream[Example],
    output: str | Path,
    config: TrainingConfig,
    *,
    validation: Sequence[Example] | Callable[[Encoder], float] | None,
    resume: bool,
    device: str | None,
    progress: bool,
) -> Path:
    """Run the loop for an objective; parameters, result and errors are otherwise those of `train`.

    Parameters
    ----------
    objective : callable
        Makes it from the encoder.
    prepare : callable
        Makes the checkpoint that is trained from the one that was loaded.
    """
    import_extra("matplotlib", "Drawing the curves of a run", "train")  # fails before the work, not after it
    accelerator = make_accelerator(config.precision, device)
    run = Run(Path(output), config, resume=resume)
    base = prepare(load_checkpoint(run.newest or checkpoint), config)
    encoder = Encoder(base, device=accelerator.device, dtype="float32")
    trainer = Trainer(run, encoder, objective(encoder), config, accelerator)
    if accelerator.is_main_process:
        run.begin()
    return trainer.run_to_end(stream, validation, progress)


class Trainer(Generic[Example]):
    """A run: a model, its optimiser and the training step.

    Parameters
    ----------
    run : Run
    encoder : Encoder
        Of the run's newest checkpoint, or its starting point.
    objective : Objective
        Of this encoder.
    config : TrainingConfig
    accelerator : accelerate.Accelerator
    """

    def __init__(
        self, run: Run, encoder: Encoder, objective: Objective[Example], config: TrainingConfig, accelerator: Any
    ) -> None:
        self.run = run
        self.config = config
        self.accelerator = accelerator
        self.encoder = encoder
        self.objective = objective
        self.module = objective.module
        trained = [each for each in self.module.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.model, self.optimizer = accelerator.prepare(self.module, optimizer)
        self.best: tuple[float, int] | None = None
        if run.state is not None:
            self._restore(run.state)

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.best = None if state["best"] is None else tuple(state["best"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if lacks_memory(error):
                raise
            raise CheckpointError(
                f"The {STATE} in {str(self.run.newest)!r} is not the state of this run ({type(error).__name__}). "
                "Delete its folder to resume from the checkpoint before."
            ) from error

    def run_to_end(
        self,
        stream: ExampleStream[Example],
        validation: Sequence[Example] | Callable[[Encoder], float] | None,
        progress: bool,
    ) -> Path:
        """Do the remaining steps; return the best checkpoint's folder, or the last one's."""
        config, first = self.config, self.run.step
        examples = stream.stream(first * config.batch_size)
        is_main = self.accelerator.is_main_process
        if first == 0 and self.objective.start_counts and self._validate(0, validation):
            self._save(0)
        pace = _Pace()
        with tqdm(
            total=config.steps, initial=first, unit="step", disable=None if progress and is_main else True
        ) as bar:
            for step in range(first, config.steps):
                pace.count(*self.step(step, examples))
                done = step + 1
                bar.update()
                if self._due(done, config.log_every):
                    bar.set_postfix(loss=f"{pace.mean_loss:.4f}")
                    self._log(done, learning_rate=config.learning_rate_at(step), **pace.report())
                improved = self._due(done, config.validate_every) and self._validate(done, validation)
                if improved or self._due(done, config.save_every):
                    self._save(done)
                pace.skip_pause()
        if is_main:
            self.run.origin = None  # no longer read
            self._prune()
            draw_curves(self.run.entries(), self.run.folder / "curves.png")
        return self.run.folder_of(config.steps if self.best is None else self.best[1])

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.config.steps

    def _log(self, step: int, **values: float | str) -> None:
        if self.accelerator.is_main_process:
            self.run.log(step=step, **values)

    def step(self, step: int, stream: Iterator[Example]) -> tuple[float, int]:
        """Do one step; return its mean loss and number of tokens."""
        config, accelerator = self.config, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        part = config.batch_size // config.accumulation
        share = 1 / config.accumulation
        total, tokens = 0.0, 0
        for i in range(config.accumulation):
            batch = self.objective.collate(share_of_process(list(islice(stream, part)), accelerator))
            with accelerator.no_sync(self.model) if i < config.accumulation - 1 else nullcontext():
                total += self._gradient(batch, share) * share
            tokens += batch.n_tokens
        if accelerator.num_processes > 1:  # each process saw its share of the batch
            total = float(accelerator.reduce(torch.tensor(total, device=accelerator.device), "mean"))
        if not math.isfinite(total):
            raise InputError(
                f"The loss of step {step + 1} is {total}: training cannot continue. Give a smaller learning_rate than "
                f"{config.learning_rate}, or precision='no'."
            )
        accelerator.clip_grad_norm_(self.module.parameters(), config.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total, tokens * accelerator.num_processes

    def _gradient(self, batch: Batch, share: float) -> float:
        backward, loss = self.accelerator.backward, self.objective.loss
        if self.config.chunk_size is None:
            return plain_gradient(self.model, batch, loss, backward, share)
        return cached_gradient(
            self.model,
            batch,
            loss,
            self.config.chunk_size,
            backward,
            share,
            no_sync=lambda: self.accelerator.no_sync(self.model),
        )

    def _validate(self, step: int, validation: Sequence[Example] | Callable[[Encoder], float] | None) -> bool:
        """Validate; return whether the result is the best so far."""
        if validation is None:
            return False
        if callable(validation):
            value = float(validation(self.encoder))
            better = self.best is None or value > self.best[0]
            name = getattr(validation, "name", None)
            self._log(step, validation=value, **({"measure": name} if isinstance(name, str) else {}))
        else:
            value = self._validation_loss(validation)
            better = self.best is None or value < self.best[0]
            self._log(step, validation_loss=value)
        if better:
            self.best = (value, step)
        return better

    @torch.no_grad()
    def _validation_loss(self, examples: Sequence[Example]) -> float:
        part = self.config.batch_size // self.config.accumulation
        losses = []
        for start in range(0, len(examples), part):
            batch = self.objective.collate(examples[start : start + part])
            queries = encode(self.model, batch.queries, self.config.chunk_size)
            passages = encode(self.model, batch.passages, self.config.chunk_size)
            losses.append(self.objective.loss(queries, passages, batch).item())
        return sum(losses) / len(losses)

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            self._write(step)
        self.accelerator.wait_for_everyone()

    def _write(self, step: int) -> None:
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
            self.encoder.checkpoint,
            self.module.stored_tensors(),
            self.run.folder_of(step),
            config=self.objective.config,
            metadata=self.objective.metadata,
            also=lambda folder: torch.save(state, folder / STATE),
        )
        self._prune()

    def _prune(self) -> None:
        self.run.prune(self.config.keep, None if self.best is None else self.best[1])


class _Pace:
    """Mean loss and tokens per second since the last report, without pauses."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._tokens = 0
        self._seconds = 0.0
        self._since = time.perf_counter()

    def count(self, loss: float, tokens: int) -> None:
        self._losses.append(loss)
        self._tokens += tokens
        self._seconds += time.perf_counter() - self._since
        self.skip_pause()

    def skip_pause(self) -> None:
        self._since = time.perf_counter()

    @property
    def mean_loss(self) -> float:
        return sum(self._losses) / len(self._losses)

    def report(self) -> dict[str, float]:
        result = {"loss": self.mean_loss, "tokens_per_second": round(self._tokens / self._seconds, 1)}
        self._losses, self._tokens, self._seconds = [], 0, 0.0
        return result
