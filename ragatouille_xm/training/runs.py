"""The folder of a training run: checkpoints, state for resuming, log."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, InputError
from ..files import lacks_memory, open_regular
from .config import TrainingConfig

logger = logging.getLogger(__name__)

STATE = "training_state.pt"
_STEP = re.compile(r"step-(\d+)")


class Run:
    """The folder of a run.

    ::

        step-001000/    a checkpoint that `RAGPretrainedModel.from_pretrained` loads, with training_state.pt
        log.jsonl       one JSON object per line: step, loss, learning_rate, …
        curves.png

    Parameters
    ----------
    folder : Path
        Created if missing.
    config : TrainingConfig
    resume : bool
        Resume from the newest checkpoint, if there is one.

    Raises
    ------
    InputError
        If there is a run and `resume` is false, it had another configuration, or `folder` is a file.
    """

    def __init__(self, folder: Path, config: TrainingConfig, *, resume: bool) -> None:
        self.folder = folder
        self.log_file = folder / "log.jsonl"
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{str(folder)!r} is a file; give a folder for the run.")
        self.state: dict[str, Any] | None = None
        found = self.checkpoints()
        self.origin = found[-1] if found else None  # the checkpoint resumed from, read for as long as the process lives
        if found and not resume:
            raise InputError(
                f"{str(folder)!r} has a training run already, up to {found[-1].name}. Give resume=True to continue, or "
                "another folder."
            )
        if found:
            self.state = _load_state(found[-1] / STATE)
            if differences := config.differences(self.state["config"]):
                raise InputError(
                    f"The run in {str(folder)!r} was started with other settings: {', '.join(differences)}. Give those "
                    "again, or another folder."
                )

    def begin(self) -> None:
        """Create the folder, and drop log lines after the saved state, since those steps are repeated.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = [entry for entry in self.entries() if entry["step"] <= self.step]
            temporary = self.log_file.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8", newline="\n")
            os.replace(temporary, self.log_file)
        except OSError as error:
            raise InputError(
                f"The run cannot be written to {str(self.folder)!r}: {error}. Give another folder."
            ) from error

    @property
    def step(self) -> int:
        """Steps done when the newest checkpoint was written."""
        return 0 if self.state is None else int(self.state["step"])

    @property
    def newest(self) -> Path | None:
        """The newest checkpoint's folder."""
        found = self.checkpoints()
        return found[-1] if found else None

    def checkpoints(self) -> list[Path]:
        """Return the folders of complete checkpoints, oldest first."""
        found = [path for path in self.folder.glob("step-*") if _STEP.fullmatch(path.name) and (path / STATE).is_file()]
        return sorted(found, key=lambda path: int(path.name[5:]))

    def folder_of(self, step: int) -> Path:
        """Return the folder for the checkpoint of a step."""
        return self.folder / f"step-{step:06d}"

    def prune(self, keep: int, best: int | None) -> None:
        """Delete old checkpoints, except for the `keep` newest, the best one, and `origin`."""
        needed = [self.origin, None if best is None else self.folder_of(best)]
        for path in self.checkpoints()[:-keep]:
            if path not in needed:
                shutil.rmtree(path, ignore_errors=True)

    def log(self, **entry: Any) -> None:
        """Append a line to the log."""
        with self.log_file.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines of the log, without a torn last one left by a killed process."""
        text = self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.is_file() else ""
        entries = [_entry(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [entry for entry in entries if entry is not None]


def _entry(line: str) -> dict[str, Any] | None:
    """Return a line of the log; None, with a warning, for one that is damaged: curves are drawn without it."""
    try:
        entry = json.loads(line)  # a loss may be NaN
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            return entry
    except (ValueError, RecursionError):
        pass
    logger.warning("the log has a line that cannot be read: %.60r", line)
    return None


def _load_state(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path, links=True) as file:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not isinstance(state["config"], dict) or not isinstance(state["step"], int):
            raise TypeError("it is not the state of a run")
    except Exception as error:  # unpickling fails in many ways
        if lacks_memory(error):
            raise
        raise CheckpointError(
            f"{str(path)!r} cannot be read ({type(error).__name__}), so the run cannot resume there. Delete its "
            "folder to resume from the checkpoint before."
        ) from error
    return state
