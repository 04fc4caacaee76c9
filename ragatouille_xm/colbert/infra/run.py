"""`Run`: the configuration that holds at the moment, and the folder of its experiment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from ...errors import InputError
from .config import EXPERIMENT, ROOT, ColBERTConfig, RunConfig

_CURRENT: ContextVar[RunConfig] = ContextVar("ragatouille_xm.colbert.run")


class Run:
    """The current configuration.

    It belongs to the thread or task that entered `context`; others start with the defaults.

    Examples
    --------
    >>> with Run().context(RunConfig(experiment="news", nranks=1)):
    ...     with Run().context(RunConfig(root="/data")):
    ...         Run().config.index_folder.as_posix()
    '/data/news/indexes'
    >>> Run().root, Run().experiment
    ('experiments', 'default')
    """

    @property
    def config(self) -> RunConfig:
        """The current configuration."""
        config = _CURRENT.get(None)
        if config is None:
            _CURRENT.set(config := RunConfig())
        return config

    @property
    def root(self) -> str:
        """The folder of all experiments."""
        return ROOT if self.config.root is None else self.config.root

    @property
    def experiment(self) -> str:
        """The name of the current experiment, a folder below `root`."""
        return EXPERIMENT if self.config.experiment is None else self.config.experiment

    @contextmanager
    def context(self, runconfig: RunConfig, inherit_config: bool = True) -> Iterator[None]:
        """Apply `runconfig`, on top of the current configuration unless `inherit_config` is off."""
        token = _CURRENT.set((self.config if inherit_config else RunConfig()).updated(runconfig))
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def open(self, path: str | Path, mode: str = "r") -> IO[Any]:
        """Open a file of the current experiment, as the built-in `open` does; text is UTF-8.

        Parameters
        ----------
        path : str or Path
            Below ``<root>/<experiment>/``; folders are made as needed.
        mode : str

        Raises
        ------
        InputError
            If it cannot be opened, or is to be written, exists, and the configuration does not say ``overwrite=True``.
        """
        file = self.config.folder / path
        writes = not set(mode).isdisjoint("wax+")
        if writes and file.exists() and not self.config.overwrite:
            raise InputError(f"There is a file {str(file)!r} already. Give another name, or RunConfig(overwrite=True).")
        try:
            if writes:
                file.parent.mkdir(parents=True, exist_ok=True)
            return file.open(mode, encoding=None if "b" in mode else "utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"{str(file)!r} cannot be opened: {error}.") from error


def resolve_config(config: ColBERTConfig | None, **options: Any) -> ColBERTConfig:
    """Return the configuration of an indexer or a searcher. As in colbert-ai, `Run` overrides `config`.

    Raises
    ------
    InputError
        If `config` is not a configuration.
    """
    if config is not None and not isinstance(config, RunConfig):
        raise InputError(f"config is a {type(config).__name__}; give a ColBERTConfig.")
    return ColBERTConfig.from_existing(config, Run().config, ColBERTConfig(**options))
