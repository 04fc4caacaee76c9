"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import InputError

PRECISIONS = ("no", "bf16", "fp16")
_POSITIVE = (
    "batch_size", "steps", "negatives", "accumulation", "query_maxlen", "doc_maxlen", "nbits", "log_every",
    "validate_every", "save_every", "keep",
)  # fmt: skip
_MAY_CHANGE = {"chunk_size", "log_every", "validate_every", "save_every", "keep"}  # when a run is resumed


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of training. Defaults are ColBERT-XM's (Louis et al. 2024, arXiv 2402.15059, section 4.1).

    Attributes
    ----------
    batch_size : int
        Queries per step, over all processes.
    steps : int
    learning_rate : float
        Peak, reached after the warm-up.
    warmup : int or None
        Steps of linear warm-up; by default a tenth of all. Then the rate falls linearly to 0.
    negatives : int
        Negative passages per query; if an example has more, the first ones are used.
    in_batch : bool
        Add the sampled softmax over the other queries' passages.
    distillation : bool
        Learn from the examples' teacher scores, instead of the positive alone.
    accumulation : int
        Number of parts a batch is split into, processed in turn; in-batch negatives come from the same part.
    chunk_size : int or None
        Texts encoded at a time with a gradient cache: the gradient of the whole batch in the memory of this many texts.
        By default the whole batch is encoded together.
    query_maxlen, doc_maxlen : int
        Tokens of a query, and the maximum of a passage, including special tokens.
    dim : int or None
        Width of a token vector; by default the checkpoint's, or 128 if it has no head.
    nbits : int
        Bits of colbert-ai's compression, recorded in the checkpoint but not used here.
    weight_decay, max_norm : float
        AdamW's weight decay, and the norm at which gradients are clipped, as in colbert-ai, which trained ColBERT-XM.
    precision : {"no", "bf16", "fp16"} or None
        Precision of matrix products; by default float32 on the CPU and bfloat16 on a GPU.
    seed : int
    log_every, validate_every, save_every : int
        Steps between log lines, validations and checkpoints. The last step always has all three.
    keep : int
        Number of newest checkpoints to keep, besides the best.
    """

    batch_size: int = 128
    steps: int = 50_000
    learning_rate: float = 3e-6
    warmup: int | None = None
    negatives: int = 1
    in_batch: bool = True
    distillation: bool = False
    accumulation: int = 1
    chunk_size: int | None = None
    query_maxlen: int = 32
    doc_maxlen: int = 256
    dim: int | None = None
    nbits: int = 2
    weight_decay: float = 0.01
    max_norm: float = 2.0
    precision: str | None = None
    seed: int = 0
    log_every: int = 10
    validate_every: int = 1000
    save_every: int = 1000
    keep: int = 1

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            check_whole(name, getattr(self, name), least=1)
        for name in ("chunk_size", "dim"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=1)
        check_whole("seed", self.seed, least=0)
        if self.warmup is not None:
            check_whole("warmup", self.warmup, least=0)
            if self.warmup > self.steps:
                raise InputError(f"warmup={self.warmup} exceeds the {self.steps} steps. Give at most that many.")
        for name in ("learning_rate", "max_norm"):
            if not _is_number(getattr(self, name)) or not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)!r} trains nothing. Give a number above 0.")
        if not _is_number(self.weight_decay) or not self.weight_decay >= 0:
            raise InputError(f"weight_decay={self.weight_decay!r} is not usable. Give a number, 0 for none.")
        if self.batch_size % self.accumulation:
            raise InputError(f"batch_size={self.batch_size} is not a multiple of accumulation={self.accumulation}.")
        if self.precision not in (None, *PRECISIONS):
            raise InputError(f"precision={self.precision!r} is not known. Give one of {', '.join(PRECISIONS)}.")

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up."""
        return self.steps // 10 if self.warmup is None else self.warmup

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        Examples
        --------
        >>> config = TrainingConfig(steps=4, warmup=2, learning_rate=1.0)
        >>> [config.learning_rate_at(step) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        rising = (step + 1) / self.warmup_steps if self.warmup_steps else 1.0
        falling = (self.steps - step) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * min(rising, falling, 1.0)

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Return the differences from a stored configuration that rule out resuming its run."""
        mine = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _MAY_CHANGE}
        changed = {name: value for name, value in mine.items() if stored.get(name) != value}
        return [f"{name}={value!r} (was {stored.get(name)!r})" for name, value in changed.items()]


def check_whole(name: str, value: object, *, least: int) -> None:
    """Raise `InputError` unless a setting is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}={value!r} is not usable. Give a whole number of at least {least}.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
