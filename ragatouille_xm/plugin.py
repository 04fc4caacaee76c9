"""A plugin for RAGatouille: its `RAGPretrainedModel` returns ours for checkpoints with language adapters.

RAGatouille and colbert-ai encode every text through ``en_XX``. After `install`, code that imports
``RAGPretrainedModel`` from ``ragatouille`` uses the right adapters without further changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from .errors import MissingExtraError
from .files import open_regular, parse_json


class _Switch(classmethod):  # type: ignore[type-arg]
    """Replaces one of RAGatouille's class methods and remembers it. There is no other state.

    Parameters
    ----------
    original : classmethod
        RAGatouille's method.
    is_ours : callable
        From the first argument to whether `ragatouille_xm.RAGPretrainedModel` handles the call.
    """

    def __init__(self, original: Any, is_ours: Callable[[str | Path], bool]) -> None:
        self.original = original
        function = original.__func__
        first = list(signature(function).parameters)[1]

        @wraps(function)
        def switched(cls: type, *args: Any, **kwargs: Any) -> Any:
            asked_for = args[0] if args else kwargs.get(first)
            if not isinstance(asked_for, (str, Path)) or not is_ours(asked_for):
                return original.__get__(None, cls)(*args, **kwargs)
            from .pretrained import RAGPretrainedModel

            return getattr(RAGPretrainedModel, function.__name__)(*args, **kwargs)

        super().__init__(switched)


def install() -> None:
    """Make RAGatouille return our models for checkpoints with language adapters, and for our indexes.

    ``ragatouille.RAGPretrainedModel.from_pretrained`` returns a `ragatouille_xm.RAGPretrainedModel` if the checkpoint's
    ``config.json`` has ``"model_type": "xmod"``, and ``from_index`` does if the folder has an ``index.db``; all
    else remains RAGatouille's. The class itself is patched, so it does not matter who imported it before. The returned
    model has RAGatouille's interface, but is not an instance of its class. Calling this twice is harmless.

    Raises
    ------
    MissingExtraError
        If RAGatouille is not installed, or cannot be imported.

    Examples
    --------
    >>> import ragatouille_xm.plugin
    >>> ragatouille_xm.plugin.install()  # doctest: +SKIP
    >>> from ragatouille import RAGPretrainedModel  # doctest: +SKIP
    >>> RAGPretrainedModel.from_pretrained("antoinelouis/colbert-xm")  # doctest: +SKIP
    <ragatouille_xm.pretrained.RAGPretrainedModel object at ...>
    """
    upstream = _upstream()
    for name, is_ours in _OURS.items():
        original = vars(upstream)[name]
        if not isinstance(original, _Switch):
            setattr(upstream, name, _Switch(original, is_ours))


def uninstall() -> None:
    """Restore exactly what `install` replaced, if anything.

    Raises
    ------
    MissingExtraError
        As for `install`.
    """
    upstream = _upstream()
    for name in _OURS:
        current = vars(upstream)[name]
        if isinstance(current, _Switch):
            setattr(upstream, name, current.original)


def _upstream() -> Any:
    try:
        return import_module("ragatouille").RAGPretrainedModel
    except ImportError as error:
        raise MissingExtraError(
            f"RAGatouille cannot be imported ({error}). `from ragatouille_xm import RAGPretrainedModel` is the same "
            "interface and needs none of it. The plugin, which runs RAGatouille 0.0.9 with langchain<1 and "
            "transformers<5,",
            "ragatouille",
        ) from error


def _has_adapters(checkpoint: str | Path) -> bool:
    """Return whether a checkpoint is an X-MOD. For a hub id, only ``config.json`` is downloaded."""
    from .model.checkpoint import DEMOS

    if checkpoint in DEMOS:
        return True
    path = Path(checkpoint).expanduser()
    if not path.is_dir():
        fetched = _fetch_config(str(checkpoint))
        if fetched is None:
            return False
        path = fetched.parent
    try:
        with open_regular(path / "config.json", links=True) as file:
            config = parse_json(file.read())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "xmod"


def _fetch_config(repo_id: str) -> Path | None:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id, "config.json"))
    except Exception:  # no such id, no connection, …: left to RAGatouille to report
        return None


def _is_our_index(path: str | Path) -> bool:
    return (Path(path) / "index.db").is_file()


_OURS: dict[str, Callable[[str | Path], bool]] = {"from_pretrained": _has_adapters, "from_index": _is_our_index}
"""RAGatouille's class methods that are replaced, and the test for whether ours takes the call."""
